"""From --chip, --set and --noise-scale to chips and the setups that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec, ideal, override, parse_settings, preset, read_chip

if TYPE_CHECKING:
    from ohmformer.engine import Mode
    from ohmformer.verbs import Setup

__all__ = ["DEFAULT_CHIP", "chips_from", "mode_for", "one_chip", "setups_from"]

DEFAULT_CHIP = "wang2024"
TELEGRAPH = "dense.cell.noise.telegraph_scale"


def chips_from(names: Sequence[str] | None, settings: Sequence[str] | None) -> list[ChipSpec]:
    """The chips named, each with the settings put over it; ``wang2024`` if none is named."""
    changes = parse_settings(list(settings or ()))
    chips = [override(_chip(name), changes) for name in names or (DEFAULT_CHIP,)]
    for index, chip in enumerate(chips):
        if chip.name in [other.name for other in chips[:index]]:
            raise UserError(
                f"The chip {chip.name!r} is given twice: chips that are compared need other names."
            )
    return chips


def one_chip(name: str | None, settings: Sequence[str] | None) -> ChipSpec:
    """The one chip of a command that takes a single one."""
    return chips_from([name] if name else None, settings)[0]


def _chip(name: str) -> ChipSpec:
    if name.lower().endswith((".yaml", ".yml")) or Path(name).is_file():
        return read_chip(name, preset)
    return preset(name)


def mode_for(chip: ChipSpec, mode: str | None) -> Mode | None:
    """``mode`` if ``chip`` can be simulated so; None stays None, what the physics of the chip allows."""
    if mode is None:
        return None
    from ohmformer.engine import MODES, FastEngine

    if mode not in MODES:
        raise UserError(f"--mode is {mode!r}: allowed are {', '.join(MODES)}.")
    try:
        return FastEngine(chip.tile, mode).runs
    except UserError as error:
        raise UserError(f"{chip.name}: {error}") from error


def setups_from(
    chips: Sequence[ChipSpec],
    settings: Sequence[str] | None = None,
    scales: Sequence[float] | None = None,
    *,
    with_ideal: bool = True,
    mode: str | None = None,
    compensated: bool = False,
    calibrated: bool = False,
) -> list[Setup]:
    """fp32, then per chip its ideal form and its noisy forms.

    Ideal chips of equal precision and function unit compute the same numbers (their products are exact),
    so such a form runs once, in its own mode; ``mode`` is that of the others.
    compensated, calibrated: as in ``Setup``, for every chip
    """
    from ohmformer.verbs import Setup

    made = partial(Setup, compensated=compensated, calibrated=calibrated)
    extra = "".join(f", {text}" for text in made(label="").precision)

    setups = [Setup(label="fp32")]
    suffix = f" ({', '.join(settings)})" if settings else ""
    seen: list[tuple[object, ...]] = []
    for chip in chips:
        key = (chip.precision, chip.function_unit, chip.buffer.word_bits)
        if with_ideal and key not in seen:
            seen.append(key)
            label = "ideal chip" if len(seen) == 1 else f"ideal {chip.name}"
            setups.append(made(label=label + extra, chip=ideal(chip)))
        if not scales:
            label = f"{chip.name}{suffix}"
            setups.append(made(label=label + extra, chip=chip, mode=mode_for(chip, mode)))
        for scale in scales or ():
            noisy = override(chip, {TELEGRAPH: float(scale)})
            label = f"{chip.name}{suffix}, {scale:g}x telegraph noise"
            setups.append(made(label=label + extra, chip=noisy, mode=mode_for(noisy, mode)))
    return setups
