"""The integer function that the RTL computes, against the simulator's floating-point one, for every word."""

from fractions import Fraction
from functools import cache

import pytest
import torch

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_function_model import FixedPointFunction, half_even
from ohmformer.functions import evaluate
from ohmformer.specs import FunctionUnitSpec, preset

UNIT = preset("wang2024").function_unit
NAMES = ("exp", "reciprocal", "rsqrt", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "quick_gelu")
# ends of the table at binary fractions: positions are exact in both, and so is everything after them
SAME = ("exp", "reciprocal", "gelu", "gelu_tanh")


@cache
def sweep(name):
    """Every word of 16 bits: the function, words, results and the units of their last places, arguments."""
    core = FixedPointFunction(name=name, unit=UNIT)
    words = range(-(2**15), 2**15) if core.kind == "magnitude" else range(2**16)
    results = [core.evaluate(word) for word in words]
    unit = torch.tensor([2.0 ** (result.power - core.result_fraction_bits) for result in results])
    found = torch.tensor([float("inf") if result.infinite else result.word for result in results])
    arguments = torch.tensor(list(words), dtype=torch.float64) * 2.0**-core.input_fraction_bits
    return core, list(words), found.double(), unit.double(), -arguments if name == "exp" else arguments


def is_tie(core, word):
    """Whether the exact interpolation between the entries of the table ends half-way between two results."""
    place = Fraction(core.unit.segments) / Fraction(core.table.high - core.table.low)
    if core.kind == "normalised":
        value = Fraction(word, 2**core.input_fraction_bits)
        while value >= 4:
            value /= 4
        while value < 1:
            value *= 4
        place *= value - 1
    else:
        place *= Fraction(abs(word), 2**core.input_fraction_bits)
    if place >= core.unit.segments:
        return False
    index = int(place)
    return (core.entries[index] + core.rises[index] * (place - index)) % 1 == Fraction(1, 2)


@pytest.mark.parametrize("name", NAMES)
def test_float64_arithmetic_gives_the_same_results_but_for_ties(name):
    core, words, found, unit, arguments = sweep(name)
    reference = evaluate(name, arguments, UNIT) / unit
    different = (found != reference).nonzero().flatten().tolist()
    if name in SAME:
        assert different == []
    assert all(is_tie(core, words[place]) for place in different)
    # a tie goes to the even result here; in float64 the rounded quotient of the range decides
    assert all(abs(found[place] - reference[place]) == 1 for place in different)
    assert len(different) < 0.01 * len(words)


@pytest.mark.parametrize("name", NAMES)
def test_float32_arithmetic_differs_by_one_unit_at_most(name):
    """Float32 errs by far less than half a unit (2^-22 of 6, or of 16, against 2^-17), so by one result."""
    _, _, found, unit, arguments = sweep(name)
    difference = (found - evaluate(name, arguments.float(), UNIT).double() / unit)[found.isfinite()]
    assert difference.abs().max() <= 1
    if name in ("reciprocal", "gelu", "gelu_tanh"):
        assert not difference.any()


def test_fewer_position_bits_show():
    _, words, found, _, _ = sweep("exp")
    core = FixedPointFunction(name="exp", unit=UNIT, position_bits=12)
    coarse = torch.tensor([core.evaluate(word).word for word in words])
    assert 0 < int((coarse != found).sum()) < 100
    assert (coarse - found).abs().max() == 1


def test_rounding_half_to_even():
    assert [half_even(value, 2) for value in (5, 6, 7, 10, -6, -5)] == [1, 2, 2, 2, -2, -1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "relu"}, "name is 'relu'"),
        ({"name": "gelu_new"}, "name is 'gelu_new'"),
        ({"input_bits": 3, "input_fraction_bits": 0}, "input_bits is 3: allowed is 4 to 48"),
        ({"input_fraction_bits": 17}, "input_fraction_bits is 17: allowed is 0 to 16"),
        ({"position_bits": 1}, "position_bits is 1: allowed is 2 to 48"),
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
