"""Unit values: published points, rules between them, refusals, and that each has a source."""

from __future__ import annotations

import itertools

import pytest

from ohmformer.costs import LEVELS, LIBRARY, Interval, converter, storage_area_m2
from ohmformer.costs.converter import MAX_BITS, polarity_comparator
from ohmformer.costs.memory import sram
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
    # one bank of 32 KiB: 8.1 pJ for 256 bits, .059 mm²; 2 KiB: .97 pJ for 128 bits, .0048 mm²
    large, small = sram(32 * 1024), sram(2 * 1024)
    assert large.area_m2.typical == pytest.approx(0.059 * MM2, rel=1e-12)
    assert large.energy_per_bit_J.typical * 256 == pytest.approx(8.1 * PICO, rel=1e-12)
    assert small.area_m2.typical == pytest.approx(0.0048 * MM2, rel=1e-12)
    assert small.energy_per_bit_J.typical * 128 == pytest.approx(0.97 * PICO, rel=1e-12)
    # a point that is not in the table: CACTI 4 KB is; between 4 and 32 KiB, log-log middle
    middle = sram(int(4096 * 8**0.5))
    assert middle.area_m2.typical == pytest.approx((0.0093 * 0.059) ** 0.5 * MM2, rel=1e-3)  # size is rounded
    assert sram(4 * 1024 * 1024).banks == 128


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


def test_node_scaling() -> None:
    assert node_factors(32.0).area == 1
    assert node_factors(45.0).area * 0.46 == pytest.approx(1)
    assert node_factors(7.0).energy == 0.143
    areas = [node_factors(node).area for node in NODES_NM]
    assert areas == sorted(areas)
    with pytest.raises(UserError, match="no scaling factors for node_nm = 28: allowed are 7, 14, 22, 32"):
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
