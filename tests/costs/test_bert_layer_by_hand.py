"""One BERT-Large layer at 128 tokens on wang2024, worked by hand: arithmetic, not output.

The machine: tiles of 128 x 128 with two wordlines per base-7 digit, so 64 elements; 8 bitlines per 8-bit
column, so 16 columns; 3 digits; all wordlines active, so 1 group; 20480 tiles, one 1.28 GS/s converter each.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from ohmformer.costs import LIBRARY, CostReport, estimate
from ohmformer.costs.digital import digital_parts
from ohmformer.devices import settling_time_s
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, override, preset

Bert = Callable[..., Program]


@pytest.fixture(scope="module")
def layer(bert_large: Bert) -> Program:
    return bert_large(128, layers=1)


@pytest.fixture(scope="module")
def chip() -> ChipSpec:
    return preset("wang2024")


@pytest.fixture(scope="module")
def report(layer: Program, chip: ChipSpec) -> CostReport:
    return estimate(layer, chip)


def energy(report: CostReport, component: str) -> float:
    return next(term.total for term in report.energy if term.component == component)


def step(report: CostReport, operation: str, columns: int | None = None, inner: int | None = None) -> float:
    found = [
        s
        for s in report.steps
        if s.operation == operation
        and s.shape is not None
        and (columns is None or s.shape[3] == columns)
        and (inner is None or s.shape[2] == inner)
    ]
    assert len({s.time_s for s in found}) == 1
    return found[0].time_s


# --- counts -------------------------------------------------------------------------------------------

# four 1024 x 1024 and two 1024 x 4096 matrices, 128 rows
LINEAR_MACS = 128 * (4 * 1024 * 1024 + 2 * 1024 * 4096)
# 16 heads: scores 128 x 64 x 128, context 128 x 128 x 64; sums with ones 128 x 128 x 1
ATTENTION_MACS = 16 * (128 * 64 * 128 + 128 * 128 * 64)
SUM_MACS = 16 * 128 * 128 + 2 * (128 * 1024 + 128 * 1024)  # softmax; two norms, sum and square


def test_macs(layer: Program, report: CostReport) -> None:
    assert LINEAR_MACS == 1_610_612_736
    assert ATTENTION_MACS == 33_554_432
    assert report.counts.macs == layer.macs == LINEAR_MACS + ATTENTION_MACS + SUM_MACS


def test_conversions(report: CostReport) -> None:
    # linear: all inner lengths are multiples of 64, so 3 digits · 8 bitlines per 64 MACs = 0.375 each
    linear = LINEAR_MACS * 3 * 8 // 64
    # scores: inner 64 = 1 row tile; context: inner 128 = 2 row tiles: also multiples of 64
    attention = ATTENTION_MACS * 3 * 8 // 64
    # ones take one bitline: softmax 16·128 rows · 3 digits · 2 row tiles; each norm sum 128 · 3 · 16
    sums = 16 * 128 * 3 * 2 + 2 * (128 * 3 * 16)
    # squares are activations, one column of 8 bitlines: 128 · 3 · 16 · 8, twice
    squares = 2 * 128 * 3 * 16 * 8
    assert report.counts.conversions == linear + attention + sums + squares


def test_dense_reads(report: CostReport) -> None:
    # each weight once, 4 cells of 2 bits: 12·1024² weights; biases; norm weights; 3 embedding rows a token
    weights = 12 * 1024 * 1024
    biases = 4 * 1024 + 4096 + 1024
    norms = 2 * 2 * 1024
    embeddings = 3 * 128 * 1024
    assert report.counts.dense_symbols == 4 * (weights + biases + norms + embeddings)


def test_functions(report: CostReport) -> None:
    scores = 16 * 128 * 128
    assert report.counts.comparisons == scores
    # exp of all scores; a reciprocal per row and head; the context scaled; two norms: rsqrt per token and
    # two multiplications per element; GELU of 128 · 4096
    assert report.counts.evaluations == (
        scores + 16 * 128 + 128 * 1024 + 2 * (128 + 2 * 128 * 1024) + 128 * 4096
    )


def test_drivers_encoders_and_crosspoints(report: CostReport) -> None:
    # a value is encoded at each column block it meets: 1024 columns = 64 blocks, 4096 = 256 blocks
    linear = 128 * (4 * 1024 * 64 + 1024 * 256 + 4096 * 64)
    # scores 128 columns = 8 blocks; context 64 = 4 blocks; softmax sum, norm sum, norm square: 1 block
    attention = 16 * 128 * (64 * 8 + 128 * 4 + 128 * 1) + 2 * 2 * 128 * 1024
    assert report.counts.encodings == linear + attention
    # each is 3 digits on 2 wordlines
    assert report.counts.wordline_drives == 6 * (linear + attention)
    # every MAC meets 3 digits · 8 bits; the ones one bit
    ones = 16 * 128 * 128 + 2 * 128 * 1024
    assert report.counts.crosspoint_digits == 3 * 8 * (report.counts.macs - ones) + 3 * ones


def test_latches(report: CostReport) -> None:
    """Resident bits times the tiles that share a block's rows."""
    # 1024 x 1024: 16 row tiles · 64 column blocks = 1024 blocks of 128 rows = 131072 rows over 20480 tiles:
    # 7 rows a tile. Cuts every 7 and every 128 rows: 18725 + 1024 − 147 pieces (lcm 896: ceil 146.3 = 147)
    square = -(-1024 * 1024 * 8 * (18725 + 1024 - 147) // 1024)
    # 1024 x 4096 and 4096 x 1024: 4096 blocks, 524288 rows, 26 a tile; 20165 + 4096 − 316 pieces (lcm 1664)
    wide = -(-1024 * 4096 * 8 * (20165 + 4096 - 316) // 4096)
    # scores: 16 heads · 8 blocks of 128 rows = 16384 rows on 20480 tiles: 1 row a tile, 128 copies of each
    # block; the same for context (2 row tiles · 4 blocks)
    attention = 2 * 16 * 64 * 128 * 8 * 128
    # softmax: one block per row tile for all 16·128 rows; 2 blocks, 2048 copies each, 64 ones in each
    softmax = 2 * 2048 * 64
    # norm sum: 16 blocks, 128 copies each of 64 ones; norm square: 128 · 16 blocks of its own, 64 · 8 bits
    norms = 2 * (16 * 128 * 64 + 128 * 16 * 64 * 8)
    assert report.counts.latch_bits == 4 * square + 2 * wide + attention + softmax + norms


# --- time ---------------------------------------------------------------------------------------------

ROW_S = 3 * 128 / 1.28e9  # 3 digits, 128 bitlines one after the other: 300 ns


def test_time_of_linear_steps(report: CostReport) -> None:
    """Conversions bound them; the bias additions do not use the function units."""
    # 131072 rows over 20480 tiles: 7 each
    assert step(report, "linear", columns=1024, inner=1024) == pytest.approx(7 * ROW_S, rel=1e-12)
    # 524288 rows: 26 each
    assert step(report, "linear", inner=4096) == pytest.approx(26 * ROW_S, rel=1e-12)
    # GELU of 128 · 4096 values in 256 lanes at 1 GHz, one 26th of it after the last row
    gelu = 128 * 4096 / 256 / 1e9
    assert step(report, "linear", columns=4096) == pytest.approx(26 * ROW_S + gelu / 26, rel=1e-12)


def test_time_of_the_scores(report: CostReport) -> None:
    """One row a tile, so the functions come after it; but the buffer takes longer still."""
    scores = 16 * 128 * 128
    functions = 2 * scores / 256 / 1e9  # max and exp
    assert functions + ROW_S < step(report, "scores")
    # read 128·1024 queries and as many keys of 8 bits, write the scores in 32 bits; max and the subtraction
    # read two words and write one, exp reads one and writes one: 8 words a score
    bits = 2 * 128 * 1024 * 8 + scores * 32 + scores * 32 * (3 + 3 + 2)
    # 4 MiB in 128 banks of 32 KiB, 256 bits each, 1 GHz
    assert step(report, "scores") == pytest.approx(bits / (128 * 256 * 1e9), rel=1e-12)


def test_dense_read_time_of_a_matrix(report: CostReport) -> None:
    """1024 x 4096 weights: 4 symbols each, 65536 a wordline, 20 banks, 110 ns a wordline."""
    # the step also reads the vectors since the last product: 1024 words of bias, 2048 of the norm; the
    # matrix alone fills 256 wordlines, with them 257: 13 rounds of 20 banks
    assert -(-(4 * 1024 * 4096 + 4 * (1024 + 2048)) // 65536) == 257
    wide = next(s for s in report.steps if s.shape == (1, 128, 1024, 4096))
    assert wide.busy_s["dense reads"] == pytest.approx(13 * 110e-9, rel=1e-12)


def test_operand_feed_of_a_square_matrix(report: CostReport) -> None:
    """A cluster of 96 tiles: 7 rows each in (512 bits) and out (16 words), and 7 blocks of 64 x 16 bytes."""
    rows = 96 * 7
    blocks = math.ceil(rows / 128) + 1
    bits = rows * (64 * 8 + 16 * 32) + blocks * 64 * 16 * 8
    square = next(s for s in report.steps if s.shape == (1, 128, 1024, 1024))
    assert square.busy_s["operand feed"] == pytest.approx(bits / (384 * 1e9), rel=1e-12)


# --- energy -------------------------------------------------------------------------------------------


def test_energy_terms(report: CostReport) -> None:
    counts = report.counts
    assert energy(report, "tile converters") == pytest.approx(counts.conversions * 1.67e-12, rel=1e-12)
    assert energy(report, "wordline drivers") == pytest.approx(counts.wordline_drives * 0.39e-12, rel=1e-12)
    # 0.2² V² / 1 MΩ · mean |digit| of -3 ... 3 (12/7) · half of the switches · what the circuit settles in
    heat = 0.04 / 1e6 * (12 / 7) * 0.5 * settling_time_s(preset("wang2024").tile)
    assert energy(report, "fixed resistors") == pytest.approx(counts.crosspoint_digits * heat, rel=1e-12)
    # 0.04 V² · 50.5 µS · (10 ns + 128 / 1.28 GS/s)
    assert energy(report, "dense cells") == pytest.approx(
        counts.dense_symbols * 0.04 * 50.5e-6 * 110e-9, rel=1e-12
    )
    # 2 bits: three of fifteen comparators of a .226 pJ converter
    assert energy(report, "dense converters") == pytest.approx(
        counts.dense_symbols * 0.226e-12 / 5, rel=1e-12
    )
    # nine lanes, one of which works: .1 pJ on 137 µm² of adder, both at 45 nm
    lane_um2 = digital_parts(preset("wang2024"), LIBRARY).function_lane.area_m2.typical * 1e12 / 0.46 / 9
    each = lane_um2 * 0.1e-12 / 137 * 0.659
    assert energy(report, "function units") == pytest.approx(counts.evaluations * each, rel=1e-12)


def test_dense_writes_when_intermediates_live_there(layer: Program, chip: ChipSpec) -> None:
    """Every product's result once, 4 cells of 2 bits, but not the sums with ones."""
    worn = estimate(layer, override(chip, {"buffer.intermediates": "dense"}))
    words = 128 * (4 * 1024 + 4096 + 1024) + 16 * 128 * 128 + 128 * 1024 + 2 * 128
    assert worn.counts.dense_writes == 4 * words
    assert worn.lifetime_s is not None
    cells = 20 * 1024 * 65536
    assert worn.lifetime_s == pytest.approx(1e9 * cells / (4 * words) * worn.latency_s, rel=1e-12)
    assert worn.latency_s >= estimate(layer, chip).latency_s


# --- area ---------------------------------------------------------------------------------------------


def test_area_terms(report: CostReport) -> None:
    area = {term.component: term.total for term in report.area}
    assert area["tile converters"] == pytest.approx(20480 * 1200e-12, rel=1e-12)
    assert area["switch latches"] == pytest.approx(2 * 20480 * 64 * 128 * 0.171e-12, rel=1e-12)
    # 20 banks, 4 F² at 32 nm; half of a bank is cells; 512 converters of 3/15 · 284 µm²
    cells = 20 * 1024 * 65536 * 4 * (32e-9) ** 2
    assert area["dense cells"] == pytest.approx(cells, rel=1e-12)
    assert area["dense periphery"] == pytest.approx(cells, rel=1e-12)
    assert area["dense converters"] == pytest.approx(20 * 512 * 284e-12 / 5, rel=1e-12)
    assert area["SRAM buffer"] == pytest.approx(128 * 0.0523e-6, rel=1e-3)
