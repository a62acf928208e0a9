"""Checks of a chip's crossbars by circuit simulators, on the very specs that the model reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ohmformer.crossbars import compute, digit_weights, draw_mismatch, plane_weights, resident_planes
from ohmformer.crossbars import streamed_digits as digits_of
from ohmformer.devices import (
    convert,
    effective_conductance,
    level_conductances,
    nodal_conductance,
    sense,
    settling_time_s,
    thresholds,
)
from ohmformer.devices.periphery import PERIPHERY
from ohmformer.emit.simulators.ngspice import ngspice_version, run_ngspice
from ohmformer.emit.simulators.vacask import run_vacask, vacask_version
from ohmformer.emit.spice_circuit import Circuit
from ohmformer.emit.spice_dense import dense_circuit, dense_symbols
from ohmformer.emit.spice_settling import settled_after_s
from ohmformer.emit.spice_tile import cell_conductance, sums_of, tile_circuit, wordline_states
from ohmformer.specs import ChipSpec, DenseSpec, TileSpec
from ohmformer.verbs.circuits import shrink
from ohmformer.verbs.verify_rows import Check, Outcome, checked

__all__ = ["CIRCUIT_ROWS", "circuit_checks"]

CIRCUIT_ROWS = 7
CURRENT = 1e-6  # promised of currents, share of the largest
SOLVER = 1e-9  # promised of effective conductances, share of the largest
WIRE_OHM = 1.0  # of the checks with wires, where the chip has none
SETTLING, SETTLING_HIGH = 0.15, 0.25  # the formula may be this share off the circuit
HIGH_BASE = 63  # up to which it is at most 14 % long; 17 % at base 257
WIRES_TAKE = 0.01  # share of a sum above which the formula is only held not to be short
FROM_THRESHOLD = 1e-6  # share of the largest level within which a circuit may say either code

Runner = Callable[[Circuit], Tensor]


def circuit_checks(chip: ChipSpec, *, quick: bool = False, seed: int = 0) -> Iterator[Check]:
    """Checks of the computation crossbar's tile and of the dense crossbar's read, one after the other."""
    size = 16 if quick else 32
    ngspice, vacask = ngspice_version(), vacask_version()
    bits = chip.precision.weight_bits
    small = _sized(chip.tile, size, bits)
    wired = _with_wires(small)
    for name, tile in (("without wires", _without_wires(small)), ("with wires", wired)):
        yield checked(
            f"tile {name}",
            f"bitline currents of {tile.wordlines} x {tile.bitlines}, mismatch and switches in, against the "
            "exact network",
            ngspice,
            CURRENT,
            "of the largest",
            lambda tile=tile: _currents(tile, bits, run_ngspice, 3, seed),  # type: ignore[misc]
        )
    large = _with_wires(_sized(chip.tile, 64 if quick else 128, bits))
    yield checked(
        "tile at size",
        f"bitline currents of {large.wordlines} x {large.bitlines}, against the batched solver",
        vacask,
        CURRENT,
        "of the largest",
        lambda: _currents(large, bits, run_vacask, 1, seed, batched=True),
    )
    yield checked(
        "batched wires",
        f"effective conductances of {large.wordlines} x {large.bitlines}, batched solver against sparse one",
        "scipy splu",
        SOLVER,
        "of the largest",
        lambda: _batched_wires(large, bits, seed),
    )
    product = _sized(chip.tile, 16 if quick else 32, bits)
    yield checked(
        "product",
        "every cycle and group of a product through circuits and the converter's arithmetic, against the "
        "reference",
        ngspice,
        0.0,
        "of the integers",
        lambda: _product(chip, product, seed),
    )
    yield checked(
        "dense read",
        "symbols of comparators on every level and either side of every threshold, and of random cells",
        ngspice,
        0.0,
        "symbols",
        lambda: _dense(chip.dense, 32 if quick else 256, seed),
    )
    yield checked(
        "settling",
        "settling time of the largest sum, formula against transients; where wires take more than 1 % of it, "
        "by how much it is short",
        ngspice,
        SETTLING if chip.tile.numeral.radix <= HIGH_BASE else SETTLING_HIGH,
        "of the time",
        lambda: _settling(chip.tile, (8, 16) if quick else (8, 16, 32, 64)),
    )


def _sized(tile: TileSpec, size: int, bits: int) -> TileSpec:
    """The chip's own tile, or a part of it that holds at least an element and an output."""
    rows = max(min(size, tile.wordlines), tile.numeral.resistors_per_digit)
    columns = max(min(size, tile.bitlines), tile.bitlines_per_output(bits))
    return shrink(tile, rows, columns)


def _without_wires(tile: TileSpec) -> TileSpec:
    return replace(tile, resistor=replace(tile.resistor, wire_resistance_ohm=0.0))


def _with_wires(tile: TileSpec) -> TileSpec:
    ohm = tile.resistor.wire_resistance_ohm or min(WIRE_OHM, tile.resistor.unit_resistance_ohm)
    return replace(tile, resistor=replace(tile.resistor, wire_resistance_ohm=ohm))


