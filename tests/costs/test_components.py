"""Unit values: published points, rules between them, refusals, and that each has a source."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest

from ohmformer.costs import LEVELS, LIBRARY, Interval, converter, storage_area_m2
from ohmformer.costs.converter import MAX_BITS, converter_table, polarity_comparator
from ohmformer.costs.memory import edram, memory_table, sram
from ohmformer.costs.nodes import NODES_NM, node_factors
from ohmformer.errors import UserError
from ohmformer.units import MM2, PICO, UM2


@pytest.mark.parametrize(
    ("bits", "energy_pJ", "area_um2"),
    [(4, 0.79, 361), (5, 0.99, 477), (6, 1.20, 627), (7, 1.42, 845), (8, 1.67, 1200), (9, 2.583, 1500)],
)
def test_published_converters(bits: int, energy_pJ: float, area_um2: float) -> None:
    part = converter(bits)
    assert part.energy_J.typical == pytest.approx(energy_pJ * PICO, rel=1e-12)
    assert part.area_m2.typical == pytest.approx(area_um2 * UM2, rel=1e-12)


def test_two_bit_converter_is_an_interval() -> None:
    part = converter(2)
    # halved six times from 8 bits; 3 of 15 comparators; the survey model's smallest
    assert part.energy_J.low == pytest.approx(1.67 / 64 * PICO)
    assert part.energy_J.typical == pytest.approx(0.226 / 5 * PICO)
    assert part.energy_J.high == pytest.approx(0.924 * PICO)
    assert "no published converter" in part.source.text


@pytest.mark.parametrize("level", LEVELS)
def test_more_bits_are_never_cheaper(level: str) -> None:
    parts = [converter(bits) for bits in range(1, MAX_BITS + 1)]
    for fewer, more in itertools.pairwise(parts):
        assert fewer.energy_J.at(level) <= more.energy_J.at(level)  # type: ignore[arg-type]
        assert fewer.area_m2.at(level) <= more.area_m2.at(level)  # type: ignore[arg-type]


def test_a_faster_converter_is_several() -> None:
    assert converter(8, 2.56e9).area_m2.typical == pytest.approx(2 * converter(8).area_m2.typical)
    assert converter(8, 2.56e9).energy_J == converter(8).energy_J


@pytest.mark.parametrize("bits", [0, 17, 2.0, True])
def test_impossible_converters_are_refused(bits: int) -> None:
    with pytest.raises(UserError, match="allowed are 1 to 16"):
        converter(bits)


def test_sign_comparator_is_at_most_one_bit_more() -> None:
    sign = polarity_comparator(8)
    assert sign.energy_J.typical == converter(1).energy_J.typical
    assert sign.energy_J.high == pytest.approx((2.583 - 1.67) * PICO)


def test_sram_reproduces_cacti() -> None:
    """CACTI 7's own output for 32 KiB with a 256-bit port, low operating power (six digits are kept)."""
    large, small = sram(32 * 1024), sram(2 * 1024)
    assert large.area_m2.typical == pytest.approx(0.0523 * MM2, rel=1e-3)
    assert large.energy_per_bit_J.typical * 256 == pytest.approx((6.95 + 10.19) / 2 * PICO, rel=1e-3)
    assert large.leakage_W.low < large.leakage_W.typical / 100
    assert small.area_m2.typical == pytest.approx(0.00682 * MM2, rel=1e-3)
    # between two capacities of the table: the log-log middle
    middle = sram(int(2048 * 2**0.5))
    ends = sram(2048).area_m2.typical, sram(4096).area_m2.typical
    assert middle.area_m2.typical == pytest.approx((ends[0] * ends[1]) ** 0.5, rel=1e-3)  # size is rounded
    assert sram(4 * 1024 * 1024).banks == 128
    with pytest.raises(UserError, match="at least 1"):
        sram(0)


