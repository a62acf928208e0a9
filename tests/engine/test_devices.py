"""The torch path gives the same numbers wherever its operands lie, and makes nothing anywhere else.

A GPU is used where there is one; a stand-in that refuses what a GPU refuses, and rounds otherwise where a
GPU may, is used everywhere (``tests/standin.py``).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ohmformer.engine import FastEngine, Mode, ReferenceEngine, ResidentCodes, StoredCells, plan_reads
from ohmformer.engine.conversion_blocks import dense_deviates
from ohmformer.engine.randomness import deviates, random_words
from ohmformer.functions import EXACT, evaluate, function_names, layer_norm, rms_norm, softmax
from ohmformer.numerals import divide, quantise_per_row
from ohmformer.specs import TileSpec, preset

from .. import standin
from .conftest import at

DEVICES = [str(standin.DEVICE), *(["cuda:0"] if torch.cuda.is_available() else [])]
ROWS, INNER, COLUMNS = 3, 70, 24
UNIT = preset("wang2024").function_unit

# tile settings, mode: every way through the engine
WAYS: dict[str, tuple[dict[str, Any], Mode | None]] = {
    "collapsed": ({}, None),
    "collapsed, rare errors": ({"environment_noise": 0.11}, None),
    "collapsed, rare errors with mismatch": ({"environment_noise": 0.11, "mismatch": 0.004}, None),
    "collapsed, many errors": ({"environment_noise": 0.4}, None),
    "collapsed, many errors with mismatch": ({"environment_noise": 0.3, "mismatch": 0.02}, None),
    "digit-serial, step 2": ({"adc_bits": 6, "step": 2}, None),
    "digit-serial, step 6": ({"adc_bits": 4, "step": 6}, None),
    "digit-serial, half up": ({"adc_bits": 5, "step": 3, "rounding": "half_up"}, None),
    "digit-serial, sparse noise": ({"adc_bits": 5, "step": 3, "environment_noise": 0.13}, None),
    "digit-serial, dense noise": (
        {"adc_bits": 5, "step": 2, "environment_noise": 0.5, "adc_noise": 0.2, "mismatch": 0.01},
        None,
    ),
    "digit-serial, few wordlines": ({"adc_bits": 4, "active_wordlines": 16}, None),
    "digit-serial, resident digits": (
        {"adc_bits": 5, "step": 2, "resident_code": "digits", "environment_noise": 0.4},
        None,
    ),
    "digit-serial, floating point": (
        {"radix": 101, "adc_bits": 6, "step": 100, "adc_noise": 0.3, "wordlines": 255},
        None,
    ),
    "statistical": ({"adc_bits": 5, "step": 2, "environment_noise": 0.4}, "statistical"),
    "statistical, mismatch": ({"adc_bits": 5, "step": 6, "mismatch": 0.03}, "statistical"),
    "statistical, radix 9": ({"radix": 9, "adc_bits": 4, "step": 6}, "statistical"),
}


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(torch, "tensor", standin.tensor)
    return torch.device(request.param)


def codes_of(bits: int, *shape: int, seed: int = 0) -> Tensor:
    largest = (1 << (bits - 1)) - 1
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-largest, largest + 1, shape, generator=generator).float()


def residents(bits: int) -> dict[str, Tensor | ResidentCodes]:
    stored = codes_of(bits, COLUMNS, INNER, seed=1)
    return {
        "stored": ResidentCodes(stored, bits),
        "matrix": stored.T.contiguous(),
        "one for each entry": codes_of(bits, 2, INNER, COLUMNS, seed=2),
    }


def on(device: torch.device, resident: Tensor | ResidentCodes) -> Tensor | ResidentCodes:
    return resident.on(device) if isinstance(resident, ResidentCodes) else resident.to(device)


def wired(tile: TileSpec) -> TileSpec:
    return replace(tile, resistor=replace(tile.resistor, wire_resistance_ohm=2.0))


# --- nothing is made on the default device by mistake ------------------------------------------------


def forget_tables() -> None:
    """Empty every cache of a function of the package, so that its tables are made again."""
    for made in gc.get_objects():
        ours = hasattr(type(made), "cache_clear") and getattr(made, "__module__", "").startswith("ohmformer")
        if ours and made.__name__ != "_chosen":
            made.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def fresh() -> None:
    """Tables are made in these tests, not before."""
    forget_tables()


@pytest.fixture(params=["torch", ""])
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The default device is one whose tensors hold nothing; kernels off, then on."""
    monkeypatch.setenv("OHMFORMER_KERNELS", request.param)
    with torch.device("meta"):
        yield


