"""The largest tile and the smallest unit resistor: monotone, exact at the ends, refused where meaningless."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ohmformer.crossbars import compute
from ohmformer.errors import UserError
from ohmformer.specs import NumeralSpec, TileSpec, preset
from ohmformer.studies.wire_forms import FORMS, form_errors
from ohmformer.studies.wires import code_errors, largest_tile, resized, wire_limits


def tile_of(wire: float, code: str = "bits") -> TileSpec:
    tile = preset("wang2024").tile
    resistor = replace(tile.resistor, wire_resistance_ohm=wire)
    return replace(tile, resident_code=code, resistor=resistor)


@pytest.mark.parametrize("code", ["bits", "digits"])
def test_without_wires_no_code_is_wrong(code: str) -> None:
    tile = resized(tile_of(0.0, code), 36, 1e5)
    for error in code_errors(tile, rows=50):
        assert error.wrong == 0
        assert error.worst_codes < 1e-9  # rounding of sums up to 54 in float64
        assert error.conversions == 2 * 50 * (32 if code == "bits" else 18)


def test_wrong_codes_are_those_of_the_reference() -> None:
    """One loading, digits as words of one digit: ``compute`` on the same network errs where this one does."""
    import torch

    from ohmformer.crossbars import resident_planes, streamed_digits
    from ohmformer.devices import convert, effective_conductance
    from ohmformer.emit.spice_tile import cell_conductance, wordline_states

    tile = resized(tile_of(400.0), 16, 1e5)
    generator = torch.Generator().manual_seed(3)
    resident = torch.randint(-127, 128, (8, 2), generator=generator)
    streamed = torch.randint(-3, 4, (60, 8), generator=generator)
    planes, weights = resident_planes(resident, 8, tile)
    cells = cell_conductance(tile, planes)
    digits = streamed_digits(streamed, tile, 3)
    assert digits.shape[2] == 1
    states = torch.stack([wordline_states(tile, row) for row in digits[:, :, 0]]).double()
    codes = convert(states @ effective_conductance(cells, 400.0) * 1.01e5, tile.adc).long()
    values = (codes.view(60, 2, 8) * weights).sum(2)
    assert values.equal(compute(streamed, resident, tile, 3, 8, wires="nodal").values)
    assert not values.equal(streamed @ resident)


def test_smaller_units_and_larger_tiles_err_more() -> None:
    worst = {
        (size, unit): code_errors(resized(tile_of(2.0), size, unit), rows=100, compensations=("none",))[0]
        for size in (16, 32)
        for unit in (1e4, 1e5)
    }
    assert worst[16, 1e4].worst_codes > 5 * worst[16, 1e5].worst_codes > 0
    assert worst[32, 1e5].worst_codes > 2 * worst[16, 1e5].worst_codes
    assert worst[32, 1e4].wrong > worst[32, 1e5].wrong


def test_limits_are_where_codes_begin_to_be_wrong() -> None:
    tile, units = tile_of(2.0), (1e4, 2e4, 5e4, 1e5, 2e5)
    limits = wire_limits(tile, sizes=(16, 32), units_ohm=units, rows=100, compensations=("none", "both"))
    assert [(limit.size, limit.compensation) for limit in limits] == [
        (16, "none"),
        (16, "both"),
        (32, "none"),
        (32, "both"),
    ]
    for limit in limits:
        assert limit.unit_resistance_ohm is not None
        found = {
            unit: code_errors(resized(tile, limit.size, unit), rows=100, compensations=(limit.compensation,))[
                0
            ]
            for unit in units
        }
        assert found[limit.unit_resistance_ohm].wrong == 0
        assert found[limit.unit_resistance_ohm].worst_codes == limit.worst_codes < 0.5
        for unit in units:
            if unit < limit.unit_resistance_ohm:
                assert found[unit].wrong > 0
                break
    smallest = {(limit.size, limit.compensation): limit.unit_resistance_ohm or 0 for limit in limits}
    assert smallest[32, "both"] < smallest[32, "none"]
    assert smallest[16, "none"] < smallest[32, "none"]
    best = largest_tile(limits, "none")
    assert best is not None
    assert best.size == 32
    held = largest_tile(limits, "none", smallest[16, "none"])
    assert held is not None
    assert held.size == 16
    assert largest_tile(limits, "none", 1.0) is None
    assert largest_tile(limits, "gain") is None


def test_a_tile_that_no_unit_saves_has_none() -> None:
    (limit,) = wire_limits(tile_of(1e4), sizes=(32,), units_ohm=(1e3, 2e4), rows=20, compensations=("none",))
    assert limit.unit_resistance_ohm is None
    assert limit.worst_codes is None
    assert limit.settling_time_s is None
    assert limit.closed_unit_resistance_ohm is None


def test_every_switch_closed_is_the_worst_loading() -> None:
    """The largest sum of a 32 x 32 tile loses more than any random one, and asks for larger units."""
    tile, units = tile_of(2.0), (1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6)
    limits = wire_limits(tile, sizes=(16, 32), units_ohm=units, rows=100, compensations=("none", "both"))
    for limit in limits:
        closed = limit.closed_unit_resistance_ohm
        assert closed is not None
        assert limit.unit_resistance_ohm is not None
        assert closed >= limit.unit_resistance_ohm
        compensations = (limit.compensation,)
        at = {
            unit: code_errors(
                resized(tile, limit.size, unit), rows=0, compensations=compensations, operands="closed"
            )[0]
            for unit in units
        }
        assert at[closed].wrong == 0
        assert all(at[unit].wrong == 0 for unit in units if unit >= closed)
        below = max(unit for unit in units if unit < closed)
        assert at[below].wrong > 0 or below < limit.unit_resistance_ohm
    assert max(limit.closed_unit_resistance_ohm or 0 for limit in limits) > max(
        limit.unit_resistance_ohm or 0 for limit in limits
    )
    best = largest_tile(limits, "none", 2e5, operands="closed")
    assert best is not None
    assert best.size == 16
    whole = resized(tile, 32, 1e5)
    random, closed_all = (
        code_errors(whole, rows=200, compensations=("none",), operands=kind)[0]
        for kind in ("random", "closed")
    )
    assert closed_all.worst_codes > 3 * random.worst_codes


@pytest.mark.parametrize("code", ["bits", "digits"])
def test_the_form_that_knows_the_switches_is_nearer(code: str) -> None:
    """By position, by bitline and by cell; each knows what the one before knows, and more."""
    whole = resized(tile_of(20.0, code), 48, 1e5)
    errors = {error.form: error for error in form_errors(replace(whole, active_wordlines=16), rows=200)}
    assert tuple(errors) == FORMS
    assert errors["none"].sd > 2 * errors["typical"].sd > 2 * errors["bitline"].sd > 6 * errors["cell"].sd > 0
    assert errors["none"].all_closed > errors["typical"].all_closed > 5 * errors["bitline"].all_closed
    assert errors["bitline"].all_closed > 5 * errors["cell"].all_closed
    assert errors["cell"].wrong < errors["typical"].wrong < errors["none"].wrong
    assert errors["none"].conversions == 2 * 200 * (48 if code == "bits" else 24)


def test_without_wires_every_form_is_exact() -> None:
    for error in form_errors(resized(tile_of(0.0), 16, 1e5), rows=20):
        assert max(error.largest, error.sd, error.wrong, error.all_closed) < 1e-9


def test_sums_that_no_converter_resolves_are_refused() -> None:
    with pytest.raises(UserError, match="no converter of up to 16 bits"):
        resized(replace(tile_of(1.0), numeral=NumeralSpec(radix=257, polarity="per_resistor")), 4096, 1e6)


def test_groups_drive_a_part_of_the_wordlines_only() -> None:
    """A group of half the wordlines meets at most half the loss of the whole."""
    whole = resized(tile_of(20.0), 32, 1e5)
    half = replace(whole, active_wordlines=16)
    all_on, some = (code_errors(tile, rows=200, compensations=("none",))[0] for tile in (whole, half))
    assert 0 < some.worst_codes < all_on.worst_codes


def test_nothing_to_try_is_refused() -> None:
    with pytest.raises(UserError, match="No size"):
        wire_limits(tile_of(1.0), sizes=())
    with pytest.raises(UserError, match="one 8-bit resident operand needs 8"):
        code_errors(resized(tile_of(1.0), 4, 1e5))
