"""Specs drawn at random: hardware computes what the model does, or there is one sentence of refusal."""

import random
import re
from dataclasses import replace

import pytest
import torch

from ohmformer.crossbars import compute
from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_encoder import encoder, sign_lines
from ohmformer.emit.rtl_function import function_lane
from ohmformer.emit.rtl_function_model import FixedPointFunction, Result
from ohmformer.emit.rtl_play import play_matrix
from ohmformer.emit.rtl_product import ProductLayout
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.simulators.icarus import sweep
from ohmformer.functions import evaluate
from ohmformer.numerals import BalancedNumeral, ResistorCode, digits_for_bits
from ohmformer.specs import FunctionUnitSpec, NumeralSpec, preset

TILE = preset("wang2024").tile
NAMES = ("exp", "reciprocal", "rsqrt", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "quick_gelu")
SENTENCE = re.compile(r"^(buffer\.word_bits|bitlines|wordlines|input_fraction_bits) is \d+: [^\n]+\.$")


def numeral(source):
    radix = 2 * source.randint(1, 31) + 1
    return NumeralSpec(radix=radix, polarity=source.choice(["shared", "per_resistor"]))


def tile(source):
    """A tile of 1 to 6 elements and 1 to 4 outputs with lines to spare, and operands of 2 to 16 bits."""
    system, bits = numeral(source), (source.randint(2, 16), source.randint(2, 16))
    resistors, code = system.resistors_per_digit, source.choice(["bits", "digits"])
    wordlines = source.randint(1, 6) * resistors + source.randint(0, resistors - 1)
    active = source.randint(resistors, wordlines)
    per_output = bits[1] if code == "bits" else 2 * system.digits_for(bits[1]) * resistors
    bitlines = source.randint(1, 4) * per_output + source.randint(0, per_output - 1)
    lossless = source.random() < 0.4
    largest = active // resistors * system.max_digit
    converter_bits = largest.bit_length() if lossless else source.randint(1, 8)
    adc = replace(
        TILE.adc,
        noise=0.0,
        bits=converter_bits,
        step=1 if lossless else source.randint(1, 5),
        rounding=source.choice(["half_even", "half_up", "floor"]),
        nonlinearity=source.choice([0.0, 0.0, source.random() * ((1 << converter_bits) - 1) / 4]),
        bitlines_per_adc=min(
            bitlines, source.choice([bitlines, per_output, 2 * per_output, source.randint(1, bitlines)])
        ),
    )
    drawn = replace(
        TILE,
        numeral=system,
        resident_code=code,
        wordlines=wordlines,
        active_wordlines=active,
        bitlines=bitlines,
        environment_noise=0.0,
        adc=adc,
    )
    return drawn, bits


@pytest.mark.parametrize("seed", range(24))
def test_products(seed):
    source = random.Random(seed)
    drawn, bits = tile(source)
    inner, columns = source.randint(1, 2 * drawn.elements + 1), source.randint(1, 9)
    try:
        layout = TileLayout(
            tile=drawn, streamed_bits=bits[0], resident_bits=bits[1], word_bits=source.choice([32, 48, 64])
        )
        product = ProductLayout(layout=layout, inner=inner, columns=columns)
    except EmitError as refusal:
        if not SENTENCE.match(str(refusal)):
            raise
        return
    generator = torch.Generator().manual_seed(seed)
    ends = [2 ** (width - 1) - 1 for width in bits]
    streamed = torch.randint(-ends[0], ends[0] + 1, (2, inner), generator=generator)
    resident = torch.randint(-ends[1], ends[1] + 1, (inner, columns), generator=generator)
    streamed[0], resident[:, 0] = ends[0], -ends[1]
    found = play_matrix(product, streamed, resident, 1e8).values
    assert torch.equal(found, compute(streamed, resident, drawn, *bits).values)


def test_most_specs_are_taken():
    """More are taken than refused, else the test above would show little."""
    taken = 0
    for seed in range(24):
        drawn, bits = tile(random.Random(seed))
        try:
            TileLayout(tile=drawn, streamed_bits=bits[0], resident_bits=bits[1])
            taken += 1
        except EmitError:
            pass
    assert taken > 12


@pytest.mark.parametrize("seed", range(8))
def test_encoders(seed):
    source = random.Random(seed)
    system, bits = numeral(source), source.randint(2, 16)
    whole = BalancedNumeral(system.radix, digits_for_bits(system.radix, bits))
    half = 1 << bits - 1
    every = [value for value in range(-half, half) if abs(value) <= whole.max_value]
    values = sorted({every[0], every[-1], *source.sample(every, min(len(every), 400))})
    seen = sweep(encoder(system, bits), {"value": values})
    states = ResistorCode(system.radix, system.polarity).switch_states(whole.encode(torch.tensor(values)))
    expected = states.flatten(1)
    line = torch.arange(expected.shape[1])
    on = torch.tensor(seen["on"])[:, None] >> line & 1
    sign = (
        torch.tensor(seen["sign"])[:, None] >> line // (system.resistors_per_digit // sign_lines(system)) & 1
    )
    assert torch.equal(on * (1 - 2 * sign), expected)
    assert not any(seen["out_of_range"])


@pytest.mark.parametrize("seed", range(18))
def test_function_lanes(seed):
    source = random.Random(seed)
    name = NAMES[seed % len(NAMES)]
    unit = FunctionUnitSpec(
        segments=1 << source.randint(2, 8), fraction_bits=source.randint(4, 24), clock_Hz=1e9, lanes=1
    )
    bits = source.randint(4, 16)
    fraction = source.randint(0, bits)
    core = FixedPointFunction(name=name, unit=unit, input_bits=bits, input_fraction_bits=fraction)
    half = 1 << bits - 1
    every = range(-half, half) if core.kind == "magnitude" else range(2 * half)
    words = sorted({every[0], every[-1], *source.sample(every, min(len(every), 500))})
    seen = sweep(function_lane(core), {"word": words})
    results = [core.evaluate(word) for word in words]
    nothing = [0] * len(words)
    for place, result in enumerate(results):
        power, infinite = (seen.get(port, nothing)[place] for port in ("power", "infinite"))
        assert result == Result(word=seen["result"][place], power=power, infinite=bool(infinite))
    found = [
        float("inf") if result.infinite else result.word * 2.0 ** (result.power - core.result_fraction_bits)
        for result in results
    ]
    argument = torch.tensor(words, dtype=torch.float64) * (2.0**-fraction) * (-1 if name == "exp" else 1)
    assert torch.equal(evaluate(name, argument, unit), torch.tensor(found, dtype=torch.float64))
