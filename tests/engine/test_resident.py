"""Stored codes: kept once, in the order of the kernels, and given back as they were."""

from __future__ import annotations

import pytest
import torch

from ohmformer.engine import ResidentCodes, native

from .conftest import INSTRUCTION_SETS


@pytest.mark.parametrize("path", [*INSTRUCTION_SETS, "torch"])
@pytest.mark.parametrize(
    ("bits", "dtype"), [(8, torch.int8), (3, torch.int8), (9, torch.int16), (16, torch.int16)]
)
def test_codes_come_back(codes, path, bits, dtype, monkeypatch):
    monkeypatch.setenv(native.VARIABLE, path)
    values = codes(37, 45, bits=bits)
    stored = ResidentCodes(values, bits)
    assert (stored.shape, stored.bits, stored.is_meta) == ((37, 45), bits, False)
    assert (stored.kernels is not None) == (path != "torch" and bits <= 8)
    assert stored.codes().dtype == dtype
    assert torch.equal(stored.codes().float(), values)
    assert torch.equal(stored.floats(), values.t())
    ids = torch.tensor([36, 0, 0, 11])
    assert torch.equal(stored.rows(ids).float(), values[ids])
    assert stored.nbytes == stored.packed.numel() * stored.packed.element_size()
    # packed: panels padded to 32 columns and 4 elements at most, and a sum of four bytes for each column
    assert stored.nbytes <= max(64 * 48 + 64 * 4, 37 * 45 * dtype.itemsize)


def test_only_matrices_are_stored():
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\)"):
        ResidentCodes(torch.zeros(2, 3, 4), 8)


def test_a_shape_alone_is_kept_as_one():
    stored = ResidentCodes(torch.empty(5, 6, device="meta"), 8)
    assert stored.is_meta
    assert stored.kernels is None
    assert stored.floats().shape == (6, 5)
    assert stored.floats().is_meta
