"""A tile of full size in RTL, and the netlist of a small one, against the reference crossbar."""

from dataclasses import replace

import pytest
import torch

from ohmformer.crossbars import compute
from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_play import play_product
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.rtl_tile import settle_cycles, tile_control
from ohmformer.emit.simulators.yosys import synthesise
from ohmformer.specs import preset

CHIP = preset("wang2024")


def quiet(tile, **changes):
    adc = replace(tile.adc, noise=0.0, **changes.pop("adc", {}))
    return replace(tile, environment_noise=0.0, adc=adc, **changes)


def operands(rows, inner, columns, bits=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    highest = 2 ** (bits - 1) - 1
    shapes = ((rows, inner), (inner, columns))
    streamed, resident = (torch.randint(-highest, highest + 1, s, generator=generator) for s in shapes)
    streamed[0], resident[:, 0] = highest, -highest  # the largest sum
    return streamed, resident


@pytest.mark.parametrize("name", ["wang2024", "wang2024_2bit_serial", "wang2024_2bit_lossy"])
def test_the_tile_of_a_preset(name):
    chip = preset(name)
    layout = TileLayout(tile=quiet(chip.tile), streamed_bits=8, resident_bits=8)
    streamed, resident = operands(1, layout.tile.elements, layout.tile.outputs(8))
    played = play_product(layout, streamed, resident, chip.clock_Hz)
    assert torch.equal(played.values, compute(streamed, resident, layout.tile, 8, 8).values)
    assert layout.tile.lossless == torch.equal(played.values, streamed @ resident)
    assert sum(played.signals["convert"][1:]) == compute(streamed, resident, layout.tile, 8, 8).conversions


def test_rows_follow_each_other_and_the_gates_do_the_same():
    small = quiet(CHIP.tile, wordlines=8, bitlines=16, active_wordlines=4, adc={"bitlines_per_adc": 8})
    layout = TileLayout(tile=small, streamed_bits=4, resident_bits=4)
    streamed, resident = operands(3, 4, 4, bits=4)
    module = tile_control(layout, 1e8)
    for each in (module, synthesise(module).netlist):
        played = play_product(layout, streamed, resident, 1e8, module=each)
        assert torch.equal(played.values, streamed @ resident)
        assert sum(played.signals["done"][1:]) == 3


def test_nothing_stands_on_the_wordlines_while_a_row_is_loaded():
    tile = quiet(CHIP.tile, wordlines=8, bitlines=8, active_wordlines=8, adc={"bitlines_per_adc": 8})
    layout = TileLayout(tile=replace(tile, settling_time_s=10e-9), streamed_bits=4, resident_bits=4)
    streamed, resident = operands(2, 3, 2, bits=4)
    signals = play_product(layout, streamed, resident, 1e9).signals
    loading = [clock for clock, ready in enumerate(signals["ready"]) if ready == 1]
    assert all(signals["wordline_on"][clock] == 0 for clock in loading)
    # wordlines settle for 10 clocks at 1 GHz ahead of the first conversion of each digit
    assert settle_cycles(layout, 1e9) == 10
    starts = [k for k, on in enumerate(signals["convert"][1:], 1) if on and signals["convert"][k - 1] == 0]
    assert len(starts) == 2 * layout.digits
    for start in starts:
        held = signals["wordline_on"][start - 10 : start + 1]
        assert len({*held}) == 1


def test_what_cannot_be_played():
    layout = TileLayout(tile=quiet(CHIP.tile), streamed_bits=8, resident_bits=8)
    with pytest.raises(EmitError, match=r"shapes \(1, 65\) and \(65, 2\): the tile takes 64 elements and 16"):
        play_product(layout, *operands(1, 65, 2), 1e9)
    noisy = TileLayout(tile=CHIP.tile, streamed_bits=8, resident_bits=8)
    with pytest.raises(EmitError, match="The tile has noise"):
        play_product(noisy, *operands(1, 4, 2), 1e9)
