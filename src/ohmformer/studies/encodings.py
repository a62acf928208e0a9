"""Radix, polarity, active wordlines and converter bits: what each choice costs and what it loses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ohmformer.costs import CostReport, Level, estimate
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, NumeralSpec
from ohmformer.studies.loss import loss
from ohmformer.studies.pareto import pareto
from ohmformer.units import MM2

__all__ = [
    "MAX_ADC_BITS",
    "POLARITIES",
    "RADICES",
    "Choice",
    "Encoding",
    "chip_of",
    "choices",
    "costed",
    "encoding_points",
    "exact_points",
    "needed_bits",
]

RADICES = tuple(range(3, 28, 2))
POLARITIES = ("shared", "per_resistor")
MAX_ADC_BITS = 12


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """One way to encode the streamed operand, and what a model costs with it.

    group:              elements driven at once; active_wordlines = group · resistors
    wordlines:          of a tile; below the chip's where it is cut to what the converter can hold
    cycles:             digits of a streamed value
    resistors:          resistors (wordlines) of one digit
    adc_bits:           magnitude bits of the converter; needed_bits: those that lose nothing
    step, error:        of the converter where it loses information, see ``loss``; 1 and 0 where it does not
    conversions_per_mac: of the whole model, sums with ones included
    area_m2, energy_J, latency_s: of the model on the chip, its number of tiles unchanged
    equal_area_tiles:   tiles that fit the area of the chip as it was given; None if not even one does
    equal_area_latency_s, equal_area_energy_J: with that many tiles
    """

    radix: int
    polarity: str
    group: int
    wordlines: int
    active_wordlines: int
    cycles: int
    resistors: int
    adc_bits: int
    needed_bits: int
    step: int
    error: float
    conversions_per_mac: float
    area_m2: float
    energy_J: float
    latency_s: float
    equal_area_tiles: int | None
    equal_area_latency_s: float | None
    equal_area_energy_J: float | None
    on_front: bool = False
    on_equal_area_front: bool = False

    @property
    def lossless(self) -> bool:
        """Whether the converter tells all sums of a group apart."""
        return self.adc_bits >= self.needed_bits

    @property
    def name(self) -> str:
        """Radix, ``±`` for a polarity per resistor, converter bits: ``17±, 9 bit``."""
        return f"{self.radix}{'' if self.polarity == 'shared' else '±'}, {self.adc_bits} bit"

    @property
    def area_delay_mm2_s(self) -> float:
        """Area-delay product, number of tiles unchanged."""
        return self.area_m2 / MM2 * self.latency_s


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is chosen before anything is costed."""

    radix: int
    polarity: str
    group: int
    wordlines: int
    adc_bits: int
    needed_bits: int


def _numeral(radix: int, polarity: str) -> NumeralSpec:
    return NumeralSpec(radix=radix, polarity=polarity)  # type: ignore[arg-type]


