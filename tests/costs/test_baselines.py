"""Baselines against their published figures, and the comparison's honesty."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from ohmformer.costs import CLAIMS, Baseline, compare, estimate
from ohmformer.costs.baselines import (
    a100,
    a100_peak,
    digital_mac,
    digital_mac_dense,
    digital_mac_sram,
    isaac,
    multi_bit_crossbar,
    pipelayer,
    prime,
    single_bit_crossbar,
    tpu_v4,
    tpu_v4_peak,
    vesti,
)
from ohmformer.costs.baselines.isaac_table import chip_sum, ima_sum, tile_sum
from ohmformer.costs.baselines.multi_bit_crossbar import MULTI_BIT
from ohmformer.costs.baselines.pipelayer import PIPELAYER
from ohmformer.costs.baselines.prime import ARRAY_ROW_S, PRIME
from ohmformer.costs.baselines.roofline import is_bert_large, roofline_s
from ohmformer.costs.baselines.single_bit_crossbar import SINGLE_BIT
from ohmformer.costs.baselines.vesti import ENERGY_PER_BIT_MAC_J
from ohmformer.costs.baselines.weight_stationary import Attention, crossbars_of
from ohmformer.costs.nodes import node_factors
from ohmformer.errors import UserError
from ohmformer.ir import FunctionCall, Product, Program
from ohmformer.specs import override, preset
from ohmformer.units import MM2

Bert = Callable[..., Program]


def test_isaac_sums() -> None:
    """Shafiee et al., ISCA 2016, Table I, within .5 % (the rows are printed to 2 or 3 digits)."""
    assert ima_sum() == pytest.approx((24.08, 0.01312), rel=0.005)
    assert tile_sum() == pytest.approx((329.8, 0.3723), rel=0.005)
    assert chip_sum() == pytest.approx((65.8e3, 85.4), rel=0.005)


def test_conversions_per_mac() -> None:
    assert MULTI_BIT.conversions_per_mac(8, 8) == 0.25
    assert SINGLE_BIT.conversions_per_mac(8, 8) == 0.5


def one_matrix(rows: int = 128) -> Program:
    work = Product(
        module="m", operation="linear", batch=1, rows=rows, inner=1024, columns=1024, resident="weight"
    )
    return Program(name="one", batch=1, tokens=rows, subops=(work,), stored_words=1024 * 1024)


def test_multi_bit_crossbar_by_hand() -> None:
    """1024 x 1024 at 8 bits: 8 · 32 crossbars = 256, 3 tiles; 128 rows of 8 cycles of 100 ns."""
    assert crossbars_of(1024, 1024, 4) == 256
    cost = multi_bit_crossbar(one_matrix(), preset("wang2024"))
    assert cost.latency_s == pytest.approx(128 * 8 * 100e-9, rel=1e-12)
    energy = {term.component: term for term in cost.energy}
    # .25 conversions a MAC
    assert energy["converters"].count == 0.25 * 128 * 1024 * 1024
    assert energy["converters"].total == pytest.approx(0.25 * 128 * 1024**2 * 1.67e-12, rel=1e-12)
    # drivers: 4 mW for 8 crossbars, 100 ns
    assert energy["drivers"].total == pytest.approx(128 * 256 * 8 * 4e-3 / 8 * 100e-9, rel=1e-12)
    area = {term.component: term.total for term in cost.area}
    ima = ("converters", "drivers", "sample and hold", "crossbars", "shift-add", "input registers",
           "output registers")  # fmt: skip
    assert sum(area[name] for name in ima) == pytest.approx(3 * 12 * 0.01312 * MM2, rel=0.005)
    assert area["digital unit"] == 0


def test_rows_flow_through_consecutive_weight_products() -> None:
    two = replace(one_matrix(), subops=one_matrix().subops * 2)
    assert multi_bit_crossbar(two, preset("wang2024")).latency_s == pytest.approx(129 * 8e-7, rel=1e-12)


def test_single_bit_crossbar_needs_twice_the_crossbars(bert_large: Bert) -> None:
    work, chip = bert_large(128), preset("wang2024")
    multi, single = multi_bit_crossbar(work, chip), single_bit_crossbar(work, chip)
    # 24 · 12 · 1024² weights · 4 cells / 128² = 73728 crossbars; twice as many of 1 bit
    assert "73728 crossbars" in multi.notes[0]
    assert "147456 crossbars" in single.notes[0]
    assert single.latency_s == multi.latency_s
    assert single.area_m2 > 1.5 * multi.area_m2


def test_written_attention_states_its_wear(bert_large: Bert) -> None:
    work, chip = bert_large(128), preset("wang2024")
    digital, written = multi_bit_crossbar(work, chip), multi_bit_crossbar(work, chip, attention="written")
    writes = next(term for term in written.energy if term.component == "writes")
    # keys and values of 24 layers, 4 cells a word, 4.6 pJ a 2-bit cell
    assert writes.count == 24 * 2 * 128 * 1024 * 4
    assert writes.total == pytest.approx(writes.count * 4.6e-12, rel=1e-12)
    assert "worn out after" in written.notes[-1]
    assert f"{writes.total * 1e3:.3g} mJ of writes" in digital.notes[-1]


def test_isaac_whole_chips(bert_large: Bert) -> None:
    """1024 x 1024 at 16 bits: 8 · 64 crossbars = 512, on one chip of 168 tiles: 85.4 mm², 16 cycles a row."""
    chip = preset("wang2024")
    cost = isaac(one_matrix(), chip)
    assert "512 crossbars of 128 x 128 in 168 tiles (1.00 chips of 168)" in cost.notes[0]
    own = [t for t in cost.area if t.component not in ("function units", "function tables", "digital unit")]
    assert sum(t.total for t in own) == pytest.approx(85.4 * MM2, rel=0.005)
    assert cost.latency_s == pytest.approx(128 * 16 * 100e-9, rel=1e-12)
    energy = {term.component: term.total for term in cost.energy}
    assert energy["links"] == pytest.approx(10.4 * cost.latency_s, rel=1e-12)
    # a crossbar cycle with its share of a tile: 329.8 mW / 96 · 100 ns, converters by our table (1.67 pJ
    # a conversion, 2.14 mW at 1.28 GS/s against 2 mW: 6.9 % more of 2 / 3.435 of the power)
    on = [v for k, v in energy.items() if k not in ("links", "leakage", "function units", "digital unit")]
    cycles = 128 * 512 * 16
    assert sum(on) == pytest.approx(cycles * 329.8e-3 / 96 * 100e-9 * (1 + 0.0688 * 2 / 3.435), rel=0.005)
    # 24 · 12 · 1024² weights · 8 cells in 2^14: 147456 crossbars, 1536 tiles, ten chips
    assert "(10.00 chips of 168)" in isaac(bert_large(128), chip).notes[0]


def test_pipelayer_reproduces_its_density() -> None:
    """1485 GOPS/mm² at 16 bits; 122.7 TOPS, 859 W and 10.4 W/mm² on 82.63 mm² follow (data of the paper)."""
    density = PIPELAYER.ops_per_s_of_array() / (PIPELAYER.array_area_m2 / MM2)
    assert density == pytest.approx(1485e9, rel=1e-12)
    assert density * 82.63 == pytest.approx(122.7e12, rel=1e-3)
    assert density / PIPELAYER.ops_per_J == pytest.approx(10.4, rel=0.005)
    # 8 bits: half the cells, half the spikes: a quarter of the energy, half the time of a row
    assert PIPELAYER.mac_energy_J(8, 8) == pytest.approx(PIPELAYER.mac_energy_J(16, 16) / 4, rel=1e-12)
    cost = pipelayer(one_matrix(), preset("wang2024"))
    # 8 · ceil(1024 · 2 / 128) = 128 arrays of either sign
    assert "256 arrays" in cost.notes[0]
    assert cost.latency_s == pytest.approx(128 * 8 * 29.31e-9, rel=1e-12)
    work = next(term for term in cost.energy if term.component == "arrays")
    assert work.total == pytest.approx(128 * 1024**2 * 2 / 142.9e9 / 4, rel=1e-12)


def test_prime_is_its_published_rates() -> None:
    assert PRIME.ops_per_s_of_array() / (PRIME.array_area_m2 / MM2) == pytest.approx(1.23e12, rel=1e-12)
    cost = prime(one_matrix(), preset("wang2024"))
    # 4 · ceil(1024 · 2 / 256) = 32 mats of either sign, 3544 µm² each
    arrays = next(term for term in cost.area if term.component == "arrays")
    assert arrays.count == 64
    assert arrays.unit_value == pytest.approx(65536 * 4 * 65e-9**2 / 0.5 * 1.6, rel=1e-12)
    assert cost.latency_s == pytest.approx(128 * ARRAY_ROW_S, rel=1e-12)
    work = next(term for term in cost.energy if term.component == "arrays")
    assert work.total == pytest.approx(128 * 1024**2 * 2 / 2.10e12, rel=1e-12)


@pytest.mark.parametrize("kind", [prime, pipelayer, isaac, single_bit_crossbar])
def test_attention_both_ways(bert_large: Bert, kind: Callable[..., Baseline]) -> None:
    """A digital unit, or writes with their time, energy and wear: both stated, writes slower here."""
    work, chip = bert_large(128, layers=2), preset("wang2024")
    digital, written = kind(work, chip), kind(work, chip, attention="written")
    assert "digital units" in digital.notes[-1]
    assert "ns a wordline" in written.notes[-1]
    assert "worn out after" in written.notes[-1]
    assert written.latency_s > digital.latency_s
    writes = next(t for t in written.energy if t.component == "writes")
    bits = 16 if kind is isaac else 8
    assert writes.total == pytest.approx(2 * 2 * 128 * 1024 * bits * 2.3e-12, rel=1e-12)


def test_a_decode_step_writes_only_the_new_token() -> None:
    """16 heads of 32, 63 cached tokens and a new one: keys 32 x 1 and values 1 x 32 of a head are written."""

    def product(inner: int, columns: int) -> Product:
        return Product(
            module="m",
            operation="attention",
            batch=16,
            rows=1,
            inner=inner,
            columns=columns,
            resident="activation",
        )

    linear, chip = one_matrix(1), preset("wang2024")

    def cost(*between: Product, attention: Attention = "written") -> Baseline:
        step = replace(linear, subops=(*linear.subops, *between), phase="decode", context=63, tokens=1)
        return multi_bit_crossbar(step, chip, attention=attention)

    keys, values = product(32, 64), product(64, 32)
    written = cost(keys, values)
    writes = next(term for term in written.energy if term.component == "writes")
    assert writes.count == 2 * 16 * 32 * 4
    # the cache stays in cells: 16 heads · ceil(64 · 4 / 128) and 16 · ceil(32 · 4 / 128) crossbars
    assert f"{256 + 32 + 16} crossbars" in written.notes[0]
    assert "256 crossbars" in cost(keys, values, attention="digital").notes[0]
    # a new key touches all of its 32 wordlines, a new value is one
    assert cost(keys).latency_s - cost(values).latency_s == pytest.approx(31 * 50e-9)


def test_vesti_by_hand(bert_large: Bert) -> None:
    """40 µJ / 617 M = 64.8 fJ a binary MAC at 65 nm; 64 bit products; scaled by the energy of the nodes."""
    assert pytest.approx(64.8e-15, rel=1e-3) == ENERGY_PER_BIT_MAC_J
    work, chip = bert_large(128, layers=2), preset("wang2024")
    cost = vesti(work, chip)
    arrays = next(term for term in cost.energy if term.component == "SRAM arrays")
    from_65_nm = 1 / node_factors(65.0).energy
    assert arrays.total == pytest.approx(work.macs * 64 * 40e-6 / 617e6 * from_65_nm, rel=1e-12)
    # it fills the area of the tiles, within one array
    whole = estimate(work, chip).area_m2
    assert abs(cost.area_m2 / whole - 1) < 1e-4
    older = vesti(work, replace(chip, node_nm=65.0))
    same = next(term for term in older.energy if term.component == "SRAM arrays")
    assert same.total == pytest.approx(work.macs * 64 * 40e-6 / 617e6, rel=1e-12)


def test_every_alternative_is_in_the_comparison(bert_large: Bert) -> None:
    names = [b.name for b in compare(bert_large(128, layers=1), preset("wang2024")).baselines]
    assert len(set(names)) == len(names)
    families = ("multi_bit_crossbar", "single_bit_crossbar", "isaac", "prime", "pipelayer")
    assert {f"{name}{way}" for name in families for way in ("", "_written")} <= set(names)
    assert {"vesti", "tpu_v4", "a100", "digital_mac", "digital_mac_dense", "digital_mac_sram"} <= set(names)


@pytest.mark.parametrize(("tokens", "published"), [(128, 0.0076), (384, 0.024), (512, 0.032)])
def test_plain_macs(bert_large: Bert, tokens: int, published: float) -> None:
    """193 µm² at 1 GHz: .0076 / .024 / .032 mm²·s, within 2 % (two digits printed, norm sums counted too)."""
    work = bert_large(tokens)
    cost = digital_mac(work, preset("wang2024"))
    assert cost.area_delay_mm2_s == pytest.approx(published, rel=0.02)
    assert cost.energy_J == pytest.approx(work.macs * 0.3e-12 * 0.659, rel=1e-12)
    # whatever the number of units (whole units: within one of thousands)
    fewer = digital_mac(work, override(preset("wang2024"), {"tile_count": 1024}))
    assert fewer.area_delay_mm2_s == pytest.approx(cost.area_delay_mm2_s, rel=1e-12)
    assert fewer.latency_s > 10 * cost.latency_s


def test_macs_with_memory_cost_more_than_without(bert_large: Bert) -> None:
    work, chip = bert_large(128), preset("wang2024")
    plain, dense, sram = (f(work, chip) for f in (digital_mac, digital_mac_dense, digital_mac_sram))
    assert plain.area_delay_mm2_s < dense.area_delay_mm2_s < sram.area_delay_mm2_s
    assert plain.energy_J < dense.energy_J
    # 334 MB in 32 KiB banks of .0523 mm²
    weights = next(term for term in sram.area if term.component == "SRAM for weights")
    assert weights.total == pytest.approx(-(-work.stored_words // 32768) * 0.0523 * MM2, rel=1e-3)


def test_published_latencies_are_used_only_for_bert_large(bert_large: Bert) -> None:
    assert a100(bert_large(128)).latency_s == 1.25e-3
    assert a100(bert_large(384)).latency_s == 2.81e-3
    assert a100(bert_large(128)).basis == "published"
    assert a100(bert_large(128, batch=128)).latency_s == 25.45e-3
    half = a100(bert_large(128, layers=12))
    assert half.basis == "model"
    # 2 · MACs at 14 % of 624 TOPS: 2 · 123.21e9 / 2.81 ms = 87.7 TOPS
    assert half.latency_s == pytest.approx(2 * bert_large(128, layers=12).macs / 87.69e12, rel=1e-3)
    assert not is_bert_large(bert_large(384), 128)


def test_peak_is_a_bound(bert_large: Bert) -> None:
    work = bert_large(384)
    assert a100_peak(work).latency_s < a100(work).latency_s
    assert tpu_v4_peak(work).latency_s < tpu_v4(work).latency_s
    assert tpu_v4_peak(work).latency_s == pytest.approx(2 * work.macs / 275e12)
    with pytest.raises(UserError, match="utilisation is 0"):
        roofline_s(work, 1e12, 1e12, 0)


def test_a_single_token_is_bound_by_the_memory() -> None:
    """One row of 1024 x 1024: a megabyte of weights at 1555 GB/s, more than 2 MOP at the peak."""
    assert a100_peak(one_matrix(rows=1)).latency_s == pytest.approx(1024**2 / 1555e9)


def test_comparison_can_disagree(bert_large: Bert) -> None:
    result = compare(bert_large(128), preset("wang2024"))
    rows = {row.claim.name: row for row in result.claims}
    assert len(rows) == len(CLAIMS)
    adp = rows["adp_chip"]
    assert adp.ours == result.chip["typical"].area_delay_mm2_s
    assert adp.low == result.chip["low"].area_delay_mm2_s
    assert not adp.within
    assert "conversions bound" in adp.reason
    # 2.04 mm²·s on 826 mm² is 2.47 ms
    assert "implies 2.47 ms; here it is 1.25 ms (published)" in rows["adp_a100"].reason
    assert rows["energy_a100"].ours == pytest.approx(1 - result.chip["typical"].energy_J / 0.5)
    assert all(row.comparable for row in result.claims)
    assert all(row.low <= row.ours <= row.high for row in result.claims)


def test_the_verdict_follows_the_numbers(bert_large: Bert) -> None:
    """With one function unit the delay grows, the claim moves further away and the reason changes."""
    work = bert_large(128)
    base = compare(work, preset("wang2024"))
    slow = compare(work, override(preset("wang2024"), {"function_unit_count": 1}))
    find = lambda result: next(row for row in result.claims if row.claim.name == "adp_chip")  # noqa: E731
    assert find(slow).ours > 10 * find(base).ours
    assert "functions bound" in find(slow).reason


def test_other_programs_are_marked_as_not_comparable() -> None:
    result = compare(one_matrix(), preset("wang2024"))
    assert not any(row.comparable for row in result.claims)


def test_comparison_rows_and_json(bert_large: Bert) -> None:
    work, chip = bert_large(128, layers=2), preset("wang2024")
    result = compare(work, chip)
    own, *others = result.rows()
    assert own["area_delay_ratio"] == own["energy_ratio"] == 1
    for row in others:
        baseline = result.baseline(row["name"])
        assert row["energy_ratio"] == baseline.energy_J / estimate(work, chip).energy_J
        assert baseline.notes
        assert baseline.sources
        assert baseline.power_density_W_per_mm2 == pytest.approx(
            baseline.energy_J / baseline.latency_s / (baseline.area_m2 / MM2)
        )
    again = json.loads(json.dumps(result.to_dict()))
    assert [row["name"] for row in again["rows"]] == [row["name"] for row in result.rows()]
    assert again["claims"][0]["source"]["kind"] == "paper"


def test_functions_cost_the_same_everywhere() -> None:
    """A program of functions alone: the crossbar baseline differs by no function energy."""
    call = FunctionCall(module="m", operation="gelu", function="gelu", elements=10**6)
    work = Program(
        name="f", batch=1, tokens=1, subops=(*one_matrix(1).subops, call), stored_words=1024 * 1024
    )
    chip = preset("wang2024")
    ours = next(t.total for t in estimate(work, chip).energy if t.component == "function units")
    theirs = next(t.total for t in multi_bit_crossbar(work, chip).energy if t.component == "function units")
    assert ours == theirs
