"""The integer function that the RTL computes against the function unit and its native kernels: the same."""

import math
from functools import cache

import pytest
import torch

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_function_model import FixedPointFunction, half_even
from ohmformer.engine.fused import ELEMENTWISE, KINDS
from ohmformer.engine.native import Kernels, kernels
from ohmformer.functions import evaluate, function_table
from ohmformer.specs import FunctionUnitSpec, preset

UNIT = preset("wang2024").function_unit
NAMES = ("exp", "reciprocal", "rsqrt", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "quick_gelu")
UNITS = {"128/16": UNIT} | {
    f"{segments}/{bits}": FunctionUnitSpec(segments=segments, fraction_bits=bits, clock_Hz=1e9, lanes=1)
    for segments, bits in ((4, 4), (16, 8), (32, 5), (256, 20), (1024, 12), (64, 24), (4096, 18))
}


@cache
def sweep(name, unit=UNIT, bits=16, fraction=11):
    """Every word: its argument, and the result that the lane gives, both float64 and exact."""
    core = FixedPointFunction(name=name, unit=unit, input_bits=bits, input_fraction_bits=fraction)
    half = 1 << bits - 1
    words = range(-half, half) if core.kind == "magnitude" else range(2 * half)
    results = [core.evaluate(word) for word in words]
    found = [
        math.inf if result.infinite else math.ldexp(result.word, result.power - core.result_fraction_bits)
        for result in results
    ]
    arguments = torch.tensor(list(words), dtype=torch.float64) * 2.0**-fraction
    return -arguments if name == "exp" else arguments, torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_every_word_has_the_result_of_the_simulator(name):
    """Float64, float32 and, where there are any, the native kernels: the very same numbers."""
    arguments, found = sweep(name)
    assert torch.equal(evaluate(name, arguments, UNIT), found)
    assert torch.equal(evaluate(name, arguments.float(), UNIT).double(), found)
    native = kernels()
    if native is not None and name in ELEMENTWISE:
        curve = native.curve(KINDS[name], function_table(name, UNIT.segments, UNIT.fraction_bits))
        assert torch.equal(native.function(arguments.float(), curve).double(), found)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("bits", "fraction"), [(10, 6), (9, 0), (12, 12)])
def test_other_units_and_other_words(unit, bits, fraction):
    """Float32 rounds what it cannot hold: x - T(|x|) of more than 24 bits, and nothing else."""
    for name in NAMES:
        arguments, found = sweep(name, UNITS[unit], bits, fraction)
        assert torch.equal(evaluate(name, arguments, UNITS[unit]), found)
        assert torch.equal(evaluate(name, arguments.float(), UNITS[unit]), found.float())


@pytest.mark.parametrize("name", [name for name in NAMES if name in ELEMENTWISE])
def test_the_native_kernels_of_other_units(name):
    for instructions in ("portable", kernels().name) if kernels() is not None else ():
        found = Kernels(instructions)
        for unit in UNITS.values():
            arguments, results = sweep(name, unit, 12, 12)
            curve = found.curve(KINDS[name], function_table(name, unit.segments, unit.fraction_bits))
            assert torch.equal(found.function(arguments.float(), curve), results.float())


def test_places_have_no_bits_that_are_always_zero():
    """gelu has 32 segments per unit: 5 of the 11 bits behind the point choose the segment, 6 are left."""
    bits = {name: FixedPointFunction(name=name, unit=UNIT).position_bits for name in NAMES}
    assert bits == {
        "exp": 14,
        "reciprocal": 8,
        "rsqrt": 9,
        "gelu": 6,
        "gelu_tanh": 6,
        "silu": 12,
        "sigmoid": 12,
        "tanh": 11,
        "quick_gelu": 12,
    }


def test_rounding_half_to_even():
    assert [half_even(value, 2) for value in (5, 6, 7, 10, -6, -5)] == [1, 2, 2, 2, -2, -1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "relu"}, "name is 'relu'"),
        ({"name": "gelu_new"}, "name is 'gelu_new'"),
        ({"input_bits": 3, "input_fraction_bits": 0}, "input_bits is 3: allowed is 4 to 48"),
        ({"input_fraction_bits": 17}, "input_fraction_bits is 17: allowed is 0 to 16"),
    ],
)
def test_units_that_no_lane_has(change, says):
    with pytest.raises(EmitError, match=says):
        FixedPointFunction(**{"name": "exp", "unit": UNIT, **change})


@pytest.mark.parametrize(
    ("name", "word"), [("exp", -1), ("exp", 2**16), ("gelu", 2**15), ("gelu", -(2**15) - 1)]
)
def test_words_out_of_range(name, word):
    with pytest.raises(EmitError, match=f"word is {word}: allowed is"):
        FixedPointFunction(name=name, unit=UNIT).evaluate(word)


def test_an_input_finer_than_the_table_keeps_its_bits():
    unit = FunctionUnitSpec(segments=16, fraction_bits=4, clock_Hz=1e9, lanes=1)
    core = FixedPointFunction(name="gelu", unit=unit, input_bits=10, input_fraction_bits=6)
    words = list(range(-512, 512))
    found = torch.tensor([core.evaluate(word).word for word in words], dtype=torch.float64) / 64
    assert torch.equal(found, evaluate("gelu", torch.tensor(words, dtype=torch.float64) / 64, unit))
