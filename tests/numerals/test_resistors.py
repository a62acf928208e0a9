"""Resistors per digit: every digit of every odd radix 3 ... 257 is a signed sum of the weights."""

import itertools

import pytest
import torch

from ohmformer.numerals import NumeralError, Polarity, ResistorCode

POLARITIES: tuple[Polarity, ...] = ("shared", "per_resistor")


@pytest.mark.parametrize("polarity", POLARITIES)
@pytest.mark.parametrize("radix", range(3, 258, 2))
def test_every_digit_is_the_sum_of_its_switched_weights(radix: int, polarity: Polarity) -> None:
    code = ResistorCode(radix, polarity)
    max_digit = (radix - 1) // 2
    digits = torch.arange(-max_digit, max_digit + 1)
    states = code.switch_states(digits)
    assert states.dtype == torch.int8
    assert states.shape == (radix, code.resistors_per_digit)
    assert set(states.flatten().tolist()) == {-1, 0, 1}
    assert torch.equal((states * torch.tensor(code.weights)).sum(-1), digits)
    assert torch.equal(code.switch_states(-digits), -states)
    if polarity == "shared":
        assert torch.equal(states * digits.sign().unsqueeze(-1), states.abs())


@pytest.mark.parametrize("polarity", POLARITIES)
@pytest.mark.parametrize("radix", range(3, 258, 2))
def test_the_number_of_resistors_and_the_total_weight_are_the_least_possible(
    radix: int, polarity: Polarity
) -> None:
    """k resistors have 2**k - 1 nonzero states of one sign, or (3**k - 1)/2 with a polarity each; the
    largest digit needs a total weight of at least itself."""
    code = ResistorCode(radix, polarity)
    max_digit = (radix - 1) // 2
    fewer = code.resistors_per_digit - 1
    magnitudes_with_fewer = 2**fewer - 1 if polarity == "shared" else (3**fewer - 1) // 2
    assert magnitudes_with_fewer < max_digit
    assert sum(code.weights) == max_digit
    assert min(code.weights) >= 1


@pytest.mark.parametrize("radix", range(3, 42, 2))
def test_no_set_of_weights_beats_the_code(radix: int) -> None:
    """Exhaustive search over all weight sets with one resistor fewer finds none, for either polarity."""
    max_digit = (radix - 1) // 2
    for polarity, states in (("shared", (0, 1)), ("per_resistor", (-1, 0, 1))):
        fewer = ResistorCode(radix, polarity).resistors_per_digit - 1
        for weights in itertools.combinations_with_replacement(range(1, max_digit + 1), fewer):
            reached = {
                sum(state * weight for state, weight in zip(choice, weights, strict=True))
                for choice in itertools.product(states, repeat=fewer)
            }
            assert not reached >= set(range(max_digit + 1))


@pytest.mark.parametrize(
    ("radix", "weights"),
    [
        (3, (1,)),
        (5, (1, 1)),
        (7, (1, 2)),
        (9, (1, 2, 1)),
        (11, (1, 2, 2)),
        (15, (1, 2, 4)),
        (17, (1, 2, 4, 1)),
    ],
)
def test_shared_polarity_weights(radix: int, weights: tuple[int, ...]) -> None:
    assert ResistorCode(radix).weights == weights


@pytest.mark.parametrize(
    ("radix", "weights"),
    [(3, (1,)), (7, (1, 2)), (9, (1, 3)), (11, (1, 3, 1)), (27, (1, 3, 9)), (81, (1, 3, 9, 27))],
)
def test_per_resistor_polarity_weights(radix: int, weights: tuple[int, ...]) -> None:
    assert ResistorCode(radix, "per_resistor").weights == weights


def test_hand_worked_states_and_shapes() -> None:
    """-2 in base 7 switches the weight 2 alone; 2 in Bachet's {1, 3} is 3 - 1."""
    assert ResistorCode(7).switch_states(torch.tensor([-2, 3])).tolist() == [[0, -1], [1, 1]]
    assert ResistorCode(9, "per_resistor").switch_states(torch.tensor(2)).tolist() == [-1, 1]
    assert ResistorCode(7).switch_states(torch.zeros(2, 0, 3, dtype=torch.int8)).shape == (2, 0, 3, 2)


def test_refusals() -> None:
    with pytest.raises(NumeralError, match="radix is 6"):
        ResistorCode(6)
    with pytest.raises(NumeralError, match="polarity is 'both'"):
        ResistorCode(7, "both")  # type: ignore[arg-type]
    with pytest.raises(NumeralError, match="digit is -4: allowed is -3 to 3"):
        ResistorCode(7).switch_states(torch.tensor([-4]))
    with pytest.raises(NumeralError, match="torch.float32"):
        ResistorCode(7).switch_states(torch.tensor([1.0]))
