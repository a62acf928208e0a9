"""The questions the paper leaves open: capacities, updates and widths against arithmetic by hand."""

from __future__ import annotations

import dataclasses

import pytest

from ohmformer.costs import LIBRARY, estimate
from ohmformer.costs.claims_limits import DIES_PER_PACKAGE, MODELS, capacities, updates, widths
from ohmformer.costs.inventory import area_terms
from ohmformer.errors import UserError
from ohmformer.ir import FunctionCall, Product, Program
from ohmformer.specs import override, preset
from ohmformer.units import MM2

CHIP = preset("wang2024")


def linear(inner: int, columns: int, module: str) -> Product:
    return Product(
        module=module, operation="linear", batch=1, rows=16, inner=inner, columns=columns, resident="weight"
    )


@pytest.fixture
def program() -> Program:
    return Program(
        name="two",
        batch=1,
        tokens=16,
        subops=(linear(256, 512, "a"), linear(512, 256, "b"), linear(512, 256, "b")),
        stored_words=2 * 256 * 512 + 768,
    )


def test_what_fits_a_die_fits_it_and_one_bank_more_does_not() -> None:
    for found in capacities(CHIP, nodes=(32.0, 14.0), cell_bits=(1, 4), areas_mm2=(400.0,)):
        own = override(
            CHIP,
            {
                "node_nm": found.node_nm,
                "dense.cell.bits": found.cell_bits,
                "dense.adc_bits": max(2, found.cell_bits),
            },
        )
        words = own.dense.cells * found.cell_bits // 8
        banks = found.words // words
        assert found.words == banks * words

        def area(count: int, chip: object = own) -> float:
            return sum(term.total for term in area_terms(chip, count, LIBRARY, "typical")) / MM2  # type: ignore[arg-type]

        assert area(banks) <= 400 < area(banks + 1)
        assert found.package_words == DIES_PER_PACKAGE * found.words
        assert found.words_alone > found.words


def test_a_die_smaller_than_the_rest_of_the_chip_holds_nothing() -> None:
    (found,) = capacities(CHIP, nodes=(65.0,), cell_bits=(2,), areas_mm2=(100.0,))
    assert found.rest_mm2 > 100
    assert (found.words, found.fits, found.package_fits) == (0, "", "")


def test_the_model_named_fits_and_the_next_larger_does_not() -> None:
    sizes = dict(MODELS)
    assert list(sizes.values()) == sorted(sizes.values())
    for found in capacities(CHIP):
        larger = [size for size in sizes.values() if size > (sizes[found.fits] if found.fits else 0)]
        assert not found.fits or sizes[found.fits] <= found.words
        assert not larger or larger[0] > found.words


def test_an_update_by_hand(program: Program) -> None:
    """8-bit words in 2-bit cells of 4.6 pJ and 50 ns; 20 banks of 512 converters write at once."""
    whole, rank = updates(program, CHIP, ranks=(4,))
    cells = 4 * (2 * 256 * 512 + 768)
    assert whole.cells == cells
    assert whole.energy_J == pytest.approx(cells * 4.6e-12, rel=1e-12)
    assert whole.time_s == pytest.approx(-(-cells // (20 * 512)) * 50e-9, rel=1e-12)
    assert whole.updates == 1e9
    assert whole.updates_levelled == pytest.approx(1e9 * 20 * 1024 * 65536 / cells, rel=1e-12)
    # two matrices (the second is used twice), 4 · (256 + 512) words beside each
    assert rank.words == 2 * 4 * (256 + 512)
    assert rank.energy_J < whole.energy_J
    report = estimate(program, CHIP)
    assert whole.step_s == pytest.approx(3 * report.latency_s + whole.time_s, rel=1e-12)
    assert whole.lifetime_s == pytest.approx(1e9 * whole.step_s, rel=1e-12)
    assert whole.energy_over_run == pytest.approx(whole.energy_J / report.energy_J, rel=1e-12)


def test_a_program_without_weights_has_nothing_to_update() -> None:
    empty = Program(
        name="empty",
        batch=1,
        tokens=1,
        subops=(FunctionCall(module="", operation="gelu", function="gelu", elements=4),),
        stored_words=0,
    )
    with pytest.raises(UserError, match="no weights"):
        updates(empty, CHIP)


def test_widths_by_hand(program: Program) -> None:
    found = {width.bits: width for width in widths(program, CHIP, bits=(2, 8, 16))}
    # radix 7 covers ±1 with one digit, ±127 with three, ±32767 with six (7⁵ − 1)/2 = 8403 < 32767
    assert [found[bits].digits for bits in (2, 8, 16)] == [1, 3, 6]
    # digits · bits / 64 elements a weight MAC; every product has an inner length of 64's multiple
    assert [found[bits].conversions_per_mac for bits in (2, 8, 16)] == pytest.approx(
        [2 / 64, 3 * 8 / 64, 6 * 16 / 64], rel=1e-12
    )
    # 2 · 15 bits of magnitude, 512 = 2⁹ terms and a sign: 40 bits
    assert [found[bits].word_bits for bits in (2, 8, 16)] == [32, 32, 40]
    report = estimate(program, CHIP)
    assert (found[8].area_m2, found[8].energy_J, found[8].latency_s) == (
        report.area_m2,
        report.energy_J,
        report.latency_s,
    )
    assert found[2].energy_J < found[8].energy_J < found[16].energy_J


def test_a_wider_accumulator_of_the_chip_is_kept(program: Program) -> None:
    wide = dataclasses.replace(CHIP, buffer=dataclasses.replace(CHIP.buffer, word_bits=48))
    assert [width.word_bits for width in widths(program, wide, bits=(2, 16))] == [48, 48]
