"""The encoding study: all points of one model on one chip, and when base 7 is worth it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ohmformer.costs import LEVELS, Level, estimate
from ohmformer.costs.baselines import digital_mac_dense
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, override
from ohmformer.studies.encodings import (
    MAX_ADC_BITS,
    POLARITIES,
    RADICES,
    Encoding,
    encoding_points,
    exact_points,
)

__all__ = ["CONDITIONS", "Condition", "EncodingStudy", "Outcome", "outcome", "study_encodings"]

RADIX_OF_THE_PAPER = 7


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One thing that differs from the study's own chip and model.

    changes:      of the chip, by dotted path
    times_tokens: the sequence is so many times as long
    """

    name: str
    changes: Mapping[str, int | float]
    level: Level | None = None
    polarities: tuple[str, ...] = POLARITIES
    most_adc_bits: int = MAX_ADC_BITS
    times_tokens: int = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What lies on the equal-area front of the exact encodings under a condition.

    front:                names of the points of the front, fastest first
    base_7_on_front:      whether one of them has radix 7
    fastest, leanest:     the points of least time and of least energy
    base_7:               the fastest point of radix 7; None where no converter holds it
    time_over_fastest, energy_over_leanest: of ``base_7`` and of the radix-7 point of least energy; >= 1
    """

    condition: str
    front: tuple[str, ...]
    base_7_on_front: bool
    fastest: str
    leanest: str
    base_7: str | None
    time_over_fastest: float | None
    energy_over_leanest: float | None


@dataclass(frozen=True, kw_only=True)
class EncodingStudy:
    """Everything the study found.

    points:   all encodings, exact and lossy
    outcomes: one row for each condition, exact encodings only
    plain_*:  plain int8 multiply-accumulate units in the area of the given chip's tiles, the same memory
    """

    model: str
    tokens: int
    batch: int
    chip_name: str
    level: Level
    operand_bits: tuple[int, int]
    reference_area_m2: float
    plain_area_m2: float
    plain_energy_J: float
    plain_latency_s: float
    points: tuple[Encoding, ...]
    outcomes: tuple[Outcome, ...]


def _bits(bits: int) -> Condition:
    return Condition(
        name=f"operands of {bits} bits",
        changes={"precision.weight_bits": bits, "precision.activation_bits": bits},
    )


CONDITIONS: tuple[Condition, ...] = (
    Condition(name="as given", changes={}),
    Condition(name="shared polarity only", changes={}, polarities=("shared",)),
    *(
        Condition(name=f"converters of at most {bits} bits", changes={}, most_adc_bits=bits)
        for bits in (8, 7, 6, 4, 2)
    ),
    Condition(name="a converter for 16 bitlines", changes={"tile.adc.bitlines_per_adc": 16}),
    Condition(name="a converter for each bitline", changes={"tile.adc.bitlines_per_adc": 1}),
    *(Condition(name=f"{level} unit values", changes={}, level=level) for level in LEVELS),
    *(_bits(bits) for bits in (4, 6, 10, 12, 16)),
    Condition(name="four times the tokens", changes={}, times_tokens=4),
)


def outcome(
    condition: Condition,
    program: Program,
    chip: ChipSpec,
    level: Level,
    radices: Sequence[int] = RADICES,
) -> Outcome:
    """Cost every exact encoding under ``condition`` and look at the equal-area front."""
    changed = override(chip, dict(condition.changes))
    points = exact_points(
        program,
        changed,
        level=condition.level or level,
        radices=radices,
        polarities=condition.polarities,
        most_adc_bits=condition.most_adc_bits,
    )
    built = [point for point in points if point.equal_area_tiles is not None]
    if not built:
        raise UserError(f"No encoding fits the area of the chip under the condition {condition.name!r}.")

    def time(point: Encoding) -> float:
        assert point.equal_area_latency_s is not None
        return point.equal_area_latency_s

    def energy(point: Encoding) -> float:
        assert point.equal_area_energy_J is not None
        return point.equal_area_energy_J

    front = sorted((point for point in built if point.on_equal_area_front), key=time)
    fastest, leanest = min(built, key=time), min(built, key=energy)
    sevens = [point for point in built if point.radix == RADIX_OF_THE_PAPER]
    own = min(sevens, key=time) if sevens else None
    return Outcome(
        condition=condition.name,
        front=tuple(dict.fromkeys(point.name for point in front)),
        base_7_on_front=any(point.radix == RADIX_OF_THE_PAPER for point in front),
        fastest=fastest.name,
        leanest=leanest.name,
        base_7=own.name if own else None,
        time_over_fastest=time(own) / time(fastest) if own else None,
        energy_over_leanest=min(map(energy, sevens)) / energy(leanest) if sevens else None,
    )


def study_encodings(
    program_at: Callable[[int], Program],
    chip: ChipSpec,
    *,
    tokens: int,
    level: Level = "typical",
    radices: Sequence[int] = RADICES,
    conditions: Sequence[Condition] = CONDITIONS,
) -> EncodingStudy:
    """All encodings of a model on ``chip``, and which of them last under each condition.

    program_at: the model's program at a number of tokens
    """
    program = program_at(tokens)
    points = encoding_points(program, chip, level=level, radices=radices)
    outcomes = tuple(
        outcome(
            condition,
            program if condition.times_tokens == 1 else program_at(condition.times_tokens * tokens),
            chip,
            level,
            radices,
        )
        for condition in conditions
    )
    plain = digital_mac_dense(program, chip, level=level)
    return EncodingStudy(
        model=program.name,
        tokens=tokens,
        batch=program.batch,
        chip_name=chip.name,
        level=level,
        operand_bits=(chip.precision.activation_bits, chip.precision.weight_bits),
        reference_area_m2=estimate(program, chip, level=level).area_m2,
        plain_area_m2=plain.area_m2,
        plain_energy_J=plain.energy_J,
        plain_latency_s=plain.latency_s,
        points=points,
        outcomes=outcomes,
    )
