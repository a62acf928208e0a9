"""The encoder in RTL and as gates: every number against numerals, and the faults of a wrong table."""

import pytest
import torch

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_encoder import encoder, sign_lines
from ohmformer.emit.rtl_text import RtlModule
from ohmformer.emit.simulators.icarus import sweep
from ohmformer.emit.simulators.yosys import synthesise
from ohmformer.numerals import BalancedNumeral, ResistorCode, digits_for_bits
from ohmformer.specs import NumeralSpec

CASES = [
    (7, "shared", 8),
    (3, "shared", 8),
    (9, "shared", 8),
    (9, "per_resistor", 8),
    (27, "per_resistor", 12),
    (257, "shared", 9),
    (7, "shared", 16),
    (15, "per_resistor", 5),
    (11, "shared", 3),
]


def states(module: RtlModule, numeral: NumeralSpec, values: list[int]) -> torch.Tensor:
    """Switch states that the lines of the circuit stand for, [value, digit * resistor]."""
    seen = sweep(module, {"value": values})
    assert not any(seen["out_of_range"])
    count = module.outputs[0].width
    bits = torch.arange(count)
    on = torch.tensor(seen["on"])[:, None] >> bits & 1
    per_digit = numeral.resistors_per_digit // sign_lines(numeral)
    sign = torch.tensor(seen["sign"])[:, None] >> bits // per_digit & 1
    return on * (1 - 2 * sign)


def expected(numeral: NumeralSpec, bits: int, values: list[int]) -> torch.Tensor:
    whole = BalancedNumeral(numeral.radix, digits_for_bits(numeral.radix, bits))
    code = ResistorCode(numeral.radix, numeral.polarity)
    return code.switch_states(whole.encode(torch.tensor(values))).flatten(1)


@pytest.mark.parametrize(("radix", "polarity", "bits"), CASES)
def test_every_number_switches_the_lines_of_its_digits(radix, polarity, bits):
    numeral = NumeralSpec(radix=radix, polarity=polarity)
    values = list(range(-(2 ** (bits - 1)), 2 ** (bits - 1)))
    assert torch.equal(states(encoder(numeral, bits), numeral, values), expected(numeral, bits, values))


@pytest.mark.parametrize(("radix", "polarity"), [(7, "shared"), (9, "per_resistor")])
def test_the_gates_of_the_encoder_do_the_same(radix, polarity):
    numeral, values = NumeralSpec(radix=radix, polarity=polarity), list(range(-128, 128))
    gates = synthesise(encoder(numeral, 8))
    assert gates.registers == 0
    assert gates.total > 50
    assert "switches" not in gates.netlist.source
    assert torch.equal(states(gates.netlist, numeral, values), expected(numeral, 8, values))


def test_a_number_without_a_numeral_is_flagged_and_switches_nothing():
    numeral = NumeralSpec(radix=7, polarity="shared")  # 3 bits, one digit of -3 ... 3
    seen = sweep(encoder(numeral, 3), {"value": [-4, -3, 3]})
    assert seen == {"on": [0, 0b11, 0b11], "sign": [0, 1, 0], "out_of_range": [1, 0, 0]}


def test_one_wrong_entry_of_the_digit_table_is_seen():
    numeral, values = NumeralSpec(radix=7, polarity="shared"), list(range(-128, 128))
    module = encoder(numeral, 8)
    entry = "3'd5: switches = {1'd0, 2'd2}"  # digit +2: resistor of weight 2
    assert module.body.count(entry) == 1
    faulty = RtlModule(
        name=module.name, ports=module.ports, body=module.body.replace(entry, "3'd5: switches = {1'd0, 2'd3}")
    )
    wrong = (states(faulty, numeral, values) != expected(numeral, 8, values)).any(-1)
    digits = BalancedNumeral(7, 3).encode(torch.tensor(values))
    assert torch.equal(wrong, (digits == 2).any(-1))


@pytest.mark.parametrize("bits", [1, 33])
def test_widths_that_no_encoder_takes(bits):
    with pytest.raises(EmitError, match=f"bits is {bits}: an encoder takes numbers of 2 to 32 bits"):
        encoder(NumeralSpec(radix=7, polarity="shared"), bits)


def test_operands_out_of_range_are_refused():
    module = encoder(NumeralSpec(radix=7, polarity="shared"), 8)
    with pytest.raises(EmitError, match="value of encoder_r7_shared_b8 is 128: allowed is -128 to 127"):
        sweep(module, {"value": [0, 128]})
    with pytest.raises(EmitError, match="has inputs value: vectors are for number"):
        sweep(module, {"number": [0]})
    with pytest.raises(EmitError, match="one length"):
        sweep(module, {"value": []})
