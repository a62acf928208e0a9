"""Which tiles and unit resistors convert every sum rightly through wires of a given resistance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ohmformer.crossbars import drive, resident_planes
from ohmformer.devices import branch_conductance, convert, effective_conductance, settling_time_s
from ohmformer.devices.wire_compensation import COMPENSATIONS, Compensation, compensation_factors
from ohmformer.emit.spice_tile import branch_units
from ohmformer.errors import UserError
from ohmformer.specs import TileSpec

__all__ = [
    "OPERANDS",
    "SIZES",
    "UNITS_OHM",
    "Limits",
    "Operands",
    "TileErrors",
    "code_errors",
    "largest_tile",
    "wire_limits",
]

SIZES = (16, 32, 64, 96, 128, 192, 256)
UNITS_OHM = tuple(digit * 10.0**power for power in (4, 5, 6, 7, 8) for digit in (1, 2, 5))
BITS = 8
Operands = Literal["random", "closed"]
OPERANDS: tuple[Operands, ...] = get_args(Operands)


@dataclass(frozen=True, kw_only=True)
class TileErrors:
    """Conversions of one tile through its wires, no noise and no mismatch.

    compensation: what is done against the wires
    conversions, wrong: how many, and how many of them give another code than without wires
    worst_codes:  largest deviation of a level from the one without wires, in codes
    """

    compensation: Compensation
    wordlines: int
    bitlines: int
    unit_resistance_ohm: float
    wire_resistance_ohm: float
    conversions: int
    wrong: int
    worst_codes: float


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The smallest unit resistor of a square tile that gave no wrong code; None where all tried ones did.

    size:                       wordlines and bitlines
    unit_resistance_ohm:        for random operands
    worst_codes:                largest deviation with it
    settling_time_s:            of such a tile
    conversions:                of random operands, that were looked at
    closed_unit_resistance_ohm: that also converts the largest sum of every group rightly while every switch
                                is closed, the worst loading there is
    """

    compensation: Compensation
    size: int
    unit_resistance_ohm: float | None
    worst_codes: float | None
    settling_time_s: float | None
    conversions: int
    closed_unit_resistance_ohm: float | None


def resized(tile: TileSpec, size: int, unit_ohm: float) -> TileSpec:
    """A square tile, all of its wordlines active, with a converter that resolves its sums."""
    return with_resolving_converter(
        replace(
            tile,
            wordlines=size,
            bitlines=size,
            active_wordlines=size,
            resistor=replace(
                tile.resistor,
                unit_resistance_ohm=unit_ohm,
                switch_resistance_ohm=min(tile.resistor.switch_resistance_ohm, unit_ohm),
            ),
            adc=replace(tile.adc, bitlines_per_adc=1),
        )
    )


def with_resolving_converter(tile: TileSpec) -> TileSpec:
    """The tile without noise and mismatch, with a converter that resolves its sums.

    Error: UserError where that takes more than the 16 bits a converter may have.
    """
    bits = tile.max_sum.bit_length()
    if bits > 16:
        raise UserError(
            f"Sums of {tile.group_elements} digits of radix {tile.numeral.radix} reach {tile.max_sum}: no "
            "converter of up to 16 bits resolves them."
        )
    return replace(
        tile,
        environment_noise=0.0,
        resistor=replace(tile.resistor, mismatch=0.0),
        adc=replace(tile.adc, bits=bits, step=1, noise=0.0, nonlinearity=0.0),
    )


def random_units(tile: TileSpec, loadings: int, generator: torch.Generator) -> Tensor:
    """Units of the closed switches of tiles full of random operands, [loading, wordline, bitline]."""
    outputs = tile.outputs(BITS)
    if outputs < 1:
        raise UserError(
            f"The tile has {tile.bitlines} bitlines: one {BITS}-bit resident operand needs "
            f"{tile.bitlines_per_output(BITS)}."
        )
    largest = 2 ** (BITS - 1) - 1
    shape = (loadings, tile.elements, outputs)
    resident = torch.randint(-largest, largest + 1, shape, generator=generator)
    return torch.stack([branch_units(tile, resident_planes(part, BITS, tile)[0]) for part in resident])


def closed_units(tile: TileSpec) -> Tensor:
    """Units with every switch closed, of resident digits those of every positive bitline: [1, ...]."""
    pair = 1 if tile.resident_code == "bits" else 2
    planes = torch.ones(
        tile.bitlines_per_output(BITS) // pair, tile.elements, tile.outputs(BITS), dtype=torch.int8
    )
    return branch_units(tile, planes)[None]


