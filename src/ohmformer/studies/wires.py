"""Which tiles and unit resistors convert every sum rightly through wires of a given resistance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ohmformer.crossbars import resident_planes
from ohmformer.devices import branch_conductance, convert, effective_conductance, settling_time_s
from ohmformer.devices.wire_compensation import COMPENSATIONS, Compensation, compensation_factors
from ohmformer.emit.spice_tile import branch_units, wordline_states
from ohmformer.errors import UserError
from ohmformer.specs import TileSpec

__all__ = ["SIZES", "UNITS_OHM", "Limits", "TileErrors", "code_errors", "largest_tile", "wire_limits"]

SIZES = (16, 32, 64, 96, 128, 192, 256)
UNITS_OHM = tuple(digit * 10.0**power for power in (4, 5, 6, 7) for digit in (1, 2, 5))
BITS = 8


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

    size:            wordlines and bitlines
    worst_codes:     largest deviation with it
    settling_time_s: of such a tile
    """

    compensation: Compensation
    size: int
    unit_resistance_ohm: float | None
    worst_codes: float | None
    settling_time_s: float | None
    conversions: int


def resized(tile: TileSpec, size: int, unit_ohm: float) -> TileSpec:
    """A square tile, all of its wordlines active, with a converter that resolves its sums."""
    tile = replace(
        tile,
        wordlines=size,
        bitlines=size,
        active_wordlines=size,
        environment_noise=0.0,
        resistor=replace(
            tile.resistor,
            unit_resistance_ohm=unit_ohm,
            switch_resistance_ohm=min(tile.resistor.switch_resistance_ohm, unit_ohm),
            mismatch=0.0,
        ),
        adc=replace(tile.adc, bits=16, step=1, noise=0.0, nonlinearity=0.0, bitlines_per_adc=1),
    )
    return replace(tile, adc=replace(tile.adc, bits=tile.max_sum.bit_length()))


def code_errors(
    tile: TileSpec,
    *,
    loadings: int = 2,
    rows: int = 500,
    seed: int = 0,
    compensations: Sequence[Compensation] = COMPENSATIONS,
) -> list[TileErrors]:
    """Wrong codes of random operands, by the exact network.

    Each loading fills the tile with random resident operands; rows of random digits are driven through it,
    one group of wordlines at a time.
    """
    generator = torch.Generator().manual_seed(seed)
    outputs = tile.outputs(BITS)
    if outputs < 1:
        raise UserError(
            f"The tile has {tile.bitlines} bitlines: one {BITS}-bit resident operand needs "
            f"{tile.bitlines_per_output(BITS)}."
        )
    largest = 2 ** (BITS - 1) - 1
    shape = (loadings, tile.elements, outputs)
    resident = torch.randint(-largest, largest + 1, shape, generator=generator)
    units = torch.stack([branch_units(tile, resident_planes(part, BITS, tile)[0]) for part in resident])
    unit_S = branch_conductance(1, tile.resistor)
    effective = effective_conductance(units.double() * unit_S, tile.resistor.wire_resistance_ohm) / unit_S
    most = tile.numeral.max_digit
    digits = torch.randint(-most, most + 1, (rows, tile.elements), generator=generator)
    groups = -(-tile.elements // tile.group_elements)
    driven = torch.randint(0, groups, (rows, 1), generator=generator)
    digits *= torch.arange(tile.elements) // tile.group_elements == driven
    states = torch.stack([wordline_states(tile, row) for row in digits]).double()
    quiet = replace(tile.adc, noise=0.0)
    sums = _pairs(states @ units.double(), tile)
    right = convert(sums, quiet)
    found = []
    for compensation in compensations:
        drive, gain = compensation_factors(tile, compensation)
        through = _pairs(((states * drive) @ effective) * gain, tile)
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


def _pairs(sums: Tensor, tile: TileSpec) -> Tensor:
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

    The units are tried from the largest downwards until every compensation has failed once.
    """
    if not sizes or not units_ohm:
        raise UserError("No size, or no unit resistance, is given to try.")
    result = []
    for place, size in enumerate(sizes):
        best: dict[Compensation, TileErrors] = {}
        open_ = list(compensations)
        conversions = 0
        for unit in sorted(units_ohm, reverse=True):
            if tile.resistor.wire_resistance_ohm > unit or not open_:
                break
            if progress is not None:
                progress(f"{size} x {size}, {unit:g} ohm", place, len(sizes))
            tried = resized(tile, size, unit)
            for error in code_errors(
                tried, loadings=loadings, rows=rows, seed=seed, compensations=tuple(open_)
            ):
                conversions = error.conversions
                if error.wrong:
                    open_.remove(error.compensation)
                else:
                    best[error.compensation] = error
        for compensation in compensations:
            here = best.get(compensation)
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
                )
            )
    return result


def largest_tile(
    limits: Sequence[Limits], compensation: Compensation, unit_ohm: float | None = None
) -> Limits | None:
    """The largest tile without a wrong code, and of it the smallest unit resistor; None if there is none.

    unit_ohm: the unit resistor at hand: only tiles that take it or a smaller one
    """
    able = [
        limit
        for limit in limits
        if limit.compensation == compensation
        and limit.unit_resistance_ohm is not None
        and (unit_ohm is None or limit.unit_resistance_ohm <= unit_ohm)
    ]
    return max(able, key=lambda limit: limit.size, default=None)
