"""The sample of the statistical mode in C++ is that in torch, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ohmformer.engine import ResidentCodes, statistical
from ohmformer.engine.sampled_errors import sample_tables
from ohmformer.engine.statistical import output_error_law

NATIVE = [
    {"adc_bits": 4, "step": 2},
    {"adc_bits": 5, "step": 2, "environment_noise": 0.3, "mismatch": 0.01},
    {"adc_bits": 3, "step": 4, "resident_code": "digits", "adc_noise": 0.2},
    {"adc_bits": 4, "active_wordlines": 33, "mismatch": 0.05, "wires": 1.0},
    {"adc_bits": 2, "radix": 5, "rounding": "floor", "environment_noise": 0.5},
]


@pytest.mark.parametrize("shape", [(70, 200, 100), (6, 33, 5), (9, 129, 17), (4, 64, 1)], ids=str)
@pytest.mark.parametrize("lossy", NATIVE, ids=str)
@pytest.mark.parametrize("batch", [False, True])
def test_the_sample_is_the_same_natively(make_tile, codes, monkeypatch, lossy, shape, batch):
    """Every law, exactly: stored operands and one for each entry, odd groups, all and some columns."""
    rows, inner, columns = shape
    tile = make_tile(**{name: value for name, value in lossy.items() if name != "wires"})
    tile = replace(tile, resistor=replace(tile.resistor, wire_resistance_ohm=lossy.get("wires", 0.0)))
    streamed, resident = codes(rows, inner), codes(inner, columns, seed=2)
    if batch:
        streamed = streamed.view(2, rows // 2, inner) if rows % 2 == 0 else streamed.unsqueeze(0)
        resident = torch.stack([resident, resident.flip(1)])[: len(streamed)]
    else:
        resident = ResidentCodes(resident.t(), 8)
    found = []
    for torch_only in (False, True):
        if torch_only:
            monkeypatch.setattr(statistical, "sample_kernel", lambda tables: None)
        assert statistical._Job(tile, 8, 8, inner, False).native is not torch_only
        found.append(output_error_law(streamed, resident, tile, 8, 8, by_digit=False))
    for name in ("gain", "centre", "mean", "variance"):
        assert torch.equal(getattr(found[0], name), getattr(found[1], name)), name
    assert float(found[0].mean.abs().sum() + found[0].variance.sum()) > 0


def test_numbers_too_large_for_the_kernel_stay_in_torch(make_tile):
    """Wide codes, and radix 3: 2^24 · Σ 9^i · Σ 4^j is beyond 2^53 with 6 digits and 8 planes."""
    assert sample_tables(make_tile(adc_bits=4, step=2), 8, 8, 64) is not None
    assert sample_tables(make_tile(adc_bits=4, step=2), 16, 8, 64) is None
    assert sample_tables(make_tile(adc_bits=4, step=2, radix=3), 8, 8, 64) is None
