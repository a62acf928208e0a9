"""Dense cells that hold the keys and values of a running model: which of them may be misread, and when.

A row is the code words of one token and head. Whatever is drawn for it depends on the seed, on what is
written, and on its place, never on what else was written: the same row meets the same cells in every batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from ohmformer.devices import level_conductances, read_error_probabilities
from ohmformer.engine.randomness import mix, mix_keys, poisson_counts, signed
from ohmformer.numerals import HOST, from_symbols, on_host, symbols_per_value, to_symbols
from ohmformer.specs import DenseCellSpec, DenseSpec

NEGLIGIBLE = 1e-10  # a cell misread more rarely than this, per read, is taken as never misread
OFTEN = 1 / 8  # share of unsafe cells above which every cell of a row is drawn
FEW = 100.0  # hits expected in a row above which every cell of it is drawn
STEPS = torch.arange(0, 9.0, 0.01, dtype=torch.float64, device=HOST)  # standardised programming deviations


@lru_cache(maxsize=64)
@on_host
def safe_deviations(cell: DenseCellSpec) -> Tensor:
    """[symbol, side] the standardised deviation up to which a cell is misread at most NEGLIGIBLE often.

    Side 0 lies below the nominal conductance, side 1 above it. 0 where the nominal conductance is misread
    more often; infinity where no deviation up to 9 is, or none occurs (no programming noise).
    """
    sd = _programming_sd(cell)
    edges = torch.empty(cell.levels, 2, dtype=torch.float64)
    for symbol, nominal in enumerate(level_conductances(cell).tolist()):
        for side, sign in enumerate((-1.0, 1.0)):
            chance = read_error_probabilities((nominal + sign * STEPS * sd).clamp_min(0.0), cell)
            wrong = torch.cat((chance[:, :symbol], chance[:, symbol + 1 :]), -1).sum(-1)
            over = wrong > NEGLIGIBLE
            first = int(over.int().argmax()) if bool(over.any()) else len(STEPS)
            edges[symbol, side] = math.inf if first == len(STEPS) else float(STEPS[max(0, first - 1)])
    return edges


def _programming_sd(cell: DenseCellSpec) -> float:
    return cell.noise.programming_noise * (cell.g_max_S - cell.g_min_S)


@lru_cache(maxsize=64)
@on_host
def symbol_values(bits: int, dense: DenseSpec) -> Tensor:
    """[symbol_index, symbol] what a symbol adds to the number, against symbol 0."""
    cell_bits = dense.cell.bits
    symbols = symbols_per_value(bits, cell_bits)
    words = torch.zeros(symbols, dense.cell.levels, symbols, dtype=torch.uint8)
    for index in range(symbols):
        words[index, :, index] = torch.arange(dense.cell.levels)
    values = from_symbols(words, bits, cell_bits, dense.weight_code, dense.gray).long()
    return values - values[:, :1]


def content_keys(codes: Tensor, first_token: int) -> Tensor:
    """[batch, head, token], int64: one key for each row, of its codes, its head and its token's place.

    codes: [batch, head, token, element]
    """
    elements = torch.arange(codes.shape[-1], dtype=torch.int64, device=codes.device)
    odd = mix_keys(torch.zeros_like(elements), elements) | 1
    state = (codes.long() * odd).sum(-1)
    heads = torch.arange(codes.shape[1], dtype=torch.int64, device=codes.device).reshape(-1, 1)
    tokens = torch.arange(codes.shape[2], dtype=torch.int64, device=codes.device) + first_token
    return mix_keys(state, heads << 40 | tokens)


def _uniform(keys: Tensor, purpose: int) -> Tensor:
    """Uniform numbers in (0, 1), float64, of the upper 53 bits of a key mixed with its purpose."""
    mixed = mix_keys(keys, torch.full_like(keys, signed(mix(purpose))))
    return (((mixed >> 11) & ((1 << 53) - 1)).double() + 0.5) * 2.0**-53


@dataclass(frozen=True, kw_only=True)
class UncertainCells:
    """The cells of the rows in use whose programmed conductance leaves a chance of a wrong read.

    batch, head, token: of the row, int64
    element:            of the number in the row, int64
    wrong:              [cell, symbol] cumulative probability of the wrong symbols, float64
    delta:              [cell, symbol] what reading the symbol adds to the code, int64
    key:                of the cell, int64
    """

    batch: Tensor
    head: Tensor
    token: Tensor
    element: Tensor
    wrong: Tensor
    delta: Tensor
    key: Tensor

    def __len__(self) -> int:
        return len(self.key)

    def take(self, chosen: Tensor) -> UncertainCells:
        """Some of the cells, by index or mask."""
        return UncertainCells(**{name: value[chosen] for name, value in vars(self).items()})

    def joined(self, other: UncertainCells) -> UncertainCells:
        """These cells and ``other``."""
        return UncertainCells(
            **{name: torch.cat((value, vars(other)[name])) for name, value in vars(self).items()}
        )

    def of_batch(self, index: Tensor) -> UncertainCells:
        """The cells after row ``index[b]`` of the batch became row b."""
        copies, cells = (self.batch == index.reshape(-1, 1)).nonzero(as_tuple=True)
        return replace(self.take(cells), batch=copies)

    def of_tokens(self, start: int, stop: int) -> UncertainCells:
        """The cells of tokens ``start`` ... ``stop`` - 1, counted from 0 again."""
        kept = self.take((self.token >= start) & (self.token < stop))
        return replace(kept, token=kept.token - start)

    def misread(self, number: int) -> tuple[UncertainCells, Tensor]:
        """The cells that the ``number``-th read gets wrong, and what it adds to the codes there."""
        chance = _uniform(mix_keys(self.key, torch.full_like(self.key, number)), 5)
        wrong = (chance < self.wrong[:, -1]).nonzero().squeeze(-1)
        symbol = (chance[wrong].unsqueeze(-1) >= self.wrong[wrong]).sum(-1, keepdim=True)
        return self.take(wrong), self.delta[wrong].gather(-1, symbol).squeeze(-1)


class CodeCells:
    """How rows of codes are written into dense cells.

    A cell's conductance is drawn once, when it is written; of all cells those outside the interval in
    which they are misread at most NEGLIGIBLE often are found by their own law (hits of a Poisson process,
    thinned by what is stored) and kept. Each read then errs by ``devices.read_error_probabilities``.

    stream: tells keys from values
    """

    def __init__(self, bits: int, dense: DenseSpec, seed: int, stream: int) -> None:
        self.bits, self.dense, self.cell = bits, dense, dense.cell
        self.key = signed(mix(seed, stream))
        self.symbols = symbols_per_value(bits, dense.cell.bits)
        noise = dense.cell.noise
        self.stuck = noise.stuck_low_rate + noise.stuck_high_rate
        self.tails = 0.5 * torch.special.erfc(safe_deviations(dense.cell) / math.sqrt(2))
        self.share = self.stuck + (1 - self.stuck) * self.tails.sum(-1)  # [symbol] of unsafe cells
        self.largest = float(self.share.max())

    def write(self, codes: Tensor, first_token: int, position: int) -> UncertainCells | None:
        """Write new rows; the cells that may be misread, or None.

        codes:       [batch, head, token, element], whole numbers, in host memory as the cells
        first_token: address of the first of them in the cache
        position:    of the first of them in the sequence, which a sliding window does not change
        """
        if self.largest == 0 or not codes.numel():
            return None
        device, elements = codes.device, codes.shape[-1]
        per_row = elements * self.symbols
        rows = mix_keys(content_keys(codes, position), torch.tensor(self.key, device=device)).reshape(-1)
        row, place, key, bound = self._places(rows, per_row)
        if not len(row):
            return None
        code = codes.reshape(-1, elements)[row, place // self.symbols].int()
        word = to_symbols(code, self.bits, self.cell.bits, self.dense.weight_code, self.dense.gray)
        index = place % self.symbols
        symbol = word.gather(-1, index.unsqueeze(-1)).squeeze(-1).long()
        share = self.share.to(device)[symbol]
        kept = (_uniform(key, 2) * bound < share).nonzero().squeeze(-1)
        row, place, key, index, symbol = row[kept], place[kept], key[kept], index[kept], symbol[kept]
        chances = read_error_probabilities(self._conductance(key, symbol), self.cell)
        cumulative = chances.scatter(-1, symbol.unsqueeze(-1), 0.0).clamp_min(0.0).cumsum(-1)
        values = symbol_values(self.bits, self.dense).to(device)[index]
        batch, head, token = torch.unravel_index(row, codes.shape[:-1])
        cells = UncertainCells(
            batch=batch,
            head=head,
            token=token + first_token,
            element=place // self.symbols,
            wrong=cumulative,
            delta=values - values.gather(-1, symbol.unsqueeze(-1)),
            key=key,
        )
        return cells.take(cumulative[:, -1] > NEGLIGIBLE)

    def _places(self, rows: Tensor, per_row: int) -> tuple[Tensor, Tensor, Tensor, float]:
        """Row, cell within it and key of every cell that may be unsafe, and with which probability it is."""
        rate = -per_row * math.log1p(-min(self.largest, OFTEN))
        if self.largest > OFTEN or rate > FEW:
            row = torch.arange(len(rows), device=rows.device).repeat_interleave(per_row)
            place = torch.arange(per_row, device=rows.device).repeat(len(rows))
            return row, place, mix_keys(rows[row], place), 1.0
        expected = torch.tensor(rate, dtype=torch.float64, device=HOST)
        count = poisson_counts(expected.expand(len(rows)).cpu(), _uniform(rows, 0).cpu()).to(rows.device)
        row = torch.arange(len(rows), device=rows.device).repeat_interleave(count)
        start = (count.cumsum(0) - count)[row]
        hit = mix_keys(rows[row], torch.arange(len(row), device=rows.device) - start)
        place = (_uniform(hit, 1) * per_row).long()
        # a cell hit several times is one cell: the probability of at least one hit is self.largest
        ordered, order = (row * per_row + place).sort(stable=True)
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[1:] = ordered[1:] != ordered[:-1]
        chosen = order[first]
        return row[chosen], place[chosen], hit[chosen], self.largest

    def _conductance(self, key: Tensor, symbol: Tensor) -> Tensor:
        """Programmed conductance of unsafe cells, S, float64."""
        tails = self.tails.to(key.device)[symbol]
        low, total = tails[:, 0], tails.sum(-1)
        part = _uniform(key, 3) * self.share.to(key.device)[symbol]
        mass = ((part - self.stuck) / (1 - self.stuck) if self.stuck < 1 else part).clamp(min=0.0)
        below = mass < low
        # the mass beyond the deviation, kept in the tail, where the inverse normal is accurate
        beyond = torch.where(below | (total >= 1), mass, total - mass).clamp_min(1e-300)
        deviation = torch.special.ndtri(beyond)
        deviation = torch.where(below | (total >= 1), deviation, -deviation)
        nominal = level_conductances(self.cell).to(device=key.device, dtype=torch.float64)[symbol]
        written = (nominal + deviation * _programming_sd(self.cell)).clamp_min(0.0)
        high = _uniform(key, 4) * self.stuck < self.cell.noise.stuck_high_rate
        level = torch.where(high, self.cell.g_max_S, self.cell.g_min_S).double()
        return torch.where(part < self.stuck, level, written)