def _operands(tile: TileSpec, bits: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Digits of one cycle, all wordlines in use, and resident planes that fill the tile."""
    most = tile.numeral.max_digit
    digits = torch.randint(-most, most + 1, (tile.elements,), generator=generator)
    resident = _integers(bits, (tile.elements, tile.outputs(bits)), generator)
    return digits, resident_planes(resident, bits, tile)[0]


def _currents(
    tile: TileSpec, bits: int, run: Runner, times: int, seed: int, *, batched: bool = False
) -> Outcome:
    generator = torch.Generator().manual_seed(seed)
    worst, cases = 0.0, 0
    for _ in range(times):
        digits, planes = _operands(tile, bits, generator)
        mismatch = draw_mismatch(tile, generator)
        cells = cell_conductance(tile, planes, mismatch)
        ohm = tile.resistor.wire_resistance_ohm
        effective = effective_conductance(cells, ohm) if batched else nodal_conductance(cells, ohm)
        expected = PERIPHERY.read_voltage_V * wordline_states(tile, digits).double() @ effective
        found = run(tile_circuit(tile, digits, planes, mismatch=mismatch))
        worst = max(worst, _apart(found, expected))
        cases += len(found)
    return Outcome(cases=cases, worst=worst)


def _batched_wires(tile: TileSpec, bits: int, seed: int) -> Outcome:
    _, planes = _operands(tile, bits, torch.Generator().manual_seed(seed))
    cells, ohm = cell_conductance(tile, planes), tile.resistor.wire_resistance_ohm
    found = effective_conductance(cells, ohm)
    return Outcome(cases=found.numel(), worst=_apart(found, nodal_conductance(cells, ohm)))


def _apart(found: Tensor, expected: Tensor) -> float:
    """Largest difference, share of the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())


def _product(chip: ChipSpec, tile: TileSpec, seed: int) -> Outcome:
    """Share of numbers of a product that are not what circuits and converter make of it.

    A level within ``FROM_THRESHOLD`` of the largest one from a whole number of units is taken as that number,
    which it is without wires: whole sums lie on the thresholds of a converter that rounds down, or whose
    step is even, and the converter's rule for them is part of what is compared. With wires the reference's
    own level may be on either side there, and a number be anything between what both codes make of it.
    """
    tile = replace(
        tile,
        environment_noise=0.0,
        resistor=replace(tile.resistor, mismatch=0.0),
        adc=replace(tile.adc, noise=0.0),
    )
    streams, resides = chip.precision.activation_bits, chip.precision.weight_bits
    generator = torch.Generator().manual_seed(seed)
    streamed = _integers(streams, (1, tile.elements), generator)
    resident = _integers(resides, (tile.elements, tile.outputs(resides)), generator)
    planes = resident_planes(resident, resides, tile)[0]
    weights = torch.tensor(plane_weights(tile, resides))
    digits = digits_of(streamed, tile, streams)[0]
    low = torch.zeros(resident.shape[1], dtype=torch.int64)
    high, exact = torch.zeros_like(low), torch.zeros_like(low)
    near = FROM_THRESHOLD * tile.max_sum
    for index, power in enumerate(digit_weights(tile, streams)):
        for first in range(0, tile.elements, tile.group_elements):
            group = slice(first, first + tile.group_elements)
            driven = torch.zeros_like(digits[:, index])
            driven[group] = digits[group, index]
            sums = sums_of(run_ngspice(tile_circuit(tile, driven, planes)), tile, "ideal")
            used = sums[: resident.shape[1] * tile.bitlines_per_output(resides)]
            levels = used if tile.resident_code == "bits" else used[0::2] - used[1::2]
            whole = levels.round()
            taken = torch.where((levels - whole).abs() <= near, whole, levels)
            codes = [convert(each, tile.adc) for each in (taken, levels - near, levels + near)]
            each = torch.stack(codes).to(torch.int64).view(3, -1, len(weights)) * weights
            each = each * power * tile.adc.step
            exact += each[0].sum(1)
            low += each.amin(0).sum(1)
            high += each.amax(0).sum(1)
    right = compute(streamed, resident, tile, streams, resides, wires="nodal").values[0]
    outside = right != exact
    if tile.resistor.wire_resistance_ohm:
        outside &= (right < low) | (right > high)
    return Outcome(cases=len(right), worst=float(outside.double().mean()))


def _integers(bits: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Uniform over the symmetric range of so many bits."""
    largest = 2 ** (bits - 1) - 1
    return torch.randint(-largest, largest + 1, shape, generator=generator)


def _dense(dense: DenseSpec, cells: int, seed: int) -> Outcome:
    """Symbols that differ from the reference; no cell nearer than 1e-6 of itself to a threshold is tried."""
    cell = dense.cell
    limits = thresholds(cell)
    generator = torch.Generator().manual_seed(seed)
    span = cell.g_max_S - cell.g_min_S
    drawn = cell.g_min_S + span * torch.rand(cells, generator=generator, dtype=torch.float64)
    near = (drawn[:, None] / limits - 1).abs().amin(1) < 1e-6
    row = torch.cat([level_conductances(cell), limits * (1 - 1e-6), limits * (1 + 1e-6), drawn[~near]])
    row = row[: dense.bitlines]
    rows = min(2, dense.wordlines)
    patch = torch.cat([row.flip(0)[None], row[None]])[2 - rows :]
    found = dense_symbols(run_ngspice(dense_circuit(dense, patch, rows - 1)), dense)
    return Outcome(cases=len(row), worst=float((found != sense(row, cell)).sum()))


def _settling(tile: TileSpec, sizes: tuple[int, ...]) -> Outcome:
    worst = 0.0
    for size in sizes:
        rows = max(min(size, tile.wordlines), tile.numeral.resistors_per_digit)
        here = shrink(tile, rows, 2)
        apart = settling_time_s(here) / settled_after_s(here) - 1
        careful = _wires_take(here) > WIRES_TAKE
        worst = max(worst, -apart if careful else abs(apart))
    return Outcome(cases=len(sizes), worst=worst)


def _wires_take(tile: TileSpec) -> float:
    """Share of the largest sum of the first bitline, every switch on it closed, that wires take."""
    planes = torch.ones(1, tile.elements, 1, dtype=torch.int8)
    cells = cell_conductance(tile, planes)
    through = nodal_conductance(cells, tile.resistor.wire_resistance_ohm)
    return 1 - float(through[:, 0].sum() / cells[:, 0].sum())
