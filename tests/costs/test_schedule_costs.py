"""Costs that rest on the schedule: parts add up, sweeps and generation are estimates to the last bit."""

from __future__ import annotations

import importlib.util
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ohmformer.costs import estimate, generation, sweep
from ohmformer.costs.library import LIBRARY
from ohmformer.costs.running import dense_plan, full_schedule, run_of
from ohmformer.costs.timing import RESOURCES
from ohmformer.errors import UserError
from ohmformer.ir import Product, Program
from ohmformer.specs import ChipSpec, SpecError, override, preset

CHIP = preset("wang2024")
SMALL = override(
    CHIP, {"tile_count": 200, "function_unit_count": 2, "dense_bank_count": 2, "dense.wordlines": 64}
)
CHOICES: dict[str, list[object]] = {
    "tile_count": [1, 37, 500, 20480],
    "tile.numeral.radix": [3, 7, 9],
    "tile.resident_code": ["bits", "digits"],
    "tile.active_wordlines": [8, 64, 128],
    "tile.adc.bits": [2, 4, 8],
    "tile.adc.bitlines_per_adc": [16, 128],
    "tile.settling_time_s": [1e-9, 3e-8],
    "precision.activation_bits": [4, 8, 12],
    "precision.weight_bits": [2, 8],
    "function_unit_count": [1, 256],
    "dense_bank_count": [1, 3, 20],
    "dense.cell.bits": [1, 2],
    "buffer.capacity_bytes": [1024, 3000, 10_000, 1 << 22],
    "buffer.word_bits": [16, 32],
    "buffer.intermediates": ["sram", "sram", "dense"],
    "buffer.kv_cache": ["sram", "dense"],
    "node_nm": [45.0, 32.0, 7.0],
    "package.max_chips": [0, 0, 1000],
    "dense.wordlines": [16, 1024],
    "dense.bitlines": [1024, 65536],
}