def test_embedded_dram() -> None:
    """ISAAC's 64 KB buffer: 20.45 pJ for 256 bits, .083 mm²; CACTI's is 6 % larger, and denser than SRAM."""
    part = edram(64 * 1024)
    assert part.energy_per_bit_J.typical * 256 == pytest.approx(20.45 * PICO, rel=1e-12)
    assert part.area_m2.typical == pytest.approx(0.083 * MM2, rel=1e-12)
    assert part.area_m2.high / part.area_m2.typical == pytest.approx(1.057, rel=1e-3)
    assert part.area_m2.high < sram(64 * 1024).area_m2.low
    assert edram(128 * 1024).banks == 2


@pytest.mark.parametrize("kind", sorted(memory_table()["rows"]))
def test_larger_memories_cost_more(kind: str) -> None:
    rows = memory_table()["rows"][kind]
    for name in ("read_J", "write_J", "area_m2", "leakage_W"):
        values = [rows[size][name] for size in sorted(rows, key=int)]
        assert values == sorted(values)


def test_converter_survey_points() -> None:
    """The high end is the model of arXiv 2404.06553; its closed form at 8 bits, 32 nm, 1.28 GS/s by hand.

    Figure of merit 213.78 - 2.8719 ln f = 153.57 dB is below the 8-bit limit 154.07, so it bounds; energy
    1/(2 · 10^((FoM - SNDR)/10)) = 8.64e-12 ... times exp(26.05 + 1.880 ln 32 - 2.829 ln 8 - 1.470).
    """
    merit = 213.7806687348118 - 2.8719030399529957 * math.log(1.28e9)
    assert merit < 154.0709208277022
    sndr = 8 * 20 * math.log10(2) + 10 * math.log10(1.5)
    plain = 0.5 * 10 ** ((sndr - merit) / 10)
    exponent = 26.0496215686518 + 1.8800369206815004 * math.log(32) - 2.8291256050594527 * math.log(8)
    by_hand = plain * math.exp(exponent - 1.4702022133784405)  # pJ
    assert converter(8).energy_J.high == pytest.approx(by_hand * PICO, rel=1e-5)
    assert "Bits must be >= 4" in converter_table()["refusal_below_4_bits"]
    assert min(row["bits"] for row in converter_table()["rows"]) == 4


def test_frozen_tables_come_from_the_versions_their_script_pins() -> None:
    script = (Path(__file__).parents[2] / "scripts" / "cost_tables.py").read_text(encoding="utf-8")
    pins = dict(re.findall(r"(hwcomponents-\w+)==([\d.]+)", script))
    assert set(pins) == {"hwcomponents-adc", "hwcomponents-cacti"}
    assert f"hwcomponents-adc {pins['hwcomponents-adc']}," in converter_table()["source"]
    assert f"hwcomponents-cacti {pins['hwcomponents-cacti']}," in memory_table()["source"]


@pytest.mark.parametrize("bits", [2, 4, 8, 12])
def test_faster_converters_are_never_cheaper(bits: int) -> None:
    parts = [converter(bits, rate) for rate in (1e6, 1e7, 1e8, 6e8, 1.28e9, 1.3e9, 2.56e9, 1e10)]
    for slow, fast in itertools.pairwise(parts):
        for level in LEVELS:
            assert slow.area_m2.at(level) <= fast.area_m2.at(level) * (1 + 1e-12)
    assert converter(8, 1e8).area_m2.typical < converter(8).area_m2.typical
    with pytest.raises(UserError, match="rate must be positive"):
        converter(8, 0.0)


