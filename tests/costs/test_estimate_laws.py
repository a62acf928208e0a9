"""Laws of the estimate: sums are exact, more hardware is not slower, more bits are not cheaper."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from ohmformer.costs import LEVELS, LIBRARY, Counts, estimate, product_counts
from ohmformer.costs.baselines.digital_mac import DENSE_COMPONENTS, SHARED_COMPONENTS, TILE_COMPONENTS
from ohmformer.costs.counts import product_shape
from ohmformer.costs.inventory import PASSIVE
from ohmformer.costs.timing import steps
from ohmformer.devices import settling_time_s
from ohmformer.devices.periphery import PERIPHERY
from ohmformer.errors import UserError
from ohmformer.ir import DenseRead, FunctionCall, Product, Program
from ohmformer.specs import ChipSpec, leaves, names, override, preset

Bert = Callable[..., Program]


def product(
    rows: int = 64, inner: int = 128, columns: int = 32, resident: str = "weight", batch: int = 1
) -> Product:
    return Product(
        module="m", operation="linear", batch=batch, rows=rows, inner=inner, columns=columns,
        resident=resident,  # type: ignore[arg-type]
    )  # fmt: skip


def program(*subops: Product | FunctionCall | DenseRead, stored: int = 10**6) -> Program:
    return Program(name="toy", batch=1, tokens=64, subops=subops, stored_words=stored)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("level", LEVELS)
def test_totals_are_the_exact_sums(bert_large: Bert, name: str, level: str) -> None:
    report = estimate(bert_large(128, layers=2), preset(name), level=level)  # type: ignore[arg-type]
    for terms, total in (
        (report.area, report.area_m2),
        (report.energy, report.energy_J),
        (report.latency, report.latency_s),
    ):
        assert total == math.fsum(term.total for term in terms)
        assert all(term.total == term.count * term.unit_value for term in terms)
        assert total > 0
    assert report.area_delay_mm2_s == pytest.approx(report.area_m2 * 1e6 * report.latency_s)
    assert report.power_density_W_per_mm2 == pytest.approx(
        report.energy_J / report.latency_s / (report.area_m2 * 1e6)
    )


def test_levels_are_ordered(bert_large: Bert) -> None:
    low, typical, high = (estimate(bert_large(128, 1), preset("wang2024"), level=level) for level in LEVELS)
    assert low.area_m2 < typical.area_m2 < high.area_m2
    assert low.energy_J < typical.energy_J < high.energy_J
    assert low.latency_s < typical.latency_s < high.latency_s
    # what is not known are the times of reading and settling: an end is the chip with other such times
    chip = preset("wang2024")
    capacitance = PERIPHERY.bitline_capacitance_F * LIBRARY.bitline_capacitance.high
    settled = settling_time_s(chip.tile, periphery=replace(PERIPHERY, bitline_capacitance_F=capacitance))
    slow = replace(
        chip,
        dense=replace(chip.dense, wordline_time_s=chip.dense.wordline_time_s * LIBRARY.wordline_time.high),
        tile=replace(chip.tile, settling_time_s=settled),
    )
    assert high.latency_s == estimate(bert_large(128, 1), slow).latency_s
    with pytest.raises(UserError, match="allowed are low, typical and high"):
        estimate(bert_large(128, 1), preset("wang2024"), level="best")  # type: ignore[arg-type]


def test_term_fields_are_paths_of_the_chip(bert_large: Bert) -> None:
    report = estimate(bert_large(128, 1), preset("wang2024"))
    paths = list(leaves(preset("wang2024")))
    for term in (*report.area, *report.energy, *report.latency):
        for field in term.fields:
            assert any(path == field or path.startswith(field + ".") for path in paths), field


def test_every_area_component_belongs_to_one_group(bert_large: Bert) -> None:
    """The baselines and the leakage select components by name: a renamed one would vanish silently."""
    report = estimate(bert_large(128, 1), preset("wang2024"))
    grouped = TILE_COMPONENTS + SHARED_COMPONENTS + DENSE_COMPONENTS
    assert sorted(term.component for term in report.area) == sorted(grouped)
    assert set(PASSIVE) <= set(grouped)


def test_more_tiles_are_not_slower(bert_large: Bert) -> None:
    work, chip = bert_large(128, layers=1), preset("wang2024")
    counts = [1, 2, 3, 5, 16, 95, 96, 97, 500, 1024, 4096, 4097, 10000, 20479, 20480, 50000, 600000]
    times = [estimate(work, override(chip, {"tile_count": n})).latency_s for n in counts]
    for fewer, more in itertools.pairwise(times):
        assert more <= fewer * (1 + 1e-12)  # rounding of the sum


@pytest.mark.parametrize(
    "path",
    ["function_unit_count", "dense_bank_count", "buffer.capacity_bytes", "tile.adc.rate_Hz", "clock_Hz"],
)
def test_more_of_a_resource_is_not_slower(bert_large: Bert, path: str) -> None:
    work, chip = bert_large(128, layers=1), preset("wang2024")
    value = leaves(chip)[path]
    more = estimate(work, override(chip, {path: 2 * value})).latency_s  # type: ignore[operator]
    assert more <= estimate(work, chip).latency_s


def test_a_tile_bound_product_takes_twice_as_long_on_half_the_tiles() -> None:
    chip = preset("wang2024")
    work = program(product(rows=4096, inner=1024, columns=1024))
    one, half = (estimate(work, override(chip, {"tile_count": n})) for n in (16384, 8192))
    busy = [report.utilisation["conversions"] * report.latency_s for report in (one, half)]
    assert busy[1] == pytest.approx(2 * busy[0], rel=1e-12)
    for report, seconds in zip((one, half), busy, strict=True):
        # besides: reading the first blocks (256 wordlines in 20 banks), sending them and the first row, and
        # the last row's sums and words; all of them the time of a few rows of 300 ns
        assert seconds < report.latency_s < seconds + 13 * 110e-9 + 10 * 300e-9


@pytest.mark.parametrize("path", ["precision.weight_bits", "precision.activation_bits"])
def test_more_operand_bits_are_not_cheaper(bert_large: Bert, path: str) -> None:
    work, chip = bert_large(128, layers=1), preset("wang2024")
    reports = [estimate(work, override(chip, {path: bits})) for bits in range(2, 17)]
    for fewer, more in itertools.pairwise(reports):
        assert more.energy_J >= fewer.energy_J
        assert more.latency_s >= fewer.latency_s
        assert more.counts.conversions >= fewer.counts.conversions


def test_more_converter_bits_are_not_cheaper(bert_large: Bert) -> None:
    work, chip = bert_large(128, layers=1), preset("wang2024")
    reports = [estimate(work, override(chip, {"tile.adc.bits": bits})) for bits in range(1, 17)]
    for fewer, more in itertools.pairwise(reports):
        assert more.energy_J > fewer.energy_J
        assert more.area_m2 > fewer.area_m2


def test_counts_grow_with_the_batch() -> None:
    chip = preset("wang2024")
    one = product_counts(product(resident="activation"), chip, 96)
    four = product_counts(product(resident="activation", batch=4), chip, 96)
    for name in ("macs", "conversions", "wordline_drives", "crosspoint_digits", "encodings", "buffer_bits"):
        assert getattr(four, name) == 4 * getattr(one, name)
    # a weight is read once for the whole batch
    assert (
        product_counts(product(batch=4), chip, 96).dense_symbols
        == product_counts(product(), chip, 96).dense_symbols
        == 128 * 32 * 4
    )


@pytest.mark.parametrize(
    ("name", "per_mac"),
    [
        ("wang2024", 3 * 8 / 64),  # 3 digits, 8 bitlines, 64 elements at once
        ("wang2024_2bit_serial", 3 * 8),  # one element at once
        ("wang2024_2bit_lossy", 3 * 8 / 64),
    ],
)
def test_conversions_per_mac(name: str, per_mac: float) -> None:
    counts = product_counts(product(rows=5, inner=640, columns=48), preset(name), 96)
    assert counts.conversions / counts.macs == per_mac


def test_conversions_count_only_bitlines_and_groups_in_use() -> None:
    """70 inner elements: a full tile of 4 groups of 16 elements, then 6 elements in one group; 3 columns."""
    chip = override(preset("wang2024"), {"tile.active_wordlines": 32})
    counts = product_counts(product(rows=2, inner=70, columns=3), chip, 96)
    assert counts.conversions == 2 * 3 * (4 + 1) * 3 * 8


@pytest.mark.parametrize("resident", ["weight", "activation", "constant"])
@pytest.mark.parametrize("code", ["bits", "digits"])
@pytest.mark.parametrize("active", [2, 30, 128])
def test_conversions_against_walking_through_the_tiles(resident: str, code: str, active: int) -> None:
    """Every digit, row tile, group, column and bitline (or pair) visited one by one."""
    chip = override(preset("wang2024"), {"tile.resident_code": code, "tile.active_wordlines": active})
    columns = 1 if resident == "constant" else 21
    work = product(rows=3, inner=150, columns=columns, resident=resident, batch=2)
    lines = {"bits": 8, "digits": 3 * 2}[code] if resident != "constant" else 1
    visits = 0
    for _row, _digit in itertools.product(range(2 * 3), range(3)):
        for first in range(0, 150, 64):
            used = min(64, 150 - first)
            visits += len(range(0, used, min(64, active // 2))) * columns * lines
    assert product_counts(work, chip, 96).conversions == visits


def test_resident_digits_take_one_conversion_per_pair() -> None:
    """8 bits are 3 digits of 2 resistors: 6 pairs, 12 bitlines, 10 columns a tile."""
    chip = override(preset("wang2024"), {"tile.resident_code": "digits"})
    work = product(rows=7, inner=64, columns=20)
    shape = product_shape(work, chip, 96)
    assert (shape.lines_per_output, shape.conversions_per_output, shape.column_blocks) == (12, 6, 2)
    counts = product_counts(work, chip, 96)
    assert counts.conversions == 7 * 3 * 20 * 6
    # 7 rows in each of 2 blocks, one row a tile: each block is encoded in 7 tiles
    assert counts.encodings == 7 * 64 * 2 + 64 * 20 * 7


@pytest.mark.parametrize(
    ("blocks", "rows", "share"), [(3, 10, 4), (7, 5, 5), (4, 6, 100), (5, 1, 2), (2, 9, 3)]
)
def test_copies_are_the_pieces_of_an_even_deal(blocks: int, rows: int, share: int) -> None:
    """Against dealing the rows one by one."""
    from ohmformer.compiler.place import _cuts

    pieces = {(row // rows, row // share) for row in range(blocks * rows)}
    assert _cuts(blocks, rows, share) == len(pieces)


def test_steps_keep_every_sub_operation(bert_large: Bert) -> None:
    work = bert_large(128, layers=3)
    found = steps(work.subops)
    assert sum(times for step, times in found.items() if step.product) == len(list(work.products()))
    assert sum(times * len(step.functions) for step, times in found.items()) == len(list(work.functions()))
    assert sum(times * step.dense_words for step, times in found.items()) == sum(
        read.words for read in work.dense_reads()
    )
    assert sum(t * step.product.macs for step, t in found.items() if step.product) == work.macs


def test_functions_before_any_product_and_reads_at_the_end() -> None:
    chip = preset("wang2024")
    relu = FunctionCall(module="m", operation="relu", function="relu", elements=256 * 1000)
    read = DenseRead(module="m", operation="table", words=16384 * 20)
    report = estimate(program(relu, read), chip)
    # 1000 clocks of the lanes against 2 words of 32 bits a value through 128 · 256 bits a clock: 500;
    # one wordline in each of 20 banks is read meanwhile
    assert report.latency_s == pytest.approx(1000e-9, rel=1e-12)
    assert report.latency_sequential_s == pytest.approx(1000e-9 + 110e-9, rel=1e-12)
    assert report.bottleneck == "functions"
    assert report.counts == Counts(evaluations=256000, buffer_bits=2 * 32 * 256000, dense_symbols=16384 * 80)
    with pytest.raises(UserError, match="has no sub-operation"):
        estimate(program(), chip)


def test_banks_and_lifetime() -> None:
    chip = preset("wang2024")
    bank_words = 1024 * 65536 // 4
    work = program(product(), stored=21 * bank_words + 1)
    report = estimate(work, chip)
    assert (report.banks_needed, report.banks) == (22, 22)
    assert any("needs 22 dense banks" in note for note in report.notes)
    assert report.lifetime_s is None
    assert "nothing is written" in report.lifetime_note
    worn = override(chip, {"buffer.intermediates": "dense"})
    life = estimate(work, worn).lifetime_s
    longer = estimate(work, override(worn, {"dense.cell.endurance_writes": 2e9})).lifetime_s
    assert life is not None
    assert longer == pytest.approx(2 * life)


def test_lossy_converters_are_pointed_out() -> None:
    assert any(
        "lose information" in note
        for note in estimate(program(product()), preset("wang2024_2bit_lossy")).notes
    )


def test_smaller_nodes_shrink_area_and_energy(bert_large: Bert) -> None:
    reports = [
        estimate(bert_large(128, 1), override(preset("wang2024"), {"node_nm": node}))
        for node in (45.0, 32.0, 22.0, 7.0)
    ]
    for older, newer in itertools.pairwise(reports):
        assert newer.area_m2 < older.area_m2
        assert newer.energy_J < older.energy_J
    with pytest.raises(UserError, match="node_nm = 28"):
        estimate(bert_large(128, 1), override(preset("wang2024"), {"node_nm": 28.0}))


def test_report_is_plain_json(bert_large: Bert) -> None:
    report = estimate(bert_large(128, 1), preset("wang2024"))
    again = json.loads(json.dumps(report.to_dict()))
    assert again["area_m2"] == report.area_m2
    assert sum(term["total"] for term in again["energy"]) == pytest.approx(report.energy_J)
    assert again["counts"]["macs"] == report.counts.macs


def test_bert_large_takes_well_under_a_second(bert_large: Bert) -> None:
    work, chip = bert_large(128), preset("wang2024")
    start = time.perf_counter()
    estimate(work, chip)
    # about 20 ms on an idle core; the bound leaves room for a loaded machine
    assert time.perf_counter() - start < 1.0


def test_the_serial_preset_pays_for_its_groups(bert_large: Bert) -> None:
    """64 groups instead of one: 64 times the conversions where the shapes divide."""

    def conversions(chip: ChipSpec) -> int:
        return estimate(program(product(inner=640)), chip).counts.conversions

    assert conversions(preset("wang2024_2bit_serial")) == 64 * conversions(preset("wang2024"))