def random_states(tile: TileSpec, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Wordlines of rows of random digits, [row, wordline], and the group that each row drives, [row]."""
    most = tile.numeral.max_digit
    digits = torch.randint(-most, most + 1, (rows, tile.elements), generator=generator)
    driven = torch.randint(0, _groups(tile), (rows,), generator=generator)
    return _states(tile, digits, driven), driven


def largest_states(tile: TileSpec) -> tuple[Tensor, Tensor]:
    """The largest digit on every element of each group in turn, as ``random_states``."""
    driven = torch.arange(_groups(tile))
    digits = torch.full((len(driven), tile.elements), tile.numeral.max_digit)
    return _states(tile, digits, driven), driven


def _groups(tile: TileSpec) -> int:
    return -(-tile.elements // tile.group_elements)


def _states(tile: TileSpec, digits: Tensor, driven: Tensor) -> Tensor:
    digits = digits * (torch.arange(tile.elements) // tile.group_elements == driven[:, None])
    used = drive(digits, tile).sign().double().flatten(1)
    return torch.nn.functional.pad(used, (0, tile.wordlines - used.shape[1]))


def code_errors(
    tile: TileSpec,
    *,
    loadings: int = 2,
    rows: int = 500,
    seed: int = 0,
    compensations: Sequence[Compensation] = COMPENSATIONS,
    operands: Operands = "random",
) -> list[TileErrors]:
    """Wrong codes by the exact network.

    operands: ``random``: each loading fills the tile with random resident operands; rows of random digits
              are driven through it, one group of wordlines at a time. ``closed``: every switch closed, the
              largest sum of each group, and as many random rows beside.
    """
    generator = torch.Generator().manual_seed(seed)
    units = random_units(tile, loadings, generator)
    states, _ = random_states(tile, rows, generator)
    if operands == "closed":
        units, states = closed_units(tile), torch.cat([largest_states(tile)[0], states])
    unit_S = branch_conductance(1, tile.resistor)
    effective = effective_conductance(units.double() * unit_S, tile.resistor.wire_resistance_ohm) / unit_S
    quiet = replace(tile.adc, noise=0.0)
    sums = seen(states @ units.double(), tile)
    right = convert(sums, quiet)
    found = []
    for compensation in compensations:
        drive, gain = compensation_factors(tile, compensation)
        through = seen(((states * drive) @ effective) * gain, tile)
        found.append(
            TileErrors(
                compensation=compensation,
                wordlines=tile.wordlines,
                bitlines=tile.bitlines,
                unit_resistance_ohm=tile.resistor.unit_resistance_ohm,
                wire_resistance_ohm=tile.resistor.wire_resistance_ohm,
                conversions=right.numel(),
                wrong=int((convert(through, quiet) != right).sum()),
                worst_codes=float((through - sums).abs().max()) / tile.adc.step,
            )
        )
    return found


def seen(sums: Tensor, tile: TileSpec) -> Tensor:
    """What the converters see: the bitlines in use, or the differences of their pairs."""
    used = sums[..., : tile.outputs(BITS) * tile.bitlines_per_output(BITS)]
    return used if tile.resident_code == "bits" else used[..., 0::2] - used[..., 1::2]


def wire_limits(
    tile: TileSpec,
    *,
    sizes: Sequence[int] = SIZES,
    units_ohm: Sequence[float] = UNITS_OHM,
    loadings: int = 2,
    rows: int = 500,
    seed: int = 0,
    compensations: Sequence[Compensation] = COMPENSATIONS,
    progress: Callable[[str, int, int], object] | None = None,
) -> list[Limits]:
    """For each size and compensation the smallest unit resistor without a wrong code, of those tried.

    The units are tried from the largest downwards until every compensation has failed once, so that all
    larger ones gave no wrong code either; random operands first, then every switch closed.
    """
    if not sizes or not units_ohm:
        raise UserError("No size, or no unit resistance, is given to try.")
    result = []
    for place, size in enumerate(sizes):
        best: dict[tuple[Operands, Compensation], TileErrors] = {}
        conversions = 0
        for operands in OPERANDS:
            open_ = list(compensations)
            for unit in sorted(units_ohm, reverse=True):
                if tile.resistor.wire_resistance_ohm > unit or not open_:
                    break
                if progress is not None:
                    progress(f"{size} x {size}, {unit:g} ohm", place, len(sizes))
                for error in code_errors(
                    resized(tile, size, unit),
                    loadings=loadings,
                    rows=rows if operands == "random" else 0,
                    seed=seed,
                    compensations=tuple(open_),
                    operands=operands,
                ):
                    if operands == "random":
                        conversions = error.conversions
                    if error.wrong:
                        open_.remove(error.compensation)
                    else:
                        best[operands, error.compensation] = error
        for compensation in compensations:
            here, closed = best.get(("random", compensation)), best.get(("closed", compensation))
            result.append(
                Limits(
                    compensation=compensation,
                    size=size,
                    unit_resistance_ohm=here.unit_resistance_ohm if here else None,
                    worst_codes=here.worst_codes if here else None,
                    settling_time_s=(
                        settling_time_s(resized(tile, size, here.unit_resistance_ohm)) if here else None
                    ),
                    conversions=conversions,
                    # both must hold: the larger of the two
                    closed_unit_resistance_ohm=(
                        max(here.unit_resistance_ohm, closed.unit_resistance_ohm) if here and closed else None
                    ),
                )
            )
    return result


def largest_tile(
    limits: Sequence[Limits],
    compensation: Compensation,
    unit_ohm: float | None = None,
    *,
    operands: Operands = "random",
) -> Limits | None:
    """The largest tile without a wrong code, and of it the smallest unit resistor; None if there is none.

    unit_ohm: the unit resistor at hand: only tiles that take it or a smaller one
    """
    able = []
    for limit in limits:
        smallest = limit.unit_resistance_ohm if operands == "random" else limit.closed_unit_resistance_ohm
        if (
            limit.compensation == compensation
            and smallest is not None
            and (unit_ohm is None or smallest <= unit_ohm)
        ):
            able.append(limit)
    return max(able, key=lambda limit: limit.size, default=None)
