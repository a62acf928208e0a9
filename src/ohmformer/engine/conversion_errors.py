"""Wrong conversions of lossless converters, drawn one by one.

A wrong conversion of digit i and plane j puts the output off by radix^i·c_j. Each row of outputs draws the
number of its candidates at the rate of the worst case, then their places; a candidate stays with the ratio
of the probability that its own operands give to the worst one (thinning). Usually a row has none and its
operands need not be looked at. ``kernels/errors.hpp`` draws the same numbers.

Error: an error of two codes or more counts as one (at the rates in use, below one worst-case error per
output, their share is below 1e-6); the fixed pattern of mismatch is drawn anew for every conversion; a sum
at the end of the converter's range errs outwards here too, where the converter clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from ohmformer.crossbars import (
    digit_weights,
    drive,
    plane_weights,
    resident_planes,
    streamed_digits,
    wordline_groups,
)
from ohmformer.devices import rounding_error_probability, rounding_error_variance
from ohmformer.engine.native import kernels
from ohmformer.engine.randomness import MASK64, Draw, random_words, uniforms64
from ohmformer.engine.resident import ResidentCodes
from ohmformer.numerals import HOST, ResistorCode, on_host
from ohmformer.specs import TileSpec

TABLE_ENTRIES = 1 << 16
MOST_PER_DRAW = 400.0  # a Poisson count of a larger mean is the sum of several
CANDIDATES_AT_ONCE = 1 << 12
DETAILS, COUNTS = 1, 3  # purposes of random numbers


@lru_cache(maxsize=1024)
def output_weights(tile: TileSpec, streamed_bits: int, resident_bits: int) -> tuple[int, ...]:
    """radix^i·c_j of digit i and plane j, digits first."""
    planes = plane_weights(tile, resident_bits)
    return tuple(power * plane for power in digit_weights(tile, streamed_bits) for plane in planes)


def _largest_branches(tile: TileSpec) -> int:
    """Largest Σ(w_r·s_r·e)² of a group, every branch switched on; 0 where branches have no mismatch."""
    if tile.resistor.mismatch == 0:
        return 0
    weights = ResistorCode(tile.numeral.radix, tile.numeral.polarity).weights
    return tile.group_elements * sum(weight * weight for weight in weights)


@lru_cache(maxsize=64)
@on_host
def error_table(tile: TileSpec) -> tuple[Tensor, Tensor, int]:
    """Error probability and error variance of a conversion, by its switched branches B = Σ(w_r·s_r·e)².

    sd² = environment² + adc² + mismatch²·B, B a whole number
    returns: [B // width], [B // width], width; width is 1 up to TABLE_ENTRIES entries
    """
    largest = _largest_branches(tile)
    width = -(-(largest + 1) // TABLE_ENTRIES)
    branches = torch.arange(0, largest + width, width, dtype=torch.float64)
    additive = tile.environment_noise**2 + tile.adc.noise**2
    sd = (additive + tile.resistor.mismatch**2 * branches).sqrt()
    return (
        rounding_error_probability(sd, tile.adc.rounding),
        rounding_error_variance(sd, tile.adc.rounding),
        width,
    )


@lru_cache(maxsize=4096)
def worst_errors(tile: TileSpec, streamed_bits: int, resident_bits: int, inner: int) -> float:
    """Expected wrong conversions of an output if every digit were the largest and every switch closed."""
    probability, _, width = error_table(tile)
    place = -(-_largest_branches(tile) // width)
    conversions = len(output_weights(tile, streamed_bits, resident_bits)) * len(wordline_groups(inner, tile))
    return conversions * float(probability[place])


@dataclass(frozen=True, kw_only=True)
class Operands:
    """The operands of a product as whole numbers, looked at only where a candidate falls.

    streamed: [row, inner], batch axes flattened; on any device, what is looked at is copied to the host
    resident: [..., inner, column] with the same batch axes, or one for all rows
    """

    streamed: Tensor
    resident: Tensor | ResidentCodes
    rows_per_entry: int

    def rows(self, rows: Tensor) -> Tensor:
        """[row, inner], int64."""
        return self.streamed[rows.to(self.streamed.device)].long().cpu()

    def columns(self, entry: int, ids: Tensor) -> Tensor:
        """[id, inner], int64."""
        if isinstance(self.resident, ResidentCodes):
            return self.resident.rows(ids).long().cpu()
        matrix = self.resident if self.resident.ndim == 2 else self.resident.flatten(0, -3)[entry]
        return matrix[:, ids.to(matrix.device)].T.long().cpu()


@dataclass(frozen=True, kw_only=True)
class ErrorLaw:
    """How conversions of a product of given width go wrong; made once, used for every call."""

    tile: TileSpec
    streamed_bits: int
    resident_bits: int
    inner: int
    columns: int

    @cached_property
    def per_row(self) -> float:
        """Expected candidates of a row of outputs."""
        return worst_errors(self.tile, self.streamed_bits, self.resident_bits, self.inner) * self.columns

    @cached_property
    def chance(self) -> float:
        """Probability that a row has a candidate."""
        return -math.expm1(-self.per_row)

    @cached_property
    def below(self) -> int:
        """64 random bits below this: the row has a candidate."""
        return min(int(self.chance * 2.0**64), MASK64)

    @cached_property
    def cumulative(self) -> Tensor:
        """P(N <= n) of a Poisson count of mean ``per_row``, or of equal parts of it where that is large."""
        rate = self.per_row / self.draws
        terms = [math.exp(-rate)]
        for n in range(1, math.ceil(rate + 12 * rate**0.5 + 40)):
            terms.append(terms[-1] * rate / n)
        return torch.tensor(terms, dtype=torch.float64, device=HOST).cumsum(0)

    @cached_property
    def draws(self) -> int:
        """Poisson counts that make up the number of candidates of a row."""
        return max(1, math.ceil(self.per_row / MOST_PER_DRAW))

    @cached_property
    def bounds(self) -> Tensor:
        """[group, 2] of the inner axis."""
        groups = wordline_groups(self.inner, self.tile)
        return torch.tensor([(group.start, group.stop) for group in groups], device=HOST)

    @cached_property
    def weights(self) -> Tensor:
        """Size of an error by digit and plane, digits first."""
        weights = output_weights(self.tile, self.streamed_bits, self.resident_bits)
        return torch.tensor(weights, device=HOST)

    @cached_property
    def planes(self) -> int:
        """Planes of a resident operand."""
        return len(plane_weights(self.tile, self.resident_bits))

    @cached_property
    def worst(self) -> float:
        """Largest probability that a conversion goes wrong."""
        probability, _, width = error_table(self.tile)
        return float(probability[-(-_largest_branches(self.tile) // width)])

    def of(self, resident: ResidentCodes) -> ErrorLaw:
        """The law for these stored codes: itself, since it does not depend on them."""
        return self

    def wrong_outputs(self, draw: Draw, operands: Operands) -> Tensor | None:
        """[n, 3] int64: row, column, size of every wrong conversion, sorted by row; None if there is none.

        Drawn and returned in host memory. One key of ``draw`` for each row; the operands must not be larger
        than their bits allow.
        """
        if self.below == 0 or not len(draw.keys):
            return None
        rows = self._hit_rows(draw)
        if rows is None:
            return None
        step = max(1, int(CANDIDATES_AT_ONCE / max(1.0, self.per_row)))
        made = torch.cat([self._kept(part, draw, operands) for part in rows.split(step)])
        return made if len(made) else None

    def _hit_rows(self, draw: Draw) -> Tensor | None:
        """Rows with at least one candidate."""
        native = kernels()
        if native is not None:
            return native.hits(draw, self.below)
        words = random_words(draw.seed, draw.stream, draw.keys, 1)
        # the order of unsigned 64-bit patterns, in two steps
        high, low = words[:, 1], words[:, 0]
        under = (high < self.below >> 32) | ((high == self.below >> 32) & (low < self.below & 0xFFFFFFFF))
        found = under.nonzero().squeeze(-1)
        return found if len(found) else None

    def _counts(self, draw: Draw, keys: Tensor) -> Tensor:
        """Candidates of rows that have at least one."""
        if self.draws > 1:  # a mean of hundreds: none at all does not happen
            counts = draw.sub(COUNTS)
            words = random_words(counts.seed, counts.stream, keys, -(-self.draws // 2))
            uniform = uniforms64(words)[:, : self.draws]
            return torch.searchsorted(self.cumulative, uniform.contiguous()).sum(-1).clamp_min(1)
        first = random_words(draw.seed, draw.stream, keys, 1)
        # given that it fell below the chance of any, the number is uniform below that chance
        uniform = uniforms64(first[:, :2]).squeeze(-1).clamp(max=self.chance * (1 - 1e-12))
        uniform = (uniform + float(self.cumulative[0])).clamp(max=1 - 1e-16)
        return torch.searchsorted(self.cumulative, uniform).clamp_min(1)

    def _kept(self, rows: Tensor, draw: Draw, operands: Operands) -> Tensor:
        """The wrong conversions among the candidates of rows that have at least one."""
        keys = draw.keys[rows]
        counts = self._counts(draw, keys)
        details = draw.sub(DETAILS)
        words = random_words(details.seed, details.stream, keys, int(counts.max()) * 2).reshape(
            len(rows), -1, 8
        )
        used = torch.arange(words.shape[1], device=HOST) < counts.unsqueeze(-1)
        words, owner = words[used], rows.unsqueeze(-1).expand(used.shape)[used]
        column = (words[:, 0] * self.columns) >> 32
        which = (words[:, 1] * len(self.weights)) >> 32
        group = (words[:, 2] * len(self.bounds)) >> 32
        sign = (words[:, 3] & 1) * 2 - 1
        made = torch.stack((owner, column, self.weights[which] * sign), -1)
        if self.tile.resistor.mismatch == 0:
            return made
        toss = uniforms64(words[:, 4:6]).squeeze(-1) * self.worst
        return made[toss < self._probabilities(owner, column, which, group, operands)]

    def _probabilities(
        self, row: Tensor, column: Tensor, which: Tensor, group: Tensor, operands: Operands
    ) -> Tensor:
        """[candidate] probability that a candidate's own conversion goes wrong."""
        probability, _, width = error_table(self.tile)
        branches = torch.zeros(len(row), dtype=torch.int64, device=HOST)
        entry = row // operands.rows_per_entry
        edges, place = self.bounds[group], torch.arange(self.inner, device=HOST)
        for one in torch.unique(entry).tolist():
            for some in (entry == one).nonzero().squeeze(-1).split(CANDIDATES_AT_ONCE):
                number = torch.arange(len(some), device=HOST)
                codes = operands.columns(one, column[some])  # [candidate, inner]
                planes, _ = resident_planes(codes, self.resident_bits, self.tile)  # [plane, candidate, inner]
                closed = planes[which[some] % self.planes, number].long().square()
                digits = streamed_digits(operands.rows(row[some]), self.tile, self.streamed_bits)
                digit = digits[number, :, which[some] // self.planes]
                power = drive(digit, self.tile).square().sum(-1).long()
                inside = (place >= edges[some, :1]) & (place < edges[some, 1:])
                branches[some] = (power * closed * inside).sum(-1)
        return probability[(branches.double() / width).round().long()]

    # --- the same in C++ -----------------------------------------------------------------------------

    @cached_property
    def tables(self) -> tuple[Tensor, Tensor] | None:
        """Branch power [digit, 256] and squared switch states [plane, 256] of every 8-bit code, int32."""
        if self.tile.resistor.mismatch == 0:
            return None
        codes = torch.arange(-128, 128, device=HOST)
        reach = codes.clamp(-(1 << (self.streamed_bits - 1)) + 1, (1 << (self.streamed_bits - 1)) - 1)
        power = drive(streamed_digits(reach, self.tile, self.streamed_bits), self.tile).square().sum(-1)
        low = -(1 << (self.resident_bits - 1)) + (self.tile.resident_code == "digits")
        planes, _ = resident_planes(
            codes.clamp(low, (1 << (self.resident_bits - 1)) - 1), self.resident_bits, self.tile
        )
        return power.T.to(torch.int32).contiguous(), planes.to(torch.int32).square().contiguous()

    @cached_property
    def native_job(self) -> Any:
        """What the kernels need to draw wrong conversions; None if Python has to."""
        native = kernels()
        if native is None or self.draws > 1 or max(self.streamed_bits, self.resident_bits) > 8:
            return None
        probability, _, width = error_table(self.tile)
        return native.error_job(self, probability, width)


@lru_cache(maxsize=4096)
def error_law(tile: TileSpec, streamed_bits: int, resident_bits: int, inner: int, columns: int) -> ErrorLaw:
    """The law of one shape of product."""
    return ErrorLaw(
        tile=tile, streamed_bits=streamed_bits, resident_bits=resident_bits, inner=inner, columns=columns
    )
