"""Products over several tiles in RTL, against the reference crossbar and the engine, bit for bit."""

from dataclasses import replace

import pytest
import torch

from ohmformer.crossbars import compute
from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_play import play_matrix
from ohmformer.emit.rtl_product import ProductLayout, product_control
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.simulators.yosys import synthesise
from ohmformer.engine.digit_serial import digit_serial_product
from ohmformer.specs import NumeralSpec, preset

TILE = preset("wang2024").tile
CLOCK_Hz = 2e8


def layout(
    radix=7,
    polarity="shared",
    code="bits",
    elements=4,
    active=None,
    outputs=2,
    bits=(8, 8),
    per_adc=None,
    adc_lines=None,
    word_bits=32,
    **adc,
):
    numeral = NumeralSpec(radix=radix, polarity=polarity)
    resistors = numeral.resistors_per_digit
    tile = replace(
        TILE,
        numeral=numeral,
        resident_code=code,
        wordlines=elements * resistors,
        active_wordlines=(active or elements) * resistors,
        bitlines=256,
        environment_noise=0.0,
        resistor=replace(TILE.resistor, mismatch=0.0),  # the engine draws it
        adc=replace(TILE.adc, noise=0.0, bitlines_per_adc=256, **adc),
    )
    per_output = tile.bitlines_per_output(bits[1])
    converter = replace(tile.adc, bitlines_per_adc=adc_lines or (per_adc or outputs) * per_output)
    tile = replace(tile, bitlines=outputs * per_output, adc=converter)
    return TileLayout(tile=tile, streamed_bits=bits[0], resident_bits=bits[1], word_bits=word_bits)


def operands(product, rows=2, seed=0):
    """Random integers; first rows and columns at the ends of the ranges, the lowest among them."""
    generator = torch.Generator().manual_seed(seed)
    where = product.layout
    ends = [2 ** (bits - 1) - 1 for bits in (where.streamed_bits, where.resident_bits)]
    streamed = torch.randint(-ends[0], ends[0] + 1, (rows, product.inner), generator=generator)
    resident = torch.randint(-ends[1], ends[1] + 1, (product.inner, product.columns), generator=generator)
    streamed[0] = ends[0]
    resident[:, 0] = -ends[1] - (where.tile.resident_code == "bits")
    return streamed, resident


CASES = {
    "one tile": (layout(), 4, 2),
    "three tiles along the row, the last short": (layout(), 9, 2),
    "three tiles of columns, the last short": (layout(), 3, 5),
    "nine tiles, groups, a converter each": (layout(active=2, per_adc=1), 10, 6),
    "base 3, four bits": (layout(radix=3, bits=(4, 4)), 9, 3),
    "base 5, digits reside, six bits": (layout(radix=5, code="digits", bits=(6, 6)), 7, 3),
    "base 9, a sign for each resistor, digits": (
        layout(radix=9, polarity="per_resistor", code="digits", bits=(8, 6), active=1),
        6,
        3,
    ),
    "base 15, twelve bits": (layout(radix=15, bits=(12, 12), word_bits=40), 6, 3),
    "base 63": (layout(radix=63), 5, 3),
    "a lossy converter that clips, half to even": (layout(bits=(8, 8), step=3, rounding="half_even"), 9, 3),
    "half up": (layout(step=2, rounding="half_up"), 9, 3),
    "down": (layout(step=3, rounding="floor", radix=5), 9, 3),
    "converters of three bitlines": (layout(adc_lines=3), 9, 5),
    "digits reside, converters of five bitlines": (layout(code="digits", outputs=3, adc_lines=5), 6, 4),
    "a converter that is not straight": (layout(nonlinearity=40.0), 6, 3),
}
LOSSY = {name: replace(case[0].tile.adc, bits=3) for name, case in CASES.items() if "clips" in name}


