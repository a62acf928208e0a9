"""Deliberate faults, one at a time, in RTL and in the gates made of it: each gives a wrong result.

What the same operands give without the fault is asserted too, so that a test cannot pass for another reason.
"""

import random
from dataclasses import replace

import pytest
import torch

from ohmformer.emit.rtl_dense import corrector
from ohmformer.emit.rtl_encoder import encoder
from ohmformer.emit.rtl_function import function_lane
from ohmformer.emit.rtl_function_model import FixedPointFunction
from ohmformer.emit.rtl_play import play_matrix
from ohmformer.emit.rtl_product import ProductLayout, product_control
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.simulators.icarus import sweep
from ohmformer.emit.simulators.yosys import synthesise
from ohmformer.numerals import secded
from ohmformer.specs import FunctionUnitSpec, NumeralSpec, preset

CHIP = preset("wang2024")
CLOCK_Hz = 2e8


def product():
    """Two by two tiles of two elements and two outputs, in two groups, at base 5."""
    tile = replace(
        CHIP.tile,
        numeral=NumeralSpec(radix=5, polarity="shared"),
        wordlines=4,
        active_wordlines=2,
        bitlines=6,
        environment_noise=0.0,
        adc=replace(CHIP.tile.adc, noise=0.0, bitlines_per_adc=6, bits=2),
    )
    return ProductLayout(layout=TileLayout(tile=tile, streamed_bits=4, resident_bits=3), inner=4, columns=4)


def multiply(module):
    generator = torch.Generator().manual_seed(2)
    streamed = torch.randint(-7, 8, (3, 4), generator=generator)
    resident = torch.randint(-3, 4, (4, 4), generator=generator)
    found = play_matrix(product(), streamed, resident, CLOCK_Hz, module=module).values
    return found.tolist(), (streamed @ resident).tolist()


def switch(module):
    """Every number; what is right is not asked here but in test_rtl_encoder."""
    right = sweep(encoder(NumeralSpec(radix=7, polarity="shared"), 8), {"value": list(range(-128, 128))})
    return sweep(module, {"value": list(range(-128, 128))}), right


UNIT = FunctionUnitSpec(segments=16, fraction_bits=8, clock_Hz=1e9, lanes=1)
CORE = FixedPointFunction(name="reciprocal", unit=UNIT, input_bits=10, input_fraction_bits=6)


def invert(module):
    return sweep(module, {"word": list(range(1024))})["result"], [
        CORE.evaluate(word).word for word in range(1024)
    ]


def decode(module):
    """Words with an error in a data bit each come out as they were."""
    source = random.Random(1)
    data = [source.getrandbits(16) for _ in range(16)]
    encoded = secded.encode(torch.tensor([[word >> bit & 1 for bit in range(16)] for word in data]))
    checks = [sum(bit << place for place, bit in enumerate(row)) for row in encoded.tolist()]
    words = [word ^ 1 << place for place, word in enumerate(data)]
    return sweep(module, {"data": words, "check": checks})["corrected"], data


WALK = product_control(product(), CLOCK_Hz)
LANE = function_lane(CORE)
FAULTS = {
    "an accumulator bit stuck at 0": (
        WALK,
        multiply,
        "words[output_index] <= base + wide_planes;",
        "words[output_index] <= (base + wide_planes) & ~2;",
    ),
    "a sum over tiles that forgets the first": (WALK, multiply, "sum + more;", "more;"),
    "a line of plane_select stuck at 0": (
        WALK,
        multiply,
        "assign plane_select = first_plane + plane_of(step);",
        "assign plane_select = (first_plane + plane_of(step)) & ~1;",
    ),
    "tile_select stuck at 0": (WALK, multiply, "assign tile_select = chosen;", "assign tile_select = 0;"),
    "a group of wordlines that stays on": (WALK, multiply, "e >= group_start & ", ""),
    "an entry of the digit table": (
        encoder(NumeralSpec(radix=7, polarity="shared"), 8),
        switch,
        "3'd5: switches = {1'd0, 2'd2}",
        "3'd5: switches = {1'd0, 2'd3}",
    ),
    "an entry of the function table": (
        LANE,
        invert,
        f"4'd5: table_row = {{9'd{CORE.entries[5]},",
        f"4'd5: table_row = {{9'd{CORE.entries[5] ^ 2},",
    ),
    "a bit of the parity": (corrector(16), decode, "syndrome[2] = check[2]", "syndrome[2] = check[1]"),
    "a word that is corrected at the wrong bit": (
        corrector(16),
        decode,
        "hit[3] = (syndrome == 5'd7)",
        "hit[3] = (syndrome == 5'd6)",
    ),
}


@pytest.mark.parametrize("gates", [False, True], ids=["RTL", "gates"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault, gates):
    module, play, before, after = FAULTS[fault]
    assert module.source.count(before) == 1
    faulty = replace(module, whole=module.source.replace(before, after))
    found, right = play(synthesise(faulty).netlist if gates else faulty)
    assert found != right


@pytest.mark.parametrize("gates", [False, True], ids=["RTL", "gates"])
@pytest.mark.parametrize(
    ("module", "play"),
    [(WALK, multiply), (LANE, invert), (corrector(16), decode)],
    ids=["product", "lane", "decoder"],
)
def test_without_a_fault_nothing_is_wrong(module, play, gates):
    found, right = play(synthesise(module).netlist if gates else module)
    assert found == right