def needed_bits(group: int, radix: int) -> int:
    """Magnitude bits that hold every sum of ``group`` elements: (b−1)/2 · group ≤ 2^bits − 1."""
    return (group * ((radix - 1) // 2)).bit_length()


def _groups(radix: int, polarity: str, wordlines: int) -> Iterator[tuple[int, int]]:
    """(elements driven at once, wordlines of the tile) worth looking at, full tiles and cut ones.

    Powers of two, the whole tile, and for each converter the most elements that it can hold; a tile is cut
    to these where they are more than half of it, since it would otherwise take a second pass for the rest.
    """
    resistors = _numeral(radix, polarity).resistors_per_digit
    whole = wordlines // resistors
    if whole < 1:
        return
    held = {((1 << bits) - 1) // ((radix - 1) // 2) for bits in range(1, needed_bits(whole, radix))}
    groups = {1 << power for power in range(whole.bit_length()) if 1 << power <= whole}
    groups |= {count for count in held if 1 <= count < whole} | {whole}
    for group in sorted(groups):
        yield group, wordlines
        if group in held and whole < 2 * group < 2 * whole:
            yield group, group * resistors


def choices(
    wordlines: int,
    *,
    radices: Sequence[int] = RADICES,
    polarities: Sequence[str] = POLARITIES,
    exact_only: bool = False,
) -> list[Choice]:
    """Every encoding of the study on a tile of ``wordlines``, exact ones first in each group.

    Lossy converters are looked at for groups of powers of two and whole tiles. Where both polarities need the
    same resistors (radix 3, 5, 7) they are one choice, called ``shared``.
    ``exact_only``: for each number of elements driven only the converter that just loses nothing.
    """
    found = []
    for radix in radices:
        for polarity in polarities:
            own = _numeral(radix, polarity).resistors_per_digit
            alike = own == _numeral(radix, "shared").resistors_per_digit
            if polarity != "shared" and alike and "shared" in polarities:
                continue
            whole = wordlines // own
            plain_groups = {1 << power for power in range(8)} | {whole}
            for group, lines in _groups(radix, polarity, wordlines):
                needed = needed_bits(group, radix)
                if needed > MAX_ADC_BITS:
                    continue
                plain = lines == wordlines and group in plain_groups
                lowest = 1 if plain and not exact_only else needed
                found += [
                    Choice(
                        radix=radix,
                        polarity=polarity,
                        group=group,
                        wordlines=lines,
                        adc_bits=bits,
                        needed_bits=needed,
                    )
                    for bits in range(needed, lowest - 1, -1)
                ]
    return found


def chip_of(choice: Choice, chip: ChipSpec, step: int = 1) -> ChipSpec:
    """``chip`` with the encoding of ``choice``."""
    resistors = _numeral(choice.radix, choice.polarity).resistors_per_digit
    tile = dataclasses.replace(
        chip.tile,
        wordlines=choice.wordlines,
        active_wordlines=choice.group * resistors,
        numeral=_numeral(choice.radix, choice.polarity),
        adc=dataclasses.replace(chip.tile.adc, bits=choice.adc_bits, step=step, nonlinearity=0.0),
    )
    return dataclasses.replace(chip, tile=tile)


def _equal_area_tiles(report: CostReport, chip: ChipSpec, area_m2: float, per_tile_m2: float) -> int | None:
    """Tiles such that the area is ``area_m2``: the area grows by ``per_tile_m2`` with each."""
    tiles = chip.tile_count + math.floor((area_m2 - report.area_m2) / per_tile_m2 + 1e-9)
    return tiles if tiles >= 1 else None


def _with_tiles(chip: ChipSpec, tiles: int) -> ChipSpec:
    return dataclasses.replace(chip, tile_count=tiles)


def costed(choice: Choice, program: Program, chip: ChipSpec, area_m2: float, level: Level) -> Encoding:
    """Cost ``program`` with ``choice`` on ``chip``, and again with as many tiles as fit ``area_m2``."""
    precision = chip.precision
    numeral = _numeral(choice.radix, choice.polarity)
    digits = numeral.digits_for(precision.activation_bits)
    step, error = loss(
        radix=choice.radix,
        digits=digits,
        group=choice.group,
        adc_bits=choice.adc_bits,
        streamed_bits=precision.activation_bits,
        resident_bits=precision.weight_bits,
    )
    own = chip_of(choice, chip, step)
    report = estimate(program, own, level=level)
    per_tile = math.fsum(term.total for term in report.area if "tile_count" in term.fields) / own.tile_count
    tiles = _equal_area_tiles(report, own, area_m2, per_tile)
    equal = estimate(program, _with_tiles(own, tiles), level=level) if tiles else None
    return Encoding(
        radix=choice.radix,
        polarity=choice.polarity,
        group=choice.group,
        wordlines=choice.wordlines,
        active_wordlines=choice.group * numeral.resistors_per_digit,
        cycles=digits,
        resistors=numeral.resistors_per_digit,
        adc_bits=choice.adc_bits,
        needed_bits=choice.needed_bits,
        step=step,
        error=error,
        conversions_per_mac=report.conversions_per_mac,
        area_m2=report.area_m2,
        energy_J=report.energy_J,
        latency_s=report.latency_s,
        equal_area_tiles=tiles,
        equal_area_latency_s=equal.latency_s if equal else None,
        equal_area_energy_J=equal.energy_J if equal else None,
    )


def _fronts(points: Sequence[Encoding]) -> list[tuple[bool, bool]]:
    """Places of ``points`` on the two fronts, among each other.

    front:            area, energy, time and error, number of tiles unchanged
    equal-area front: energy, time and error at equal area
    """
    own = pareto([(p.area_m2, p.energy_J, p.latency_s, p.error) for p in points])
    equal = pareto(
        [
            (
                math.inf if p.equal_area_energy_J is None else p.equal_area_energy_J,
                math.inf if p.equal_area_latency_s is None else p.equal_area_latency_s,
                p.error,
            )
            for p in points
        ]
    )
    return [
        (a, b and point.equal_area_tiles is not None) for point, a, b in zip(points, own, equal, strict=True)
    ]


def _marked(points: Sequence[Encoding]) -> tuple[Encoding, ...]:
    """The points with their fronts: exact ones among exact ones, lossy ones among all that tell anything."""
    places = {}
    exact = [index for index, point in enumerate(points) if point.lossless]
    useful = [index for index, point in enumerate(points) if point.error < 1]
    for index, place in zip(useful, _fronts([points[i] for i in useful]), strict=True):
        places[index] = place
    for index, place in zip(exact, _fronts([points[i] for i in exact]), strict=True):
        places[index] = place
    return tuple(
        dataclasses.replace(
            point,
            on_front=places.get(index, (False, False))[0],
            on_equal_area_front=places.get(index, (False, False))[1],
        )
        for index, point in enumerate(points)
    )


def encoding_points(
    program: Program,
    chip: ChipSpec,
    *,
    level: Level = "typical",
    radices: Sequence[int] = RADICES,
    polarities: Sequence[str] = POLARITIES,
) -> tuple[Encoding, ...]:
    """All points, exact and lossy, with their places on the fronts."""
    area = _reference_area(program, chip, level)
    found = choices(chip.tile.wordlines, radices=radices, polarities=polarities)
    if not found:
        raise UserError(f"No radix of {list(radices)} fits a tile of {chip.tile.wordlines} wordlines.")
    return _marked([costed(choice, program, chip, area, level) for choice in found])


def exact_points(
    program: Program,
    chip: ChipSpec,
    *,
    level: Level = "typical",
    radices: Sequence[int] = RADICES,
    polarities: Sequence[str] = POLARITIES,
    most_adc_bits: int = MAX_ADC_BITS,
) -> tuple[Encoding, ...]:
    """The points that lose nothing, with converters of at most ``most_adc_bits``, marked among themselves."""
    area = _reference_area(program, chip, level)
    found = choices(chip.tile.wordlines, radices=radices, polarities=polarities, exact_only=True)
    points = [
        costed(choice, program, chip, area, level) for choice in found if choice.adc_bits <= most_adc_bits
    ]
    return _marked(points)


def _reference_area(program: Program, chip: ChipSpec, level: Level) -> float:
    """Area of the chip as it was given."""
    return estimate(program, chip, level=level).area_m2
