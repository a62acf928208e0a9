"""Claims: the solver, the verdicts both ways, what area-delay products imply, storage."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from ohmformer.costs import estimate
from ohmformer.costs.baselines import a100, digital_mac, digital_mac_dense, multi_bit_crossbar
from ohmformer.costs.baselines.roofline import BERT_LARGE_GMAC
from ohmformer.costs.claims import ACCURACY_CLAIMS, CLAIMS, DECODER_INSTEAD, ENCODER_INSTEAD, Claim
from ohmformer.costs.claims_assumptions import Question
from ohmformer.costs.claims_implied import PROCESSORS, bert_large_macs, implied
from ohmformer.costs.claims_solving import crossing, first_that_meets
from ohmformer.costs.claims_storage import STORAGE_CLAIMS, StorageClaim
from ohmformer.costs.claims_table import claim_lines, claimed_line, storage_line
from ohmformer.costs.claims_values import other_hardware, plain_figure
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.specs import preset

CHIP = preset("wang2024")
README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture(scope="module")
def programs(bert_large: Callable[..., Program]) -> Callable[[int, int], Program]:
    @cache
    def made(tokens: int, batch: int) -> Program:
        return bert_large(tokens, batch=batch)

    return made


def question(programs: Callable[[int, int], Program], **changes: object) -> Question:
    """The claim about the chip's area-delay product, changed."""
    claim = dataclasses.replace(CLAIMS[0], **changes)  # type: ignore[arg-type]
    return Question(claim=claim, programs=programs, chip=CHIP, tokens=128, batch=1)


# the solver


@pytest.mark.parametrize(("power", "target"), [(1.0, 37.0), (2.0, 50.0), (-1.0, 0.02), (0.5, 9.9)])
def test_a_crossing_is_where_the_figure_is_the_target(power: float, target: float) -> None:
    found = crossing(lambda x: x**power, target, (1, 10, 100), 1)
    assert found is not None
    # the ends of the last interval differ by less than .002 of themselves
    assert found == pytest.approx(target ** (1 / power), rel=0.002)


def test_a_whole_crossing_is_the_first_whole_number_that_holds() -> None:
    assert crossing(lambda x: x * x, 50, (1, 4, 16, 64), 1, whole=True) == 8
    assert crossing(lambda x: x * x, 49, (1, 4, 16, 64), 1, whole=True) == 7
    assert crossing(lambda x: x * x, 50, (1, 4, 16, 64), 64, whole=True) == 7


def test_no_crossing_is_none_and_not_a_guess() -> None:
    assert crossing(lambda x: x, 1000, (1, 10, 100), 1) is None
    assert crossing(lambda x: math.nan, 1, (1, 10), 1) is None


def test_of_two_crossings_the_one_near_the_start_is_taken() -> None:
    def figure(x: float) -> float:
        return (math.log10(x) - 1) ** 2  # 1 at 1 and at 100

    low = crossing(figure, 0.25, (1, 10, 100), 1.5)
    high = crossing(figure, 0.25, (1, 10, 100), 60)
    assert low == pytest.approx(10**0.5, rel=0.002)
    assert high == pytest.approx(10**1.5, rel=0.002)


def test_arguments_that_are_refused_are_left_out() -> None:
    found = crossing(lambda x: math.nan if x > 20 else x, 5, (1, 10, 100), 1)
    assert found == pytest.approx(5, rel=0.002)


def test_the_first_that_meets_is_taken_in_order() -> None:
    assert first_that_meets(lambda x: x > 3, [1, 5, 4]) == 5
    assert first_that_meets(lambda x: x > 9, [1, 5, 4]) is None


# verdicts, both ways


def test_what_we_compute_ourselves_is_reproduced(programs: Callable[[int, int], Program]) -> None:
    ours = estimate(programs(128, 1), CHIP).area_delay_mm2_s
    line = claimed_line(question(programs, value=ours))
    assert line.verdict == "reproduced"
    assert line.ratio == pytest.approx(1, abs=1e-12)
    assert line.assumptions == ()


def test_more_than_is_claimed_is_reproduced_too(programs: Callable[[int, int], Program]) -> None:
    assert claimed_line(question(programs, value=1e3)).verdict == "reproduced"


def test_a_fabricated_claim_is_not_reproduced(programs: Callable[[int, int], Program]) -> None:
    line = claimed_line(question(programs, value=1e-7))
    assert line.verdict == "not reproduced"
    assert line.assumptions
    assert all(item.value is None and item.then is None for item in line.assumptions)
    assert all(item.best is None or item.best > 1e-7 for item in line.assumptions)