def test_links() -> None:
    """ISAAC: 4 links, 25.6 GB/s, 10.4 W, 22.88 mm². UCIe: 16 lanes at 16 GT/s."""
    board, package = LIBRARY.board_link, LIBRARY.chip_link
    assert 4 * board.bits_per_s * board.energy_J.typical == pytest.approx(10.4, rel=1e-12)
    assert 4 * board.bits_per_s / 8 == pytest.approx(25.6e9)
    assert 4 * board.area_m2.typical == pytest.approx(22.88 * MM2, rel=1e-12)
    assert package.bits_per_s == 16 * 16e9
    # a module's 64 GB/s both ways lie within the published 22 to 125 GB/s/mm²
    assert 22 <= 2 * package.bits_per_s / 8e9 / (package.area_m2.typical / MM2) <= 125
    assert package.energy_J.high < board.energy_J.low


# (node, area, energy of HP, LP, all from 32 nm): table and polynomials of Stillmaker and Baas at .8 V
NODE_POINTS = (
    (65.0, 1 / 0.31, 0.85980 / 0.358308, 0.85980 / 0.456936),
    (45.0, 1 / 0.46, 0.55686 / 0.358308, 0.69302 / 0.456936),
    (20.0, 0.46, 0.1532 / 0.358308, 0.124858 / 0.456936),
    (14.0, 0.38, 0.096222 / 0.358308, 0.078468 / 0.456936),
    (10.0, 0.22, 0.081614 / 0.358308, 0.066954 / 0.456936),
    (7.0, 0.13, 0.065358 / 0.358308, 0.053094 / 0.456936),
)


@pytest.mark.parametrize(("node", "area", "fast", "frugal"), NODE_POINTS)
def test_node_scaling(node: float, area: float, fast: float, frugal: float) -> None:
    found = node_factors(node)
    assert found.area == area
    assert found.energy_range.low == pytest.approx(min(fast, frugal), rel=1e-4)
    assert found.energy_range.high == pytest.approx(max(fast, frugal), rel=1e-4)
    assert found.energy == pytest.approx((fast * frugal) ** 0.5, rel=1e-4)


def test_low_power_factors_used_for_the_45_nm_blocks() -> None:
    """The library scales 45 nm figures by .659: the published low-power factor."""
    assert 1 / node_factors(45.0).energy_range.low == pytest.approx(0.659, abs=0.0005)


def test_nodes_are_ordered() -> None:
    assert {65, 45, 32, 22, 20, 14, 10, 7} <= set(NODES_NM)
    assert node_factors(32.0).area == node_factors(32.0).energy == 1
    for small, large in itertools.pairwise(map(node_factors, NODES_NM)):
        assert small.area < large.area
        assert small.energy < large.energy
    with pytest.raises(
        UserError, match="no scaling factors for node_nm = 28: allowed are 7, 10, 14, 16, 20, 22"
    ):
        node_factors(28.0)


def test_intervals_refuse_disorder() -> None:
    for wrong in ((2.0, 1.0, 3.0), (-1.0, 0.0, 1.0), (0.0, 1.0, float("inf"))):
        with pytest.raises(UserError, match="must not"):
            Interval(*wrong)
    with pytest.raises(UserError, match="allowed are low, typical and high"):
        Interval(1.0, 2.0, 3.0).at("middle")  # type: ignore[arg-type]


def test_every_component_has_a_source_and_a_price() -> None:
    for part in LIBRARY.components():
        assert part.source.text
        assert part.area_m2.typical > 0 or part.energy_J.typical > 0


@pytest.mark.parametrize(
    ("cell_bits", "area_F2", "square_mm"),
    [(4, 4, 274), (1, 6, 1646), (1, 100, 27440)],
)
def test_175e9_parameters_at_14_nm(cell_bits: int, area_F2: float, square_mm: float) -> None:
    """arXiv 2410.15977's introduction: 274, 1646 and 27440 mm², printed without decimals: within .5."""
    area = storage_area_m2(words=175 * 10**9, bits=8, cell_bits=cell_bits, cell_area_F2=area_F2, node_nm=14)
    assert abs(area / MM2 - square_mm) <= 0.5
    with pytest.raises(UserError):
        storage_area_m2(words=1, bits=0, cell_bits=1, cell_area_F2=4, node_nm=14)