@pytest.mark.parametrize("way", WAYS)
def test_no_product_makes_tensors_on_the_default_device(
    way: str, elsewhere: None, make_tile: Callable[..., TileSpec]
) -> None:
    settings, mode = WAYS[way]
    with torch.device("cpu"):
        streamed, operands, draw = codes_of(8, 2, ROWS, INNER), residents(8), at(2 * ROWS)
    engine = FastEngine(make_tile(**settings), mode)
    given = {"streamed_bits": 8, "resident_bits": 8, "draw": draw}
    for resident in operands.values():
        found = engine.product(streamed, resident, **given)
        assert found.device.type == "cpu"
        with torch.device("cpu"):
            assert torch.equal(found, engine.product(streamed, resident, **given))


@pytest.mark.parametrize("secded", [0, 64])
def test_no_read_makes_tensors_on_the_default_device(secded: int, elsewhere: None) -> None:
    dense = preset("wang2024").dense
    cell = replace(dense.cell, noise=replace(dense.cell.noise, read_noise=0.03, stuck_low_rate=1e-3))
    dense = replace(dense, cell=cell, secded_data_bits=secded)

    def wrong() -> Any:
        with torch.device("cpu"):
            codes, keys = codes_of(8, 64, 40).to(torch.int8), torch.arange(3)
        stores = [StoredCells(codes, 8, dense, 1, "weight")]
        return plan_reads(stores, 2, keys).misreads(0, None, lambda place: codes.reshape(-1)[place])

    found = wrong()
    assert found.position.device.type == "cpu"
    with torch.device("cpu"):
        same = wrong()
    for name in ("sample", "position", "delta"):
        assert torch.equal(getattr(found, name), getattr(same, name))


def test_no_function_makes_tensors_on_the_default_device(elsewhere: None) -> None:
    with torch.device("cpu"):
        x = torch.linspace(-9, 9, 500)
    for name in function_names():
        assert evaluate(name, x, UNIT).device.type == "cpu"
    assert softmax(x.reshape(5, 100), UNIT, EXACT).device.type == "cpu"


# --- the same numbers on every device -------------------------------------------------------------

WIDE = ("collapsed, many errors with mismatch", "digit-serial, dense noise", "statistical, radix 9")


@pytest.mark.parametrize(("way", "bits"), [*((way, 8) for way in WAYS), *((way, 12) for way in WIDE)])
def test_a_product_is_the_same_on_every_device(
    way: str, bits: int, device: torch.device, make_tile: Callable[..., TileSpec]
) -> None:
    settings, mode = WAYS[way]
    engine = FastEngine(make_tile(**settings), mode)
    assert engine.runs == way.split(",")[0]
    for kind, resident in residents(bits).items():
        streamed = codes_of(bits, 2, ROWS, INNER, seed=3)
        given = {"streamed_bits": bits, "resident_bits": bits, "draw": at(2 * ROWS)}
        here = engine.product(streamed, resident, **given)
        there = engine.product(streamed.to(device), on(device, resident), **given)
        assert there.device == device
        assert torch.equal(there.cpu(), here), kind


def test_wires_are_the_same_on_every_device(device: torch.device, make_tile: Callable[..., TileSpec]) -> None:
    tile = wired(make_tile(adc_bits=6, step=2, environment_noise=0.3))
    plain = make_tile(adc_bits=6, step=2, environment_noise=0.3)
    streamed, given = codes_of(8, ROWS, INNER), {"streamed_bits": 8, "resident_bits": 8, "draw": at(ROWS)}
    for mode in (None, "statistical"):
        for resident in residents(8).values():
            if isinstance(resident, Tensor) and resident.ndim == 3:
                continue
            here = FastEngine(tile, mode).product(streamed, resident, **given)
            there = FastEngine(tile, mode).product(streamed.to(device), on(device, resident), **given)
            assert torch.equal(there.cpu(), here)
            assert not torch.equal(here, FastEngine(plain, mode).product(streamed, resident, **given))


