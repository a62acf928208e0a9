"""How a digit-serial product computes its conversions in 16-bit whole numbers, and the law of its noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

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
from ohmformer.devices import convert, wire_attenuation
from ohmformer.engine.conversion_law import (
    EVENT_CHANCE,
    MOST_LEVELS,
    class_sizes,
    deviate_law,
    deviate_sd,
    size_exceeded,
    upper_tail,
    whole_levels,
    whole_thresholds,
)
from ohmformer.numerals import HOST, on_host
from ohmformer.specs import TileSpec

INT8, INT16, INT31 = 127, 32767, 1 << 31
MOST_DIGITS, MOST_SWITCHES = 12, 64  # as in kernels/digit_serial_job.hpp
WIDTH = 64  # columns of a block
SPARSE_CHANCE = 5e-4  # of a wrong conversion, up to which they are drawn one by one
MOST_INEXACT = 1e-6  # of conversions with wires and without noise that 16 bits may give another code
MOST_LOOKED_AT = 0.003  # of conversions that wires may change, up to which they are looked at one by one
LAWS = 1024  # of whole noise, less one, in equal steps of the variance that mismatch adds; as SERIAL_LAWS


@dataclass(frozen=True, kw_only=True, eq=False)
class ConversionPlan:
    """The whole-number arithmetic of one product; the same in the native kernel and in torch.

    s = s + whole noise
    v = min(s·2^fraction, 32767) (and v = round(v·keep/2^15) with wires)
    v = v + floor(z·factor / 2^(16 + noise_shift)),  factor = round(sd·per_sd)
    code = clip(rounding(v / (step·2^fraction)))

    s is the sum of a group, z a deviate of ``deviate_law``. With noise, ties round up: that makes the floor
    of a symmetric deviate symmetric again. Without noise ties follow the tile's rule.
    The range is chosen so that 16 bits never change a code (``_range``). With wires and without noise a plan
    is only made where at most ``MOST_INEXACT`` of conversions differ (``_inexact``), never where sums lie
    on bounds between codes (an even step, ``floor``), since what the wires take then decides.

    noise: ``none``
           ``sparse``: wrong conversions one by one (``wrong_conversions``)
           ``margins``: the same beside wires that seldom change a code (``conversion_margins``)
           ``whole``: noise rounded to whole numbers where codes depend on nothing else of it, by the law
           round(branches·per_branch) of ``thresholds`` (``whole_thresholds``)
           ``dense``: a deviate for every conversion
    """

    groups: tuple[tuple[int, int], ...]
    quads: int
    chunk: int
    chunks: int
    digits: int
    max_digit: int
    lowest: int
    highest: int
    digits_of: Tensor
    resident_lowest: int
    resident_highest: int
    closed: Tensor
    planes: int
    sharing: int
    fraction: int
    divide: int
    scale: int
    offset: int
    least: int
    code_base: int
    ties: bool
    max_code: int
    step: int
    plane_weight: Tensor
    run_factor: Tensor
    full_weight: Tensor
    digit_weight: Tensor
    power: Tensor
    noise: str
    noise_shift: int
    per_sd: float
    additive: float
    mismatch: float
    worst_sd: float
    levels: int
    nearest: bool
    in_bytes: bool
    thresholds: Tensor
    most_branches: int

    @property
    def rate_bound(self) -> float:
        """Least size of a deviate that is listed as an event."""
        return size_exceeded(EVENT_CHANCE) if self.noise == "margins" else 0.5 / self.worst_sd

    @property
    def numbers(self) -> Tensor:
        """The whole numbers of struct SerialPlan, in its order."""
        return torch.tensor(
            [
                len(self.groups),
                self.quads,
                self.chunk,
                self.chunks,
                self.planes,
                self.sharing,
                self.digits,
                self.max_digit,
                self.lowest,
                self.highest,
                self.resident_lowest,
                self.resident_highest,
                1 << self.fraction,
                self.fraction,
                self.divide,
                self.scale,
                self.offset,
                self.least,
                self.code_base,
                self.ties,
                self.max_code,
                self.step,
                self.levels,
                self.nearest,
                self.in_bytes,
            ],
            dtype=torch.int32,
            device=HOST,
        )

    def codes(self, v: Tensor) -> Tensor:
        """Codes of levels v in 16 bits, int64."""
        found = self._nearest(v)
        if self.ties and self.noise not in ("dense", "whole"):
            found = found & ~(found - self._nearest((v - 1).clamp_(min=-INT16 - 1)))
        return found.clamp_(-self.max_code, self.max_code)

    def _nearest(self, v: Tensor) -> Tensor:
        return codes_of(self, v)


def _largest_power(tile: TileSpec) -> int:
    """Largest Σ_r (w_r·s_r)² of a digit."""
    return int(_powers(tile).max())


def _powers(tile: TileSpec) -> Tensor:
    """Σ_r (w_r·s_r)² of each digit from -max_digit to max_digit, int32."""
    digits = torch.arange(-tile.numeral.max_digit, tile.numeral.max_digit + 1)
    return drive(digits, tile).square().sum(-1).to(torch.int32)


def _span(highest_digit: int, radix: int, width: int) -> int:
    return int(highest_digit * (radix**width - 1) // (radix - 1))


def _runs(weights: tuple[int, ...], largest: int) -> tuple[list[int], list[int]] | None:
    """Planes in runs whose weighted codes add up in 16 bits: weights within the run, factors at its end."""
    inside: list[int] = []
    factors: list[int] = []
    total = unit = 0
    for weight in weights:
        share = weight // unit if unit and weight % unit == 0 else 0
        if not share or total + abs(share) * largest > INT16:
            if inside:
                factors[-1] = unit
            unit, share, total = abs(weight), 1 if weight > 0 else -1, 0
            if largest > INT16:
                return None
        inside.append(share)
        factors.append(0)
        total += abs(share) * largest
    factors[-1] = unit
    return inside, factors


@dataclass(frozen=True, kw_only=True)
class _Range:
    fraction: int
    divide: int
    scale: int
    offset: int
    least: int
    code_base: int
    largest_code: int


def _range(tile: TileSpec, max_sum: int, pairs: int, worst_sd: float, dense: bool) -> _Range | None:
    """Fixed point of the levels: as many fraction bits as 16 bits allow, or None where too few are left.

    A level that is cut at ±32767 must convert to the same code as the level itself. Either nothing is cut
    (largest sum plus largest deviate below 32767), or only what clips anyway: the outermost code starts
    below 32767, by the largest deviate if the sum itself can be cut. Several 8-bit partial sums are added
    with saturation, so that then the sum itself must not be cut.
    """
    adc = tile.adc
    reach_of_z = float(deviate_law().max()) / deviate_sd() * worst_sd if dense else 0.0
    for fraction in range(7, 0, -1):
        unit = adc.step << fraction
        deviate = math.ceil(reach_of_z * 2**fraction) + 1 if dense else 0
        reach = max_sum << fraction
        if reach > INT16 and pairs > 1:
            continue
        outermost = (2 * adc.max_code + 1) * unit // 2
        clips = outermost <= INT16 - (deviate if reach > INT16 else 0)
        if not clips and reach + deviate + unit // 2 > INT16:
            continue
        if dense and fraction < 4 and worst_sd * 2**fraction < 8:
            return None
        largest = min(adc.max_code, min(reach + deviate, INT16) // unit + 1)
        half = 0 if adc.rounding == "floor" else unit // 2
        if adc.step & (adc.step - 1) == 0:
            places = unit.bit_length() - 1
            if places > 15:
                continue
            offset = half - unit // 2
            return _Range(
                fraction=fraction,
                divide=0,
                scale=1 << (15 - places),
                offset=offset,
                least=0,
                code_base=0,
                largest_code=largest,
            )
        # floor((v + half) / unit) with all numbers shifted to be positive
        base = (INT16 + 1 - half) // unit
        if base < largest:
            continue
        shift = adc.step.bit_length() - 1
        return _Range(
            fraction=fraction,
            divide=1 + shift,
            scale=-(-(1 << (16 + shift)) // adc.step),
            offset=base * unit + half,
            least=-(base * unit + half),
            code_base=base,
            largest_code=largest,
        )
    return None


def codes_of(level: _Range | ConversionPlan, v: Tensor) -> Tensor:
    """Codes of levels v in 16 bits, ties up, not yet clipped; int64."""
    if not level.divide:
        return ((v + level.offset).clamp_(-INT16 - 1, INT16) * level.scale + (1 << 14)) >> 15
    whole = (v.clamp(min=level.least) + level.offset) >> level.fraction
    return ((whole * level.scale) >> (15 + level.divide)) - level.code_base


def _inexact(tile: TileSpec, level: _Range, largest_sum: int, elements: int) -> float:
    """Share of conversions, by the law of ``_spread``, whose code in 16 bits is not that of exact arithmetic.

    A share that lies within 2^-fraction of a bound between codes may fall on its other side.
    """
    keep = 1 - wire_attenuation(tile)
    share = keep if tile.resident_code == "bits" else keep[: len(keep) // 2 * 2].view(-1, 2).mean(1)
    sums = torch.arange(-largest_sum, largest_sum + 1)
    v = (sums << level.fraction).clamp_(-(1 << 15), (1 << 15) - 1)
    factor = (share * 2**15).round().clamp_(max=INT16).long()
    found = codes_of(level, (v * factor[:, None] + (1 << 14)) >> 15)
    limit = min(tile.adc.max_code, INT16)
    differs = found.clamp_(-limit, limit) != convert(sums * share[:, None], tile.adc).long()
    law = torch.exp(-0.5 * (sums / _spread(tile, elements)).square())
    return float((differs * law).sum(-1).mean() / law.sum())


@lru_cache(maxsize=256)
@on_host
def conversion_plan(
    tile: TileSpec, streamed_bits: int, resident_bits: int, inner: int
) -> ConversionPlan | None:
    """The plan of a product, or None where 8- and 16-bit numbers do not suffice.

    It takes radices up to 63 (sums of four digits in 8 bits), converters without nonlinearity, and outputs
    that fit 31 bits.
    """
    adc, numeral = tile.adc, tile.numeral
    max_digit = numeral.max_digit
    weights = plane_weights(tile, resident_bits)
    radix_powers = digit_weights(tile, streamed_bits)
    sharing = _sharing(tile)
    maps = len(weights) + (len(weights) // sharing if sharing else 0)
    if (
        inner < 1
        or 4 * max_digit > INT8
        or adc.nonlinearity > 0
        or len(radix_powers) > MOST_DIGITS
        or maps > MOST_SWITCHES - 1
    ):
        return None
    groups = tuple((group.start, group.stop) for group in wordline_groups(inner, tile))
    elements = max(stop - start for start, stop in groups)
    quads = -(-elements // 4)
    chunks = -(-quads // (INT8 // (4 * max_digit)))
    chunk = -(-quads // chunks)
    chunks = -(-quads // chunk)
    additive = tile.environment_noise**2 + (adc.noise * adc.step) ** 2
    most_branches = _largest_power(tile) * elements
    worst_sd = math.sqrt(additive + tile.resistor.mismatch**2 * most_branches)
    nearest = adc.step % 2 == 1 and adc.rounding != "floor"
    pairs = (chunks + 1) // 2
    room = INT8 - 4 * max_digit * chunk  # of 8-bit partial sums
    for noise in _noise_modes(tile, worst_sd, elements, room):
        levels = whole_levels(worst_sd, nearest) if noise == "whole" else 0
        largest_sum = elements * max_digit + (levels + 1 if levels else 0)
        level = _range(tile, largest_sum, pairs, worst_sd, noise == "dense")
        if level is None:
            continue
        runs = _runs(weights, level.largest_code)
        largest = len(groups) * sum(radix_powers) * sum(map(abs, weights)) * adc.step * level.largest_code
        if runs is None or largest >= INT31:
            continue
        in_bytes = adc.step == 1 and chunks <= 2 and max(map(abs, runs[0])) <= 2 * INT8 + 1
        if noise == "margins" and not in_bytes:
            continue
        in_bytes = in_bytes and (noise == "margins" or min(adc.max_code, largest_sum) <= INT8)
        break
    else:
        return None
    noise_shift, per_sd = 0, 0.0
    if noise == "dense":
        # factor·2^-(16 + shift)·deviate_sd = sd·2^fraction, as large as 15 bits allow
        per_sd = 2.0 ** (16 + level.fraction) / deviate_sd()
        if per_sd * worst_sd > INT16:
            return None
        while noise_shift < 15 and 2 * per_sd * worst_sd <= INT16 - 1:
            noise_shift, per_sd = noise_shift + 1, 2 * per_sd
    wired = tile.resistor.wire_resistance_ohm > 0
    alone = wired and noise == "none"  # what the wires take decides, and nothing else
    if alone and not (nearest and _inexact(tile, level, largest_sum, elements) <= MOST_INEXACT):
        return None
    reach = _span(max_digit, numeral.radix, len(radix_powers))
    numbers = torch.arange(-reach, reach + 1)
    digits_of = torch.zeros(len(numbers), MOST_DIGITS, dtype=torch.int8)
    digits_of[:, : len(radix_powers)] = streamed_digits(numbers, tile, streamed_bits)
    resident = _resident_range(tile, resident_bits)
    return ConversionPlan(
        groups=groups,
        quads=quads,
        chunk=chunk,
        chunks=chunks,
        digits=len(radix_powers),
        max_digit=max_digit,
        lowest=-reach,
        highest=reach,
        digits_of=digits_of,
        resident_lowest=int(resident[0]),
        resident_highest=int(resident[-1]),
        closed=_closed(resident, tile, resident_bits),
        planes=len(weights),
        sharing=sharing,
        fraction=level.fraction,
        divide=level.divide,
        scale=level.scale,
        offset=level.offset,
        least=level.least,
        code_base=level.code_base,
        ties=adc.rounding == "half_even" and adc.step % 2 == 0 and not wired,
        max_code=min(adc.max_code, INT16),
        step=adc.step,
        plane_weight=torch.tensor(runs[0], dtype=torch.int16),
        run_factor=torch.tensor(runs[1], dtype=torch.int32),
        full_weight=torch.tensor(weights, dtype=torch.int32),
        digit_weight=torch.tensor(radix_powers, dtype=torch.int32),
        power=_powers(tile),
        noise=noise,
        noise_shift=noise_shift,
        per_sd=per_sd,
        additive=additive,
        mismatch=tile.resistor.mismatch**2,
        worst_sd=worst_sd,
        levels=levels,
        nearest=nearest,
        in_bytes=in_bytes,
        thresholds=_thresholds(tile, additive, most_branches, levels, nearest),
        most_branches=most_branches,
    )


def _noise_modes(tile: TileSpec, worst_sd: float, elements: int, room: int) -> list[str]:
    """Ways to draw the noise, the cheapest first.

    ``sparse`` where whole sums lie at least 1/2 from any bound between codes and seldom cross it: rounding to
    nearest with an odd step and without wires. A sum crosses a bound with a chance of at most 2Q(1/2 / sd),
    and mostly much less for steps above 1. ``margins`` where that still holds for most sums with wires.
    """
    if worst_sd == 0:
        return ["none"]
    nearest = tile.adc.step % 2 == 1 and tile.adc.rounding != "floor"
    if tile.resistor.wire_resistance_ohm > 0:
        alone = nearest and looked_at(tile, worst_sd, elements) <= MOST_LOOKED_AT
        return ["margins", "dense"] if alone else ["dense"]
    if nearest and 2 * upper_tail(0.5 / worst_sd) <= SPARSE_CHANCE:
        return ["sparse"]
    return ["whole", "dense"] if whole_levels(worst_sd, nearest) < min(MOST_LEVELS + 1, room) else ["dense"]


def looked_at(tile: TileSpec, worst_sd: float, elements: int) -> float:
    """Share of conversions that wires may change, mean over the bitlines of the tile.

    Sums are taken as normal with ``_spread``; 1 where even a sum of 1 is as near to a bound as common noise
    reaches.
    """
    loss = wire_attenuation(tile)
    limits = [(0.5 - size * worst_sd) / loss for size in class_sizes()]
    if float(limits[0].min()) < 1:
        return 1.0
    spread = _spread(tile, elements)
    beyond = [2 * float(torch.special.ndtr(-limit / spread).mean()) for limit in limits]
    return sum(beyond[:-1]) / 256 + beyond[-1] * (1 - (len(beyond) - 1) / 256)


def _spread(tile: TileSpec, elements: int) -> float:
    """Standard deviation of a sum of uniform digits on independent switches."""
    digits = torch.arange(-tile.numeral.max_digit, tile.numeral.max_digit + 1)
    closed = 0.5 if tile.resident_code == "bits" else float(drive(digits, tile).abs().double().mean())
    return math.sqrt(elements * closed * float(digits.double().square().mean()))


def _thresholds(tile: TileSpec, additive: float, most_branches: int, levels: int, nearest: bool) -> Tensor:
    laws = LAWS + 1 if tile.resistor.mismatch else 1
    branches = torch.linspace(0, most_branches, laws, dtype=torch.float64)
    if not levels:
        return torch.zeros(1, 1, dtype=torch.int32)
    return whole_thresholds(additive + tile.resistor.mismatch**2 * branches, levels, nearest)


def _resident_range(tile: TileSpec, bits: int) -> Tensor:
    if tile.resident_code == "bits":
        return torch.arange(-(1 << (bits - 1)), 1 << (bits - 1))
    numeral = tile.numeral
    reach = _span(numeral.max_digit, numeral.radix, numeral.digits_for(bits))
    return torch.arange(-reach, reach + 1)


def _sharing(tile: TileSpec) -> int:
    """Planes that have their signs in common; 0 where switches have none."""
    if tile.resident_code == "bits":
        return 0
    return tile.numeral.resistors_per_digit if tile.numeral.polarity == "shared" else 1


def _closed(numbers: Tensor, tile: TileSpec, bits: int) -> Tensor:
    """Bit map of the switches of each number, int64; one bit for each map.

    Switches with a sign e = b - s: the signs s of planes that share them are one map, before the maps b of
    these planes. One look-up less than for e = (e > 0) - (e < 0) for each plane but the first.
    """
    planes, _ = resident_planes(numbers.unsqueeze(0), bits, tile)
    states = planes.squeeze(1).long()  # [plane, number]
    if sharing := _sharing(tile):
        states = states.view(-1, sharing, len(numbers))  # [digit, plane, number]
        signs = (states < 0).any(1, keepdim=True).long()
        states = torch.cat((signs, states + signs), 1).flatten(0, 1)
    places = torch.arange(len(states)).unsqueeze(-1)
    return (states << places).sum(0)


__all__ = [
    "LAWS",
    "WIDTH",
    "ConversionPlan",
    "conversion_plan",
    "looked_at",
]