def test_half_of_our_least_needs_an_assumption_and_it_is_enough(
    programs: Callable[[int, int], Program],
) -> None:
    """Every value that is offered is put back into the model: there the claim holds, one step before not."""
    least = estimate(programs(128, 1), CHIP, level="low").area_delay_mm2_s
    asked = question(programs, value=least / 2)
    line = claimed_line(asked)
    assert line.verdict == "only if"
    found = {item.name: item for item in line.assumptions}
    tokens = found["tokens of a sequence"].value
    assert isinstance(tokens, int)
    assert asked.figure(programs(tokens, 1), CHIP) <= asked.claim.value
    assert asked.figure(programs(tokens + 1, 1), CHIP) > asked.claim.value
    node = found["process node"]
    assert node.stated == "32 nm"
    assert isinstance(node.value, float)
    smaller = dataclasses.replace(CHIP, node_nm=node.value)
    assert asked.figure(programs(128, 1), smaller) <= asked.claim.value
    assert found["sequences at once"].value is None


def test_an_end_of_the_unit_values_is_an_assumption_and_no_agreement(
    programs: Callable[[int, int], Program],
) -> None:
    """Between low and typical: not reproduced as it stands, but at the low end."""
    low = estimate(programs(128, 1), CHIP, level="low").area_delay_mm2_s
    typical = estimate(programs(128, 1), CHIP).area_delay_mm2_s
    line = claimed_line(question(programs, value=math.sqrt(low * typical)))
    assert line.verdict == "only if"
    assert (line.assumptions[0].name, line.assumptions[0].value) == ("unit values of the chip", "low")
    assert line.low == low


def test_several_sequences_are_never_slower_than_one_by_one(
    programs: Callable[[int, int], Program],
) -> None:
    asked = question(programs)
    many, one = asked.totals(programs(128, 32), CHIP), asked.totals(programs(128, 1), CHIP)
    together = estimate(programs(128, 32), CHIP).latency_s
    assert many.latency_s == min(together, 32 * one.latency_s)
    assert many.sequences == 32


def test_a_price_that_is_offered_makes_the_claim(programs: Callable[[int, int], Program]) -> None:
    """Energy: the tile converters' share is known, so the factor follows by hand."""
    program = programs(128, 1)
    report = estimate(program, CHIP)
    other = multi_bit_crossbar(program, CHIP)
    converters = sum(term.total for term in report.energy if term.component == "tile converters")
    claimed = other.energy_J / (report.energy_J - 0.7 * converters)  # reached at a factor of 0.3
    line = claimed_line(
        question(programs, kind="energy_ratio", subject="multi_bit_crossbar", value=claimed, upper=True)
    )
    item = next(a for a in line.assumptions if a.name.startswith("energy of the tile converters"))
    assert line.verdict == "only if"
    assert item.value == pytest.approx(0.3, rel=0.002)
    assert item.then is not None
    assert other.energy_J / item.then.energy_J == pytest.approx(claimed, rel=0.002)


def test_plain_multipliers_stand_beside_every_claim_about_costs(
    programs: Callable[[int, int], Program],
) -> None:
    program = programs(128, 1)
    with_memory, alone = digital_mac_dense(program, CHIP), digital_mac(program, CHIP)
    area = next(claim for claim in CLAIMS if claim.kind == "area_ratio")
    other = other_hardware(area.subject, program, CHIP)
    assert plain_figure(area, program, CHIP) == other.area_m2 / with_memory.area_m2
    assert plain_figure(area, program, CHIP, memory=False) == other.area_m2 / alone.area_m2
    saving = next(claim for claim in CLAIMS if claim.kind == "energy_saving")
    tpu = other_hardware(saving.subject, program, CHIP)
    assert plain_figure(saving, program, CHIP) == 1 - with_memory.energy_J / tpu.energy_J
    assert plain_figure(CLAIMS[0], program, CHIP) == with_memory.area_delay_mm2_s


def test_all_lines_are_in_order_and_nothing_is_left_out(programs: Callable[[int, int], Program]) -> None:
    lines = claim_lines(programs, CHIP, claims=CLAIMS[:3])
    assert [line.group for line in lines] == ["cost"] * 3 + ["storage"] * 4 + ["accuracy"] * 10
    for line in lines[:7]:
        assert line.low is not None
        assert line.typical is not None
        assert line.high is not None
        assert line.low <= line.typical <= line.high
    assert {line.verdict for line in lines[7:]} == {"not tested"}


def test_an_unknown_alternative_is_refused(programs: Callable[[int, int], Program]) -> None:
    with pytest.raises(UserError, match="'abacus'"):
        other_hardware("abacus", programs(128, 1), CHIP)


# what area-delay products imply; the data sheet's figures


