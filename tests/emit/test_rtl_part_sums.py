"""Converters that see parts of outputs: who converts what, how long it takes, and what is added."""

import random
from dataclasses import replace

import pytest
import torch

from ohmformer.costs import LIBRARY
from ohmformer.costs.settling import cycle_of
from ohmformer.crossbars import compute, plane_weights
from ohmformer.emit.rtl_chip import chip_module
from ohmformer.emit.rtl_part_sums import part_sums, parts_of
from ohmformer.emit.rtl_play import play_product
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.rtl_tile import tile_control
from ohmformer.emit.simulators.icarus import run
from ohmformer.specs import NumeralSpec, override, preset

CHIP = preset("wang2024")
TILE = CHIP.tile
CODES = ("bits", "digits")


def layout(code, per_adc, bits=5, radix=7, polarity="shared", outputs=3, beside=2, **adc):
    """A tile of so many outputs and some bitlines beside them that hold none."""
    numeral = NumeralSpec(radix=radix, polarity=polarity)
    wordlines = 4 * numeral.resistors_per_digit
    tile = replace(TILE, numeral=numeral, resident_code=code, environment_noise=0.0, bitlines=4096)
    quiet = replace(TILE.adc, **{"noise": 0.0, **adc, "bitlines_per_adc": per_adc})
    lines = {"wordlines": wordlines, "active_wordlines": wordlines // 2}
    tile = replace(tile, bitlines=outputs * tile.bitlines_per_output(bits) + beside, adc=quiet, **lines)
    return TileLayout(tile=tile, streamed_bits=4, resident_bits=bits, word_bits=48)


def every(code):
    lines = layout(code, 1).tile.bitlines
    return [layout(code, per_adc) for per_adc in range(1, lines + 1)]


@pytest.mark.parametrize("code", CODES)
def test_every_bitline_in_use_is_converted_once_in_order_and_evenly(code):
    lines = 1 if code == "bits" else 2  # of a conversion
    for where in every(code):
        seen = [where.seen(converter) for converter in range(where.converters)]
        places = [sorted(output * len(where.planes) + plane for output, plane in at.values()) for at in seen]
        assert [place for at in places for place in at] == [*range(where.conversions)]
        assert {len(at) for at in places[:-1]} <= {where.visits}
        assert 0 < len(places[-1]) <= where.visits
        assert all(max(at) < where.visits for at in seen)
        # a pair goes to one converter, so one more bitline where their number is odd
        share = where.tile.adc.bitlines_per_adc
        assert max(map(len, places)) * lines <= share + (lines - 1) * (share % 2)
        assert where.converters <= -(-where.tile.bitlines // share)
    assert {where.split for where in every(code)} == {False, True}


@pytest.mark.parametrize("code", CODES)
def test_the_parts_of_an_output_are_its_planes_with_their_weights(code):
    for where in every(code):
        weights = plane_weights(where.tile, where.resident_bits)
        found = {}
        for converter in range(where.converters):
            visited = iter(where.visited(converter))
            for part in parts_of(where, converter):
                assert part.steps[0][0] == 0
                for place, (_, weight) in enumerate(part.steps):
                    after = 1
                    for factor, _ in part.steps[place + 1 :]:
                        after *= factor
                    found[next(visited)] = weight * after * part.scale
        assert found == {(o, p): w for o in range(3) for p, w in enumerate(weights)}


@pytest.mark.parametrize("per_adc", [1, 5, 16, 24, 48, 100, 127, 128])
@pytest.mark.parametrize("code", CODES)
def test_a_cycle_takes_the_conversions_that_the_cost_model_counts(code, per_adc):
    chip = override(CHIP, {"tile.resident_code": code, "tile.adc.bitlines_per_adc": per_adc})
    where = TileLayout(tile=chip.tile, streamed_bits=8, resident_bits=8)
    counted = cycle_of(chip, LIBRARY, "typical").conversion_s * chip.tile.adc.rate_Hz
    assert where.visits == pytest.approx(counted, rel=1e-12)  # a quotient and a product of float64


WALKS = [
    layout("bits", 1, bits=4, outputs=2),
    layout("bits", 3),
    layout("bits", 7, bits=16, radix=3, outputs=2),
    layout("bits", 11, bits=3, outputs=5, beside=0),
    layout("digits", 2, outputs=2),
    layout("digits", 5, bits=8, step=3),
    layout("digits", 7, bits=8, radix=9, polarity="per_resistor"),
]


@pytest.mark.parametrize("where", WALKS, ids=lambda where: f"{where.tile.resident_code}-{where.visits}")
@pytest.mark.parametrize("codes", [{}, {"bits": 2, "step": 3, "rounding": "floor"}], ids=["", "lossy"])
def test_products(where, codes):
    tile = replace(where.tile, adc=replace(where.tile.adc, **codes))
    where = replace(where, tile=tile)
    assert where.split
    columns = tile.outputs(where.resident_bits)
    generator = torch.Generator().manual_seed(1)
    largest = 2 ** (where.resident_bits - 1) - 1
    streamed = torch.randint(-7, 8, (2, tile.elements), generator=generator)
    resident = torch.randint(-largest, largest + 1, (tile.elements, columns), generator=generator)
    streamed[0], resident[:, 0] = 7, -largest
    for wanted in {columns, 1}:
        played = play_product(where, streamed, resident[:, :wanted], 1e8)
        reference = compute(streamed, resident[:, :wanted], tile, 4, where.resident_bits)
        assert torch.equal(played.values, reference.values)
        cycles = len(streamed) * where.digits * where.groups
        assert sum(played.signals["convert"][1:]) == cycles * where.visits_for(wanted)


def test_the_largest_sums_fit():
    """Every code at the end that its weight makes largest, through all converters at once."""
    where = layout("digits", 5, bits=8, step=3)
    weights = plane_weights(where.tile, 8)
    top, bits = where.tile.adc.max_code, where.code_bits
    tables = [where.visited(converter) for converter in range(where.converters)]
    rows = []
    for cycle in range(where.digits * where.groups):
        for step in range(where.visits):
            codes = 0
            for converter, visited in enumerate(tables):
                if step < len(visited):
                    code = top if weights[visited[step][1]] > 0 else -top
                    codes |= (code & ((1 << bits) - 1)) << converter * bits
            new = int(cycle > 0 and cycle % where.groups == 0)
            row = {"codes": codes, "step": step, "clear": int(cycle == 0), "new_digit": new}
            rows.append({**row, "valid": 1, "read_index": 0})
    rows += [{**rows[-1], "valid": 0, "read_index": output} for output in range(3)]
    inputs = {name: [row[name] for row in rows] * 2 for name in rows[0]}  # the first walk defines registers
    assert run(part_sums(where), inputs)["result"][-3:] == [where.largest_result] * 3


FAULTS = {
    "a part with the weight of another": ("wide_planes << 3", "wide_planes << 2"),
    "a part left out": (" + slot1", ""),
    "a part kept too early": ("wire ends = step == 2'd1", "wire ends = step == 2'd0"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_gives_wrong_products(fault):
    where = layout("bits", 3)
    module = tile_control(where, 1e8)
    before, after = FAULTS[fault]
    assert before in module.source
    faulty = replace(module, whole=module.source.replace(before, after))
    source = random.Random(3)
    streamed = torch.tensor([[source.randint(-7, 7) for _ in range(where.tile.elements)]])
    resident = torch.tensor([[source.randint(-15, 15) for _ in range(3)] for _ in range(where.tile.elements)])
    right = compute(streamed, resident, where.tile, 4, 5).values
    assert torch.equal(play_product(where, streamed, resident, 1e8).values, right)
    assert not torch.equal(play_product(where, streamed, resident, 1e8, module=faulty).values, right)


def test_the_shift_add_of_a_chip_is_that_of_its_parts():
    split = override(CHIP, {"tile.adc.bitlines_per_adc": 12})
    assert chip_module(split, "shift_add").name.startswith("part_sums")
    assert chip_module(CHIP, "shift_add").name.startswith("shift_add")