@pytest.mark.parametrize("name", CASES)
def test_a_product_over_tiles(name):
    where, inner, columns = CASES[name]
    if name in LOSSY:
        where = replace(where, tile=replace(where.tile, adc=LOSSY[name]))
    product = ProductLayout(layout=where, inner=inner, columns=columns)
    streamed, resident = operands(product)
    played = play_matrix(product, streamed, resident, CLOCK_Hz)
    bits = (where.streamed_bits, where.resident_bits)
    reference = compute(streamed, resident, where.tile, *bits)
    assert torch.equal(played.values, reference.values)
    if where.tile.lossless and where.tile.adc.nonlinearity == 0:
        assert torch.equal(reference.values, streamed @ resident)
    else:
        assert not torch.equal(reference.values, streamed @ resident)
    engine = digit_serial_product(streamed, resident, where.tile, *bits, torch.Generator().manual_seed(0))
    assert torch.equal(played.values, engine.long())
    seen = zip(played.signals["tile_select"], played.signals["convert"], strict=True)
    assert {chosen for chosen, converts in seen if converts == 1} == {*range(product.tiles)}


@pytest.mark.parametrize("adc_lines", [None, 2])
def test_the_gates_of_the_sequencer(adc_lines):
    where = layout(radix=5, bits=(4, 3), elements=2, per_adc=1, adc_lines=adc_lines)
    product = ProductLayout(layout=where, inner=5, columns=3)
    streamed, resident = operands(product, rows=3)
    gates = synthesise(product_control(product, CLOCK_Hz)).netlist
    found = play_matrix(product, streamed, resident, CLOCK_Hz, module=gates).values
    assert torch.equal(found, streamed @ resident)


def test_the_largest_sums_fit_their_words():
    """Codes all at the end, as noise could make them: the bound that the widths come from."""
    where = layout()
    product = ProductLayout(layout=where, inner=12, columns=2)
    assert product.value_bits == (3 * where.largest_result).bit_length() + 1
    assert product.value_bits > where.result_bits


NARROW = {
    "bits": {"radix": 3, "bits": (12, 12)},
    "digits": {"radix": 9, "code": "digits", "bits": (8, 14), "adc_lines": 7},
    "a converter that rounds": {"radix": 7, "bits": (10, 16), "step": 2, "rounding": "floor"},
}


@pytest.mark.parametrize("name", NARROW)
def test_words_that_wrap_on_the_way_to_sums_that_fit(name):
    """Words narrower than codes at their ends could need, and as wide as the largest operands need."""
    free = layout(word_bits=64, **NARROW[name])
    wide = ProductLayout(layout=free, inner=8, columns=3)
    needed = free.needed_bits(2)
    assert needed < wide.value_bits
    where = replace(free, word_bits=needed)
    product = ProductLayout(layout=where, inner=8, columns=3)
    assert product.value_bits == needed
    streamed, resident = operands(product, rows=3)
    low = -(1 << where.streamed_bits - 1)
    reach = (where.tile.numeral.radix**where.digits - 1) // 2
    streamed[1] = max(low, -reach)  # times the lowest resident number: the largest sum
    found = play_matrix(product, streamed, resident, CLOCK_Hz).values
    assert torch.equal(found, compute(streamed, resident, where.tile, *NARROW[name]["bits"]).values)
    assert int(found.abs().max()).bit_length() + 1 <= needed
    if name == "bits":  # digits do not reach the lowest number of their bits here
        assert int(found.abs().max()).bit_length() + 1 == needed
    if where.tile.lossless:
        assert torch.equal(found, streamed @ resident)
    with pytest.raises(EmitError, match=f"up to {needed} bits; set it to that or more"):
        ProductLayout(layout=replace(where, word_bits=needed - 1), inner=8, columns=3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ProductLayout(layout=layout(), inner=0, columns=2), "inner is 0"),
        (lambda: ProductLayout(layout=layout(), inner=2, columns=0), "columns is 0"),
        (
            lambda: ProductLayout(layout=layout(), inner=4 << 10, columns=2 << 10),
            "1048576 tiles: allowed are 65536",
        ),
        (
            lambda: ProductLayout(layout=layout(word_bits=24), inner=4000, columns=2),
            "buffer.word_bits is 24: sums of 1000 tiles",
        ),
    ],
)
def test_products_that_no_sequencer_walks(make, says):
    with pytest.raises(EmitError, match=says):
        make()


def test_operands_of_another_shape():
    product = ProductLayout(layout=layout(), inner=4, columns=2)
    with pytest.raises(EmitError, match=r"the sequencer takes a matrix of \(4, 2\)"):
        play_matrix(product, torch.zeros(1, 4), torch.zeros(4, 3), CLOCK_Hz)