def test_the_a100_must_have_run_longer_or_more_sequences() -> None:
    found = implied("a100", 2.04, chip_area_delay_mm2_s=0.03, saving=0.69)
    assert found.latency_s == pytest.approx(2.47e-3, rel=1e-3)
    assert found.tokens["int8"] == pytest.approx(328, abs=0.5)
    assert found.tokens["fp16"] == pytest.approx(272, abs=0.6)
    assert found.batch_at[128] == pytest.approx(1 + 127 * (2.4697 - 1.25) / (25.45 - 1.25), rel=1e-4)
    assert found.batch_at[384] is None  # one sequence alone takes 2.81 ms
    assert found.energy_J["most"] == pytest.approx(0.99, abs=0.005)
    assert found.chip_power_density_W_per_mm2["most"] == pytest.approx(10.2, abs=0.05)
    # 2 · 39.46e9 operations in 2.47 ms
    assert found.tops_at[128] == pytest.approx(31.95, abs=0.02)
    assert found.share_at[128]["int8"] == pytest.approx(31.95 / 624, rel=1e-3)


def test_the_tpu_by_its_share_of_the_peak() -> None:
    found = implied("tpu_v4", 2.24, chip_area_delay_mm2_s=0.03, saving=0.69)
    assert found.latency_s == pytest.approx(3.73e-3, rel=1e-3)
    assert found.energy_J == pytest.approx({"least": 0.336, "mean": 0.635, "most": 0.717}, rel=2e-3)
    assert found.chip_power_density_W_per_mm2["mean"] == pytest.approx(6.6, abs=0.05)
    (tokens,) = found.tokens.values()
    assert tokens is not None
    share = next(processor.share for processor in PROCESSORS if processor.name == "tpu_v4")
    assert 2 * bert_large_macs(tokens) / found.latency_s == pytest.approx(275e12 * share, rel=1e-9)
    assert set(found.batch_at.values()) == {None}


def test_a_processor_nobody_knows_is_refused() -> None:
    with pytest.raises(UserError, match="'abacus'"):
        implied("abacus", 1.0, chip_area_delay_mm2_s=0.03, saving=0.69)


def test_latencies_are_those_of_the_alternative(programs: Callable[[int, int], Program]) -> None:
    published = next(processor for processor in PROCESSORS if processor.name == "a100").latencies["int8"]
    for (batch, tokens), seconds in published.items():
        assert a100(programs(tokens, batch)).latency_s == seconds


def test_the_count_of_bert_large_is_that_of_the_program(programs: Callable[[int, int], Program]) -> None:
    for tokens, giga in BERT_LARGE_GMAC.items():
        assert bert_large_macs(tokens) == pytest.approx(giga * 1e9, rel=2e-4)  # printed to four digits
    # the program also sums softmax and norms: below 1 %
    assert 1 <= programs(128, 1).macs / bert_large_macs(128) < 1.01


# storage


@pytest.mark.parametrize("claim", STORAGE_CLAIMS[:3], ids=lambda claim: claim.name)
def test_areas_of_stored_parameters_are_reproduced_to_the_millimetre(claim: StorageClaim) -> None:
    line = storage_line(claim)
    assert line.verdict == "reproduced"
    assert round(line.typical or 0) == claim.value
    wrong = dataclasses.replace(claim, value=claim.value * 1.1)
    assert storage_line(wrong).verdict == "not reproduced"


def test_2777_chips_are_a_slip_of_mebibytes() -> None:
    line = storage_line(STORAGE_CLAIMS[3])
    assert (round(line.typical or 0), round(line.high or 0)) == (2649, 5298)
    assert line.verdict == "only if"
    assert line.assumptions[0].value == pytest.approx(63.02)
    another = dataclasses.replace(STORAGE_CLAIMS[3], value=2500.0)
    assert storage_line(another).verdict == "not reproduced"
    right = dataclasses.replace(STORAGE_CLAIMS[3], value=2650.0)
    assert storage_line(right).verdict == "reproduced"


# accuracy


def test_what_was_measured_instead_is_what_the_readme_says() -> None:
    text = README.read_text(encoding="utf-8")
    for setup, score in (
        ("fp32", "76.3 %"),
        ("ideal chip", "76.0 %"),
        ("2-bit cells, 5x", "75.4 %"),
        ("1-bit cells, 18x", "76.0 %"),
    ):
        assert f"| {setup} | {score} (" in text
        assert score in ENCODER_INSTEAD
    assert "fp32 18.0 · ideal chip 18.9 · 2-bit cells, 1x 18.9" in text
    assert "fp32 18.0, ideal chip 18.9, 2-bit cells at 1x 18.9" in DECODER_INSTEAD
    assert {claim.instead for claim in ACCURACY_CLAIMS} == {ENCODER_INSTEAD, DECODER_INSTEAD}


def test_every_claim_has_its_source() -> None:
    named: tuple[Claim, ...] = CLAIMS
    for claim in (*named, *STORAGE_CLAIMS, *ACCURACY_CLAIMS):
        assert claim.source.kind == "paper"
        assert claim.text in claim.source.text