def test_the_reference_takes_operands_of_every_device(
    device: torch.device, make_tile: Callable[..., TileSpec]
) -> None:
    engine = ReferenceEngine(make_tile(adc_bits=5, step=2, environment_noise=0.4))
    streamed, resident = codes_of(8, ROWS, 20), codes_of(8, 20, 5)
    given = {"streamed_bits": 8, "resident_bits": 8, "draw": at(ROWS)}
    there = engine.product(streamed.to(device), resident.to(device), **given)
    assert torch.equal(there.cpu(), engine.product(streamed, resident, **given))


def test_random_numbers_are_the_same_on_every_device(device: torch.device) -> None:
    draw = at(5, seed=7, stream=1 << 63)
    far = draw.on(device)
    words = random_words(7, 1 << 63, far.keys, 3, first=2)
    assert words.device == device
    assert torch.equal(words.cpu(), random_words(7, 1 << 63, draw.keys, 3, first=2))
    assert torch.equal(deviates(words).cpu(), deviates(words.cpu()))
    assert torch.equal(dense_deviates(far, 9, 3, 20).cpu(), dense_deviates(draw, 9, 3, 20))


@pytest.mark.parametrize("name", function_names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_functions_are_the_same_on_every_device(name: str, dtype: torch.dtype, device: torch.device) -> None:
    x = torch.randn(4000, generator=torch.Generator().manual_seed(4)).to(dtype) * 8
    edges = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1e-30, 1e30, 2.0**-126, 1e-42])
    x = torch.cat((x, x.exp(), edges.to(dtype)))

    there = evaluate(name, x.to(device), UNIT)
    assert there.device == device
    assert torch.equal(there.cpu().nan_to_num(nan=7.0), evaluate(name, x, UNIT).nan_to_num(nan=7.0))


def test_softmax_and_norms_are_the_same_on_every_device(device: torch.device) -> None:
    # whole numbers of few bits: their sums are exact in any order, what is left is the function unit
    x = codes_of(4, 7, 33)
    gain, shift = codes_of(4, 33, seed=5), codes_of(4, 33, seed=6)
    sums = replace(EXACT, row_sum=lambda row: row.double().sum(-1).float())
    pairs = [
        (layer_norm(a, g, s, 1e-5, UNIT, sums), rms_norm(a, g, 1e-5, UNIT, sums))
        for a, g, s in ((x, gain, shift), (x.to(device), gain.to(device), shift.to(device)))
    ]
    # the squares of a centred row are no whole numbers: their sum may differ in the last place
    assert torch.allclose(pairs[1][0].cpu(), pairs[0][0], rtol=2.0**-12, atol=2.0**-12)
    assert torch.equal(pairs[1][1].cpu(), pairs[0][1])
    found = [softmax(a, UNIT, sums).cpu() for a in (x, x.to(device))]
    assert torch.equal(*found)


def test_a_quotient_is_rounded_once_on_every_device(device: torch.device) -> None:
    x = torch.randn(3000, generator=torch.Generator().manual_seed(8))
    for number in (127, 3, 2047, 0.1):
        assert torch.equal(divide(x.to(device), number).cpu(), x / number)
    here, there = quantise_per_row(x.view(30, 100), 8), quantise_per_row(x.view(30, 100).to(device), 8)
    assert torch.equal(there.codes.cpu(), here.codes)
    assert torch.equal(there.scale.cpu(), here.scale)


def test_the_stand_in_refuses_what_a_gpu_lacks() -> None:
    whole = torch.arange(6).reshape(2, 3).to(standin.DEVICE)
    with pytest.raises(NotImplementedError, match="torch.int64 on CUDA"):
        whole @ whole.T
    with pytest.raises(RuntimeError, match="operands on standin:0 and cpu"):
        whole + torch.ones(3)
    with pytest.raises(AssertionError, match="the address"):
        whole.data_ptr()
    x = torch.arange(1.0, 200.0)
    assert not torch.equal((x.to(standin.DEVICE) / 127).cpu(), x / 127)
