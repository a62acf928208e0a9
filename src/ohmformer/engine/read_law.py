"""The law of one read of a programmed cell, tabulated over its conductance."""

from __future__ import annotations

from functools import cached_property, lru_cache

import torch
from torch import Tensor

from ohmformer.engine.programming import BLOCK, NEGLIGIBLE, wrong_reads
from ohmformer.numerals import HOST, on_host
from ohmformer.specs import DenseCellSpec

__all__ = ["ReadLaw", "read_law"]

REACH = 9.0  # standard deviations of programming beyond the highest level that the table covers
BINS = (1 << 13, 1 << 15)  # tried in this order
ACCURACY = 1e-5  # of a probability; a float32 conductance is good to 1e-3 of it
MOST_LEVELS = 4  # a table of more levels would not stay in the caches
_NODES = torch.arange(4, dtype=torch.float64, device=HOST) / 3  # of each bin's cubic
_FIT = torch.linalg.inv(torch.vander(_NODES, increasing=True))  # [coefficient, node]


class ReadLaw:
    """Chances that a read of a cell gives each wrong symbol, by the conductance it was programmed to.

    A cubic through four points of the closed form (``wrong_reads``) in each of many equal bins of the
    conductance from 0 to ``REACH`` programming deviations above the highest level.

    table: [symbol meant, bin, coefficient, symbol read], float64: coefficients, lowest order first, of the
           sums of the chances of all wrong symbols up to the one read; None where a table would be large
           or inaccurate (cells without noise: their law has steps), then the closed form is evaluated

    Error: ``ACCURACY`` of the probability, or of ``NEGLIGIBLE`` where that is more, checked between the
           points (twice that in the one bin where the telegraph limit sets in); conductances above the
           table are read as its end (at most one cell in 1e18).
    """

    def __init__(self, cell: DenseCellSpec) -> None:
        self.cell = cell
        spread = cell.noise.programming_noise * (cell.g_max_S - cell.g_min_S)
        self.top_S = cell.g_max_S + REACH * spread

    @cached_property
    @on_host
    def table(self) -> Tensor | None:
        """The coefficients, or None."""
        noise = self.cell.noise
        if self.cell.levels > MOST_LEVELS or noise.environment_noise + noise.read_noise == 0:
            return None
        for bins in BINS:
            made = self._fitted(bins)
            if made is not None:
                return made
        return None

    def _closed_form(self, conductance: Tensor, symbol: Tensor) -> Tensor:
        """[cell, symbol] sums of chances."""
        return wrong_reads(conductance, symbol, self.cell).cumsum(-1)

    def _fitted(self, bins: int) -> Tensor | None:
        """The table of some bins, None if it is not accurate."""
        levels, start = self.cell.levels, torch.arange(bins, dtype=torch.float64).unsqueeze(-1)
        points = torch.cat((start + _NODES[:3], start + torch.tensor([1 / 6, 1 / 2])), -1)
        table = torch.empty(levels, bins, 4, levels, dtype=torch.float64)
        for symbol in range(levels):
            meant = torch.full((bins * 5,), symbol)
            exact = self._closed_form(points.reshape(-1) * (self.top_S / bins), meant).view(bins, 5, levels)
            end = torch.tensor([self.top_S], dtype=torch.float64)
            last = self._closed_form(end, meant[:1]).unsqueeze(0)
            follow = torch.cat((exact[1:, :1], last))
            fitted = torch.einsum("ij,bjr->bir", _FIT, torch.cat((exact[:, :3], follow), 1))
            for index, at in ((3, 1 / 6), (4, 1 / 2)):
                powers = at ** torch.arange(4, dtype=torch.float64)
                off = (torch.einsum("i,bir->br", powers, fitted) - exact[:, index]).abs()
                if bool((off > ACCURACY * exact[:, index].clamp_min(NEGLIGIBLE)).any()):
                    return None
            table[symbol] = fitted
        return table

    def cumulative(self, conductance: Tensor, symbol: Tensor) -> Tensor:
        """[cell, symbol] sums of the chances of all wrong symbols up to each, float64.

        conductance: [cell], S, float32 as programmed; symbol: [cell], what was meant
        """
        table = self.table
        if table is None:
            return self._closed_form(conductance.double(), symbol)
        bins = table.shape[1]
        place = (conductance.double() * (bins / self.top_S)).clamp_max(bins)
        whole = place.long().clamp_max(bins - 1)
        at = (place - whole).unsqueeze(-1)
        c = table.view(-1, 4, self.cell.levels)[symbol.long() * bins + whole]
        return ((c[:, 3] * at + c[:, 2]) * at + c[:, 1]) * at + c[:, 0]

    def limits(self, conductance: Tensor, symbol: Tensor) -> Tensor:
        """[cell], int32: of 2^32 words those up to limit + 2^31 are wrong reads.

        limit + 2^31 + 1 = P(wrong)·2^32, rounded
        """
        limit = torch.empty(len(symbol), dtype=torch.int32, device=HOST)
        step = BLOCK // 8
        for start in range(0, len(symbol), step):
            part = slice(start, start + step)
            wrong = self.cumulative(conductance[part], symbol[part])[:, -1]
            whole = (wrong * 2.0**32).round().long() - 1
            limit[part] = whole.clamp_(0, (1 << 32) - 1).sub_(1 << 31).int()
        return limit


@lru_cache(maxsize=16)
def read_law(cell: DenseCellSpec) -> ReadLaw:
    """The law of one kind of cell, made once."""
    return ReadLaw(cell)
