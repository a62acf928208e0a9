"""Every disturbance of the machine by name, each switched and scaled alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ohmformer.specs.checks import SpecError
from ohmformer.specs.chip import ChipSpec
from ohmformer.specs.tree import NOISE_OFF, Value, leaves, nearest, override

__all__ = ["NOISES", "NoiseKind", "names", "only", "present", "scaled"]

_CELL = "dense.cell.noise."


@dataclass(frozen=True, kw_only=True)
class NoiseKind:
    """One disturbance.

    name:    as in commands and files
    title:   as in reports
    paths:   fields that are multiplied by a scale; all of them at 0 switch it off
    meaning: what it does, and what a scale of 2 means where that is not twice the deviation
    needs:   (path, value) without which it has no effect, whatever its own fields say
    beside:  a disturbance that stays as it is when this one is on alone, since this one acts through it
    """

    name: str
    title: str
    paths: tuple[str, ...]
    meaning: str
    needs: tuple[tuple[str, float], ...] = ()
    beside: str | None = None


NOISES: tuple[NoiseKind, ...] = (
    NoiseKind(
        name="programming",
        title="programming noise",
        paths=(_CELL + "programming_noise",),
        meaning="deviation of a dense cell's conductance after a write, fixed until it is written again",
    ),
    NoiseKind(
        name="telegraph",
        title="telegraph noise",
        paths=(_CELL + "telegraph_scale",),
        meaning="two-state jumps of a dense cell's resistance, new at every read; the scale multiplies ΔR/R",
        needs=((_CELL + "telegraph_at_g_max", 0), (_CELL + "telegraph_occupancy", 0)),
    ),
    NoiseKind(
        name="read",
        title="read noise",
        paths=(_CELL + "read_noise",),
        meaning="noise of the sense path of the dense crossbar at every read",
    ),
    NoiseKind(
        name="environment_cell",
        title="environment noise on cells",
        paths=(_CELL + "environment_noise",),
        meaning="noise in proportion to a dense cell's current at every read",
    ),
    NoiseKind(
        name="drift",
        title="drift",
        paths=(_CELL + "drift_exponent",),
        meaning="decay of conductance g(t) = g(t0)·(t/t0)^−ν; the scale multiplies ν, hence the logarithm of "
        "the decay: twice is the decay that the chip reaches at (t/t0)²",
        needs=((_CELL + "drift_time_ratio", 1),),
    ),
    NoiseKind(
        name="stuck",
        title="stuck cells",
        paths=(_CELL + "stuck_low_rate", _CELL + "stuck_high_rate"),
        meaning="dense cells fixed at an end of the range; the scale multiplies how many there are",
    ),
    NoiseKind(
        name="mismatch",
        title="resistor mismatch",
        paths=("tile.resistor.mismatch",),
        meaning="relative deviation of a resistor of the computation crossbar, fixed by its location",
    ),
    NoiseKind(
        name="wire",
        title="wire resistance",
        paths=("tile.resistor.wire_resistance_ohm",),
        meaning="loss of current along the wordlines and bitlines of a computation crossbar",
    ),
    NoiseKind(
        name="switch",
        title="switch resistance",
        paths=("tile.resistor.switch_resistance_ohm",),
        meaning="on-resistance of a unit's switch: alone it lowers all currents alike, which changes no sum; "
        "with wires it changes their share, so that they stay on beside it",
        needs=(("tile.resistor.wire_resistance_ohm", 0),),
        beside="wire",
    ),
    NoiseKind(
        name="environment_bitline",
        title="environment noise on bitlines",
        paths=("tile.environment_noise",),
        meaning="noise on a bitline of a computation crossbar at every conversion",
    ),
    NoiseKind(
        name="adc_noise",
        title="converter noise",
        paths=("tile.adc.noise",),
        meaning="the converter's own input noise at every conversion",
    ),
    NoiseKind(
        name="adc_nonlinearity",
        title="converter nonlinearity",
        paths=("tile.adc.nonlinearity",),
        meaning="bow of the converter's characteristic, the same at every conversion",
    ),
)

_BY_NAME = {kind.name: kind for kind in NOISES}


def names() -> list[str]:
    """Names of all disturbances, those of dense cells first."""
    return list(_BY_NAME)


def present(chip: ChipSpec) -> list[str]:
    """Names of the disturbances that ``chip`` has: those that can be scaled."""
    return [kind.name for kind in NOISES if not _absent(chip, kind)]


def scaled(chip: ChipSpec, name: str, scale: float) -> ChipSpec:
    """``chip`` with the amplitude of one disturbance times ``scale``, all others as they are.

    Error: SpecError for an unknown name, a scale below 0, a chip that has none of it, or an amplitude that
           its field does not allow.
    """
    return _with_fields(chip, _kind(name), scale, {})


def only(chip: ChipSpec, name: str, scale: float) -> ChipSpec:
    """``chip`` with one disturbance at ``scale`` times its amplitude, and all others off.

    Error: as ``scaled``.
    """
    kind = _kind(name)
    kept = (*kind.paths, *(_BY_NAME[kind.beside].paths if kind.beside else ()))
    return _with_fields(chip, kind, scale, {path: off for path, off in NOISE_OFF.items() if path not in kept})


def _kind(name: str) -> NoiseKind:
    if name not in _BY_NAME:
        raise SpecError(
            f"There is no noise {name!r}: {nearest(str(name), names())} Known: {', '.join(names())}."
        )
    return _BY_NAME[name]


def _absent(chip: ChipSpec, kind: NoiseKind) -> str:
    """The field to set before there is anything to scale, or nothing."""
    values = leaves(chip)
    for path, off in kind.needs:
        if values[path] == off:
            return path
    return "" if any(values[path] for path in kind.paths) else " or ".join(kind.paths)


def _with_fields(chip: ChipSpec, kind: NoiseKind, scale: float, others: dict[str, Value]) -> ChipSpec:
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 <= scale < math.inf:
        raise SpecError(
            f"The scale of the noise {kind.name!r} is {scale!r}: it must be a number of at least 0."
        )
    missing = _absent(chip, kind)
    if missing:
        raise SpecError(f"The chip has no {kind.title} to scale: set {missing} first.")
    values = leaves(chip)
    changes = {path: float(values[path]) * scale for path in kind.paths}
    try:
        return override(chip, {**others, **changes})
    except SpecError as error:
        raise SpecError(f"The noise {kind.name!r} cannot be scaled by {scale:g}: {error}") from error