@pytest.fixture(scope="module")
def flows() -> ModuleType:
    path = Path(__file__).parents[1] / "compiler" / "flows.py"
    spec = importlib.util.spec_from_file_location("flows", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(source: random.Random) -> ChipSpec:
    """A random chip; drawn again where the specs refuse it."""
    while True:
        changes = {path: source.choice(values) for path, values in CHOICES.items() if source.random() < 0.5}
        try:
            return override(CHIP, changes)  # type: ignore[arg-type]
        except SpecError:
            continue


def program(flows: ModuleType, source: random.Random) -> Program:
    made: Program = flows.transformer(
        tokens=source.choice([1, 8, 40]),
        layers=source.choice([3, 7]),
        hidden=64,
        heads=4,
        rotary=source.random() < 0.5,
        context=source.choice([0, 30]),
    )
    return made


def test_all_work_in_turn_bounds_a_run_and_the_steps_in_turn_do_not(
    bert_large: Callable[..., Program],
) -> None:
    """Results kept in dense cells wait for the next step's weights, and that step waits for the results."""
    changes = {"tile_count": 2000, "dense_bank_count": 4, "buffer.intermediates": "dense"}
    report = estimate(bert_large(128, layers=2), override(CHIP, changes))
    assert report.counts.dense_writes
    assert report.latency_alone_s < report.latency_s < report.latency_unoverlapped_s
    usual = estimate(bert_large(128, layers=2), CHIP)
    assert usual.latency_s < usual.latency_alone_s < usual.latency_unoverlapped_s


@pytest.mark.parametrize("seed", range(12))
def test_parts_add_up_and_the_schedule_keeps_its_rules(flows: ModuleType, seed: int) -> None:
    """On random programs and chips: kinds, terms and the sweep give the totals; every interval is checked."""
    source = random.Random(seed)
    work = program(flows, source)
    for _ in range(5):
        chip = drawn(source)
        report = estimate(work, chip)
        run = run_of(work, chip, LIBRARY)
        full_schedule(run)  # raises where a rule is broken or the end is not the latency
        assert report.latency_s == math.fsum(term.total for term in report.latency)
        assert sum(kind.macs for kind in report.kinds) == work.macs
        assert sum(kind.conversions for kind in report.kinds) == report.counts.conversions
        besides = [t.total for t in report.energy if t.component in ("leakage", "chip links")]
        by_kind = math.fsum([*(kind.energy_J for kind in report.kinds), *besides])
        # sums of at most some hundred products, each rounded to 2^-53
        assert by_kind == pytest.approx(report.energy_J, rel=1e-13)
        assert math.fsum(kind.time_s for kind in report.kinds) == pytest.approx(report.latency_s, rel=1e-13)
        assert all(kind.energy_J >= 0 and kind.time_s >= 0 for kind in report.kinds)
        assert report.latency_s >= report.latency_bound_s * (1 - 1e-11)
        assert report.interval_s <= report.latency_s
        # some resource works at any time, so that all work one after the other is no faster
        assert report.latency_s <= report.latency_unoverlapped_s * (1 + 1e-11)
        if run.chip_count == 1 and not report.counts.dense_writes:  # nothing of one step delays another's
            assert report.latency_s <= report.latency_alone_s * (1 + 1e-11)
        assert report.latency_alone_s <= report.latency_unoverlapped_s * (1 + 1e-11)
        both = sweep(work, [chip, CHIP])
        totals = (
            both.area_m2[0],
            both.energy_J[0],
            both.latency_s[0],
            both.interval_s[0],
            both.dense_writes[0],
        )
        assert totals == (
            report.area_m2,
            report.energy_J,
            report.latency_s,
            report.interval_s,
            report.counts.dense_writes,
        )


@pytest.mark.parametrize("level", ["low", "high"])
def test_a_sweep_is_an_estimate_at_every_level(flows: ModuleType, level: str) -> None:
    work = flows.transformer(tokens=8)
    chips = [CHIP, SMALL, override(SMALL, {"package.max_chips": 50, "dense.bitlines": 4096})]
    found = sweep(work, chips, level=level)  # type: ignore[arg-type]
    for place, chip in enumerate(chips):
        report = estimate(work, chip, level=level)  # type: ignore[arg-type]
        assert found.area_m2[place] == report.area_m2
        assert found.energy_J[place] == report.energy_J
        assert found.area_delay_mm2_s[place] == report.area_delay_mm2_s
        assert found.power_density_W_per_mm2[place] == report.power_density_W_per_mm2
    with pytest.raises(UserError, match="allowed are low, typical and high"):
        sweep(work, chips, level="best")  # type: ignore[arg-type]


def test_busy_times_do_not_depend_on_the_order_of_the_steps(flows: ModuleType) -> None:
    """The same work with and without data flow: equal counts and busy times, another latency."""
    work: Program = flows.transformer(tokens=8, layers=4)
    bare = Program(
        name="bare", batch=1, tokens=8, subops=work.subops, stored_words=work.stored_words
    )  # fmt: skip
    told, untold = estimate(work, SMALL), estimate(bare, SMALL)
    for resource in ("conversions", "functions", "additions"):
        assert told.utilisation[resource] * told.latency_s == pytest.approx(
            untold.utilisation[resource] * untold.latency_s, rel=1e-12
        )
    assert told.counts.conversions == untold.counts.conversions
    assert told.latency_s < untold.latency_s  # query, key and value overlap
    assert untold.buffer is None
    assert any("does not tell its data flow" in note for note in untold.notes)


def test_a_small_buffer_costs_time_energy_and_wear(flows: ModuleType) -> None:
    work: Program = flows.transformer(tokens=40, layers=4, hidden=64, heads=4)
    large = estimate(work, override(SMALL, {"buffer.capacity_bytes": 1 << 20}))
    small = estimate(work, override(SMALL, {"buffer.capacity_bytes": 16 * 1024}))
    assert large.buffer is not None
    assert small.buffer is not None
    assert large.buffer.spilled_numbers == 0
    assert large.lifetime_s is None
    assert small.buffer.spilled_numbers > 0
    assert small.buffer.buffer_bytes <= 16 * 1024 < small.buffer.peak_bytes <= large.buffer.peak_bytes
    assert small.lifetime_s is not None
    assert small.latency_s > large.latency_s
    spills = next(kind for kind in small.kinds if kind.kind == "spills")
    assert spills.energy_J > 0
    assert small.counts.dense_writes >= small.buffer.spilled_numbers
    assert any("go through dense cells" in note for note in small.notes)


def test_lifetime_with_both_homes(flows: ModuleType) -> None:
    work: Program = flows.transformer(tokens=8, layers=4)
    sram, dense = (
        estimate(work, override(SMALL, {"buffer.intermediates": home})) for home in ("sram", "dense")
    )
    assert sram.lifetime_s is None
    assert sram.lifetime_dense_s is not None
    assert dense.lifetime_s == dense.lifetime_dense_s
    # the same writes; a run takes longer when they are made
    assert dense.lifetime_s == pytest.approx(
        sram.lifetime_dense_s * dense.latency_s / sram.latency_s * dense.dense_cells / sram.dense_cells,
        rel=1e-12,
    )


def test_chips_and_links(flows: ModuleType) -> None:
    """Areas, links and the interval between results, worked out from one chip."""
    work: Program = flows.transformer(tokens=8, layers=6)
    chip = override(SMALL, {"dense.wordlines": 1, "dense.bitlines": 10_000, "dense_bank_count": 3})
    several = override(chip, {"package.max_chips": 40, "package.links": 2})
    report, whole = estimate(work, several), estimate(work, chip)
    assert report.chips is not None
    count = report.chips.chips
    assert 1 < count <= 40
    ends = 2 * 2 * (count - 1) * LIBRARY.chip_link.area_m2.typical
    one = estimate(flows.transformer(tokens=1, layers=1, hidden=8), chip)
    assert one.banks == 3
    assert report.area_m2 == pytest.approx(count * one.area_m2 + ends, rel=1e-12)
    assert report.chips.interval_s < whole.latency_s < report.latency_s * 1.5
    energy = next(term for term in report.energy if term.component == "chip links")
    assert energy.total == pytest.approx(
        report.chips.link_bits * LIBRARY.chip_link.energy_J.typical, rel=1e-12
    )
    link = LIBRARY.chip_link
    seconds = report.chips.link_bits / (2 * link.bits_per_s) + link.latency_s.typical * sum(
        1 for one in full_schedule(run_of(work, several, LIBRARY)).intervals if one.what == "link"
    )
    assert report.chips.link_s == pytest.approx(seconds, rel=1e-12)
    with pytest.raises(UserError, match=r"needs \d+ chips of 3 dense banks: package.max_chips allows 2\."):
        estimate(work, override(several, {"package.max_chips": 2}))
    with pytest.raises(UserError, match="is above package.die_area_limit_m2 = 1 mm²"):
        estimate(work, override(CHIP, {"package.die_area_limit_m2": 1e-6}))


# --- generation ---------------------------------------------------------------------------------------


def test_generation_is_the_sum_of_its_steps(flows: ModuleType) -> None:
    def decode(context: int) -> Program:
        made: Program = flows.transformer(tokens=1, layers=3, context=context)
        return made

    prefill = flows.transformer(tokens=12, layers=3)
    exact = generation(prefill, decode, 30, SMALL, tolerance=0.0)
    steps = [estimate(decode(context), SMALL) for context in range(12, 12 + 29)]
    first = estimate(prefill, SMALL)
    assert exact.evaluated == 29
    assert exact.interpolation_error == 0
    assert exact.latency_s == pytest.approx(
        first.latency_s + math.fsum(s.latency_s for s in steps), rel=1e-12
    )
    assert exact.energy_J == pytest.approx(first.energy_J + math.fsum(s.energy_J for s in steps), rel=1e-12)
    assert exact.macs == first.counts.macs + sum(s.counts.macs for s in steps)
    assert exact.tokens_per_s == pytest.approx(29 / math.fsum(s.latency_s for s in steps), rel=1e-12)
    loose = generation(prefill, decode, 30, SMALL, tolerance=0.02)
    assert loose.evaluated < 29
    assert loose.interpolation_error <= 0.02
    # a line is off by at most what its middle is off, here: times grow in steps of the cache's length
    assert loose.latency_s == pytest.approx(exact.latency_s, rel=0.02)
    assert loose.macs == exact.macs  # linear in the context: lines are exact


def test_one_token_is_the_prompt_alone(flows: ModuleType) -> None:
    prefill = flows.transformer(tokens=12, layers=2)
    only = generation(prefill, lambda context: prefill, 1, SMALL)
    assert (only.latency_s, only.first, only.tokens_per_s) == (only.prefill.latency_s, None, None)
    two = generation(
        prefill, lambda context: flows.transformer(tokens=1, layers=2, context=context), 2, SMALL
    )
    assert two.evaluated == 1
    assert two.first is not None
    assert two.latency_s == two.prefill.latency_s + two.first.latency_s
    with pytest.raises(UserError, match="0 tokens are to be generated"):
        generation(prefill, lambda context: prefill, 0, SMALL)
    assert "prefill" in two.to_dict()


def test_first_blocks_of_a_square_matrix_by_hand() -> None:
    """1024 x 1024, 128 rows: q = 7, R = 128, so a tile holds up to 2 blocks; one of them is sent ahead."""
    product = Product(
        module="m", operation="linear", batch=1, rows=128, inner=1024, columns=1024, resident="weight"
    )  # fmt: skip
    work = Program(name="one", batch=1, tokens=128, subops=(product,), stored_words=1024 * 1024)
    step = run_of(work, CHIP, LIBRARY).steps[0]
    # a cluster: 96 · 7 rows of 64 · 8 bits in and 16 · 32 bits out, and 7 blocks of 64 x 16 bytes
    streamed, blocks = 96 * 7 * (64 * 8 + 16 * 32), 7 * 64 * 16 * 8
    feed = (streamed + blocks) / (384 * 1e9)
    assert step.work.loads == 2
    assert step.work.load == pytest.approx(blocks / 2 / (384 * 1e9), rel=1e-12)
    assert step.work.load + step.work.feed == pytest.approx(feed, rel=1e-12)
    assert step.work.rows == 7
    # operands: 128 · 1024 bytes; results: as many words of 32 bits; through 128 banks of 256 bits
    assert step.work.operands == pytest.approx(128 * 1024 * 8 / (128 * 256 * 1e9), rel=1e-12)
    assert step.work.results == pytest.approx(4 * step.work.operands, rel=1e-12)


def test_every_stored_word_has_its_wordlines(flows: ModuleType) -> None:
    work: Program = flows.transformer(tokens=8, layers=6)
    chip = override(CHIP, {"dense.bitlines": 4096, "dense.wordlines": 16, "dense_bank_count": 4})
    run = run_of(work, chip, LIBRARY)
    plan = dense_plan(run, chip)
    assert sum(entry.words for entry in plan.ranges) == work.stored_words
    assert [entry.name for entry in plan.ranges[1:3]] == ["layer.0.q", "layer.0.k"]
    # 1024 words are 4096 cells, one wordline; 4096 words four, one in each of the banks read at once
    up = next(entry for entry in plan.ranges if entry.name == "layer.3.up")
    assert (up.last - up.first, plan.most_in_one_bank(up)) == (4, 1)
    assert plan.banks >= run.banks


# --- speed --------------------------------------------------------------------------------------------


def test_another_chip_is_costed_in_milliseconds(bert_large: Callable[..., Program]) -> None:
    work = bert_large(128)
    chips = [override(CHIP, {"tile_count": 20000 + i}) for i in range(60)]
    estimate(work, CHIP)
    started = time.perf_counter()
    for chip in chips[:10]:
        estimate(work, chip)
    middle = time.perf_counter()
    sweep(work, chips)
    ended = time.perf_counter()
    # about 1.2 ms and .5 ms on an idle core; the bounds leave room for a loaded machine
    assert (middle - started) / 10 < 0.05
    assert (ended - middle) / 60 < 0.02


def test_utilisation_is_busy_time_over_latency(bert_large: Callable[..., Program]) -> None:
    report = estimate(bert_large(128, layers=2), CHIP)
    for resource in RESOURCES:
        busy = math.fsum(step.times * step.busy_s[resource] for step in report.steps)
        assert report.utilisation[resource] == pytest.approx(busy / report.latency_s, rel=1e-12)
    assert report.latency_bound_s == pytest.approx(
        max(report.utilisation[r] for r in RESOURCES) * report.latency_s, rel=1e-12
    )
