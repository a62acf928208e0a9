"""Wrong conversions that wires cause where converters would lose nothing, drawn from ``wire_law``.

Along the digits and groups of a row the rates of its columns are laid end to end; events lie on this line
at exponential distances, so that their number in each part is Poisson. An event is a case of the part's pool
in one of the tiles of columns. ``kernels/wires.hpp`` draws the same: rates and distances are whole numbers.

Rows with a digit and group of which more than MOST_OF_ROW go wrong (digits of one sign) are no case for
Poisson numbers: every conversion of such a row is computed, with the numbers of the digit-serial mode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from ohmformer.crossbars import digit_weights, streamed_digits
from ohmformer.engine.conversion_errors import ErrorLaw, Operands
from ohmformer.engine.digit_serial import every_conversion
from ohmformer.engine.native import kernels, threads
from ohmformer.engine.randomness import MASK64, Draw, random_words
from ohmformer.engine.resident import ResidentCodes
from ohmformer.engine.wire_law import (
    FREE_WIDTH,
    GAP_BITS,
    GAP_UNIT,
    MOST_OF_ROW,
    POOL,
    RATE_BITS,
    VALUE_SHIFT,
    WireTables,
    calibrated,
    gaps,
    negative_share,
    width_class,
    wire_tables,
)
from ohmformer.numerals import HOST
from ohmformer.specs import TileSpec

ROWS_AT_ONCE = 256
FEW_COLUMNS = 16
POOL_BITS = POOL.bit_length() - 1
MOST = int(MOST_OF_ROW * 2**RATE_BITS)


@lru_cache(maxsize=256)
def without_wires(tile: TileSpec) -> TileSpec:
    """The same tile without wires, nonlinearity and noise: its converters only clip."""
    return replace(
        tile,
        environment_noise=0.0,
        resistor=replace(tile.resistor, wire_resistance_ohm=0.0, mismatch=0.0),
        adc=replace(tile.adc, noise=0.0, nonlinearity=0.0),
    )


@dataclass(frozen=True, kw_only=True)
class WireErrorLaw(ErrorLaw):
    """How conversions of a product go wrong by wires and noise; ``ErrorLaw`` with another law of events.

    width, negative: see ``wire_law.width_class`` and ``negative_share``; None as in the class
    """

    width: int = FREE_WIDTH
    negative: int | None = None

    @cached_property
    def per_row(self) -> float:
        """0, since events are drawn where they happen; infinite where every conversion is computed."""
        every = takes_every_conversion(self.streamed_bits, self.resident_bits, self.columns)
        return float("inf") if every else 0.0

    @cached_property
    def below(self) -> int:
        """Every row is looked at."""
        return MASK64

    @cached_property
    def wires(self) -> WireTables:
        """Rates and cases."""
        return wire_tables(self.tile, self.resident_bits, self.width, self.negative)

    def of(self, resident: ResidentCodes) -> WireErrorLaw:
        """The law for stored codes, whose width is found once, of the codes as they were stored."""
        laws: dict[Any, WireErrorLaw] = resident.cache.setdefault(("wire laws", self.tile), {})
        place = (self.streamed_bits, self.resident_bits, self.inner, self.columns)
        if place not in laws:
            if "width" not in resident.cache:
                stored = resident.stored()
                resident.cache["width"] = width_class(stored), negative_share(stored)
            width, negative = resident.cache["width"]
            laws[place] = replace(self, width=width, negative=negative)
        return laws[place]

    def wrong_outputs(self, draw: Draw, operands: Operands) -> Tensor | None:
        """See ``ErrorLaw.wrong_outputs``."""
        if not len(draw.keys):
            return None
        law = self.of(operands.resident) if isinstance(operands.resident, ResidentCodes) else self
        found = law._drawn(draw, operands.streamed)
        if not has_full_rows(found) or found is None:
            return found
        full = found[:, 1] < 0
        found = torch.cat((found[~full], law._of_every_conversion(found[full, 0], draw, operands)))
        return found[found[:, 0].argsort(stable=True)] if len(found) else None

    def _of_every_conversion(self, rows: Tensor, draw: Draw, operands: Operands) -> Tensor:
        """[n, 3] wrong outputs of some rows with every conversion computed."""
        resident, parts = operands.resident, []
        for entry in torch.unique(rows // operands.rows_per_entry).tolist():
            here = rows[rows // operands.rows_per_entry == entry]
            streamed = operands.streamed[here.to(operands.streamed.device)]
            own = replace(draw, keys=draw.keys[here])
            right = resident
            if isinstance(resident, Tensor) and resident.ndim > 2:
                right = resident.reshape(-1, *resident.shape[-2:])[entry]
            made, base = (
                every_conversion(streamed, right, tile, self.streamed_bits, self.resident_bits, own).double()
                for tile in (self.tile, without_wires(self.tile))
            )
            size = (made - base).long().cpu()
            row, column = size.nonzero(as_tuple=True)
            parts.append(torch.stack((here[row], column, size[row, column]), 1))
        return torch.cat(parts)

    def _drawn(self, draw: Draw, streamed: Tensor) -> Tensor | None:
        """[n, 3] wrong outputs by the law; column -1 for rows for which it does not hold."""
        law, job = self, self._wire_job
        native = kernels() if streamed.device.type == "cpu" else None
        if native is not None and job is not None:
            job.threads = threads()
            codes, keys = streamed.to(torch.int8).contiguous(), draw.keys.contiguous()
            room = len(keys)
            while True:
                found = torch.empty(room, 3, dtype=torch.int64, device=HOST)
                count = native._calls.wire_errors(
                    job, draw.seed & MASK64, draw.stream & MASK64, keys.data_ptr(), len(keys),
                    codes.data_ptr(), found.data_ptr(), room,
                )  # fmt: skip
                if count <= room:
                    return found[:count] if count else None
                room = count
        parts = [
            law._events(
                streamed[first : first + ROWS_AT_ONCE], draw.keys[first : first + ROWS_AT_ONCE], draw, first
            )
            for first in range(0, len(streamed), ROWS_AT_ONCE)
        ]
        made = torch.cat(parts)
        return made if len(made) else None

    def features(self, streamed: Tensor) -> tuple[Tensor, Tensor]:
        """Q = Σ d² and S = Σ d of rows [row, inner], int64 [row, digit, group]."""
        digits = streamed_digits(streamed.long(), self.tile, self.streamed_bits).transpose(1, 2)
        bounds = self.bounds.tolist()
        square = torch.stack([digits[..., low:high].square().sum(-1) for low, high in bounds], -1)
        return square, torch.stack([digits[..., low:high].sum(-1) for low, high in bounds], -1)

    def _events(self, streamed: Tensor, keys: Tensor, draw: Draw, first: int) -> Tensor:
        """[n, 3] wrong outputs of some rows, the first of number ``first``."""
        tables = self.wires
        square, total = (part.flatten(1).cpu() for part in self.features(streamed))  # digits first
        tiles = -(-self.columns // tables.columns)
        rates = tables.rate[square, total.abs()]
        full = (rates > MOST).any(1)
        edges = (rates.masked_fill(full[:, None], 0) * (tiles * tables.columns)).cumsum(1)
        blocks = 1 + int(edges[:, -1].max() >> RATE_BITS)
        while True:  # two events a block; the last distance must lie beyond the end
            words = random_words(draw.seed, draw.stream, keys, blocks).view(len(keys), -1, 2)
            at = (gaps().long()[words[..., 0] & ((1 << GAP_BITS) - 1)] << GAP_UNIT).cumsum(1)
            if bool((at[:, -1] >= edges[:, -1]).all()):
                break
            blocks *= 2
        row, event = (at < edges[:, -1:]).nonzero(as_tuple=True)
        part = torch.searchsorted(edges[row], at[row, event][:, None], right=True).squeeze(1)
        q, s = square[row, part], total[row, part]
        one = tables.pool[tables.cell[q, s.abs()].long(), words[row, event, 0] >> (32 - POOL_BITS)].long()
        column = ((words[row, event, 1] * tiles) >> 32) * tables.columns + (one & ((1 << VALUE_SHIFT) - 1))
        powers = torch.tensor(digit_weights(self.tile, self.streamed_bits), device=HOST)
        size = powers[part // len(self.bounds)] * (one >> VALUE_SHIFT) * torch.where(s < 0, -1, 1)
        inside = column < self.columns
        found = torch.stack((row + first, column, size), 1)[inside]
        if not bool(full.any()):
            return found
        every = full.nonzero() + first
        every = torch.cat((every, torch.full_like(every, -1), torch.zeros_like(every)), 1)
        found = torch.cat((found, every))
        return found[found[:, 0].argsort(stable=True)]

    @cached_property
    def _wire_job(self) -> Any:
        """The law as the kernels take it; None where codes have more than 8 bits."""
        native = kernels()
        if native is None or max(self.streamed_bits, self.resident_bits) > 8:
            return None
        from ohmformer.engine import kernel_calls

        powers = torch.tensor(digit_weights(self.tile, self.streamed_bits), device=HOST)
        tables = self.wires
        job = kernel_calls._native.WireJob(
            self.inner, self.columns, self.bounds.data_ptr(), len(self.bounds), powers.data_ptr(),
            len(powers), self.tile.numeral.radix, tables.rate.data_ptr(), tables.cell.data_ptr(),
            tables.rate.shape[1],
            tables.pool.data_ptr(), POOL_BITS, tables.columns, gaps().data_ptr(), MOST,
        )  # fmt: skip
        native._kept.append((self, tables, powers))
        return job

    @cached_property
    def _error_job(self) -> Any:
        job, native = self._wire_job, kernels()
        if job is None or native is None:
            return None
        probability = torch.zeros(1, dtype=torch.float64, device=HOST)
        made = native.error_job(self, probability, 1)
        job.within(made)
        return made

    @property
    def native_job(self) -> Any:
        """See ``ErrorLaw.native_job``."""
        if self._error_job is not None:
            self._wire_job.threads = threads()
        return self._error_job

    @cached_property
    def tables(self) -> tuple[Tensor, Tensor] | None:
        """Not needed: nothing is thinned."""
        return None

    @cached_property
    def worst(self) -> float:
        """Not needed."""
        return 1.0

    @cached_property
    def cumulative(self) -> Tensor:
        """Not needed."""
        return torch.ones(1, dtype=torch.float64, device=HOST)


def has_full_rows(wrong: Tensor | None) -> bool:
    """Whether wrong outputs as the kernels draw them name rows that need every conversion computed."""
    return wrong is not None and bool((wrong[:, 1] < 0).any())


def takes_every_conversion(streamed_bits: int, resident_bits: int, columns: int) -> bool:
    """Whether a product beside wires is computed conversion by conversion: few columns, or more than 8 bits.

    Few columns are no sample of a law, and cost little: sums of norms and of softmax have one.
    """
    return columns <= FEW_COLUMNS or max(streamed_bits, resident_bits) > 8


@lru_cache(maxsize=4096)
def product_law(tile: TileSpec, streamed_bits: int, resident_bits: int, inner: int, columns: int) -> ErrorLaw:
    """How conversions of one shape of product go wrong, by noise alone or by wires and noise."""
    kind = WireErrorLaw if calibrated(tile) else ErrorLaw
    return kind(
        tile=tile, streamed_bits=streamed_bits, resident_bits=resident_bits, inner=inner, columns=columns
    )


__all__ = ["WireErrorLaw", "has_full_rows", "product_law", "takes_every_conversion", "without_wires"]
