"""The shift-add in RTL and as gates: random codes against the weights of digits, groups and planes."""

import random
from dataclasses import replace

import pytest

from ohmformer.crossbars import digit_weights, plane_weights
from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_shift_add import TileLayout, shift_add
from ohmformer.emit.simulators import icarus
from ohmformer.emit.simulators.yosys import synthesise
from ohmformer.specs import NumeralSpec, TileSpec, preset

TILE = preset("wang2024").tile


def tile(radix=7, polarity="shared", code="bits", active=8, step=1, adc_bits=8, **changes) -> TileSpec:
    adc = replace(TILE.adc, step=step, bits=adc_bits, bitlines_per_adc=changes.pop("per_adc", 32))
    changes = {"wordlines": 16, "bitlines": 32, **changes}
    numeral = NumeralSpec(radix=radix, polarity=polarity)
    return replace(TILE, numeral=numeral, resident_code=code, active_wordlines=active, adc=adc, **changes)


LAYOUTS = [
    TileLayout(tile=tile(), streamed_bits=8, resident_bits=8),
    TileLayout(tile=tile(step=3, adc_bits=5), streamed_bits=8, resident_bits=4),
    TileLayout(tile=tile(radix=3, active=4), streamed_bits=5, resident_bits=2),
    TileLayout(tile=tile(code="digits"), streamed_bits=8, resident_bits=8),
    TileLayout(tile=tile(radix=9, polarity="per_resistor", code="digits"), streamed_bits=6, resident_bits=6),
]
WALKS = ["bits", "step", "base 3", "digits", "base 9"]


def walk(layout, codes):
    """Inputs that bring codes [digit][group][output][plane] in the sequencer's order, then read all words."""
    rows = []
    for digit in reversed(range(layout.digits)):
        for group in range(layout.groups):
            first = digit == layout.digits - 1
            for output in range(layout.outputs):
                for step, plane in enumerate(layout.planes):
                    rows.append(
                        {
                            "valid": 1,
                            "code": codes[digit][group][output][plane],
                            "step": step,
                            "output_index": output,
                            "clear": int(first and group == 0),
                            "new_digit": int(group == 0 and not first),
                            "read_index": 0,
                        }
                    )
    rows += [{**rows[-1], "valid": 0, "read_index": output} for output in range(layout.outputs)]
    return {name: [row[name] for row in rows] for name in rows[0]}


def run(layout, module, codes):
    """Words of all outputs after the walk; what is read earlier may be undefined."""
    inputs = walk(layout, codes)
    for name in inputs:  # a first walk of the same length defines every register
        inputs[name] = inputs[name][: -layout.outputs] + inputs[name]
    return icarus.run(module, inputs)["result"][-layout.outputs :]


def expected(layout, codes):
    weights = plane_weights(layout.tile, layout.resident_bits)
    powers = digit_weights(layout.tile, layout.streamed_bits)
    return [
        layout.tile.adc.step
        * sum(
            power * weight * codes[digit][group][output][plane]
            for digit, power in enumerate(powers)
            for group in range(layout.groups)
            for plane, weight in enumerate(weights)
        )
        for output in range(layout.outputs)
    ]


def draw(layout, pick):
    return [
        [[[pick(plane) for plane in range(len(layout.planes))] for _ in range(layout.outputs)]
         for _ in range(layout.groups)]
        for _ in range(layout.digits)
    ]  # fmt: skip


def codes_of(layout, seed):
    highest, source = layout.tile.adc.max_code, random.Random(seed)
    return draw(layout, lambda plane: source.randint(-highest, highest))


@pytest.mark.parametrize("layout", LAYOUTS, ids=WALKS)
def test_random_codes_are_summed_with_their_weights(layout):
    module = shift_add(layout)
    for seed in range(5):
        codes = codes_of(layout, seed)
        assert run(layout, module, codes) == expected(layout, codes)


@pytest.mark.parametrize("layout", LAYOUTS, ids=WALKS)
def test_the_largest_sums_do_not_overflow(layout):
    """Every code at the end that its weight makes largest: the bound from which the widths come."""
    weights = plane_weights(layout.tile, layout.resident_bits)
    ends = [layout.tile.adc.max_code * (1 if weight > 0 else -1) for weight in weights]
    for each in (ends, [-end for end in ends]):
        codes = draw(layout, each.__getitem__)
        words = expected(layout, codes)
        assert run(layout, shift_add(layout), codes) == words
        assert words[0].bit_length() + 1 == layout.result_bits


@pytest.mark.parametrize("layout", [LAYOUTS[0], LAYOUTS[4]], ids=["bits", "base 9"])
def test_the_gates_do_the_same(layout):
    gates = synthesise(shift_add(layout))
    assert gates.registers >= layout.outputs * layout.sum_bits
    codes = codes_of(layout, 11)
    assert run(layout, gates.netlist, codes) == expected(layout, codes)


def test_one_stuck_bit_of_the_accumulator_is_seen():
    layout, codes = LAYOUTS[0], codes_of(LAYOUTS[0], 3)
    module, words = shift_add(layout), expected(LAYOUTS[0], codes_of(LAYOUTS[0], 3))
    assert module.body.count("<= base + wide_planes;") == 1
    for level in (0, 1):
        for bit in range(layout.sum_bits):
            mask = 1 << bit
            held = f"& ~{layout.sum_bits}'d{mask}" if level == 0 else f"| {layout.sum_bits}'d{mask}"
            body = module.body.replace("base + wide_planes;", f"(base + wide_planes) {held};")
            assert run(layout, replace(module, body=body), codes) != words, (bit, level)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TileLayout(tile=tile(), streamed_bits=1, resident_bits=8), "streamed_bits is 1"),
        (lambda: TileLayout(tile=tile(), streamed_bits=8, resident_bits=17), "resident_bits is 17"),
        (lambda: TileLayout(tile=tile(bitlines=4, per_adc=4), streamed_bits=8, resident_bits=8), "takes 8"),
        (
            lambda: TileLayout(tile=tile(), streamed_bits=8, resident_bits=8, word_bits=16),
            "buffer.word_bits is 16",
        ),
    ],
)
def test_tiles_that_no_circuit_sums(make, says):
    with pytest.raises(EmitError, match=says):
        make()
