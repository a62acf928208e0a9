"""The function unit in RTL and as gates: every word against the integer function."""

import random
from dataclasses import replace

import pytest

from ohmformer.emit.rtl_function import function_lane
from ohmformer.emit.rtl_function_model import FixedPointFunction
from ohmformer.emit.rtl_text import binary
from ohmformer.emit.simulators.icarus import sweep
from ohmformer.emit.simulators.yosys import synthesise
from ohmformer.specs import FunctionUnitSpec, preset

UNIT = preset("wang2024").function_unit
NAMES = ("exp", "reciprocal", "rsqrt", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "quick_gelu")
SMALL = FunctionUnitSpec(segments=16, fraction_bits=8, clock_Hz=1e9, lanes=1)


def unit(segments, fraction_bits):
    return replace(SMALL, segments=segments, fraction_bits=fraction_bits)


def every_word(core):
    half = 2 ** (core.input_bits - 1)
    return list(range(-half, half) if core.kind == "magnitude" else range(2 * half))


def agree(core, module, words):
    """How many words give another result, power or flag."""
    seen = sweep(module, {"word": words})
    wrong = 0
    for place, word in enumerate(words):
        result = core.evaluate(word)
        same = seen["result"][place] == result.word
        if core.kind == "normalised":
            same &= (seen["power"][place], seen["infinite"][place]) == (result.power, result.infinite)
        wrong += not same
    return wrong


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_16_bits(name):
    core = FixedPointFunction(name=name, unit=UNIT)
    assert agree(core, function_lane(core), every_word(core)) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("shape", "bits", "fraction"),
    [((16, 8), 10, 10), ((4, 4), 8, 0), ((256, 20), 9, 3), ((64, 10), 12, 12), ((32, 5), 11, 9)],
)
def test_other_units_and_words(name, shape, bits, fraction):
    core = FixedPointFunction(name=name, unit=unit(*shape), input_bits=bits, input_fraction_bits=fraction)
    assert agree(core, function_lane(core), every_word(core)) == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_gates_of_a_small_unit_for_every_word(name):
    core = FixedPointFunction(name=name, unit=SMALL, input_bits=10, input_fraction_bits=6)
    gates = synthesise(function_lane(core))
    assert "table_row" not in gates.netlist.source
    assert agree(core, gates.netlist, every_word(core)) == 0


@pytest.mark.parametrize("name", ["exp", "gelu"])
def test_the_gates_of_the_full_unit(name):
    """2000 words, which reach every segment of the table, and the ends."""
    core = FixedPointFunction(name=name, unit=UNIT)
    words = every_word(core)
    words = [words[0], words[-1], 0, 1, *random.Random(5).sample(words, 2000)]
    segments = {core.position(abs(word)) >> core.position_bits & 127 for word in words}
    assert len(segments) == UNIT.segments
    assert agree(core, synthesise(function_lane(core)).netlist, words) == 0


@pytest.mark.parametrize(("shape", "index"), [((128, 16), 0), ((128, 16), 127), ((16, 8), 7)])
@pytest.mark.parametrize("gates", [False, True], ids=["RTL", "gates"])
def test_one_wrong_entry_of_the_table_is_seen(shape, index, gates):
    if gates:  # the same fault, put in ahead of a synthesis that is over soon
        shape, index = (16, 8), index % 16
    core = FixedPointFunction(name="gelu", unit=unit(*shape), input_bits=12, input_fraction_bits=9)
    module, width = function_lane(core), max(core.entries).bit_length()
    row = f"{core.index_bits}'d{index}: table_row = {{{binary(core.entries[index], width)}"
    assert module.body.count(row) == 1
    wrong = row.replace(
        f"{{{binary(core.entries[index], width)}", f"{{{binary(core.entries[index] ^ 1, width)}"
    )
    faulty = replace(module, body=module.body.replace(row, wrong))
    words = every_word(core)
    assert agree(core, module, words) == 0
    assert agree(core, synthesise(faulty).netlist if gates else faulty, words) > 0
