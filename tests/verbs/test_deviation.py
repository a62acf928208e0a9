"""The two modes of a model's products side by side, place by place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ohmformer import chips
from ohmformer.errors import UserError
from ohmformer.verbs.deviation import layer_deviations


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.first, self.second = nn.Linear(96, 64), nn.Linear(64, 40)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 10

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


def test_every_place_is_recorded_and_agrees():
    """4 differences within 3 standard errors; the seed is fixed."""
    x = torch.randn(150, 96, generator=torch.Generator().manual_seed(2))
    rows = layer_deviations(Two(), chips.wang2024_2bit_lossy(), {"x": x}, seed=3)
    assert [(row.layer, row.operation, row.rows) for row in rows] == [
        ("first", "linear", 150),
        ("second", "linear", 150),
    ]
    assert [row.outputs for row in rows] == [150 * 64, 150 * 40]
    for row in rows:
        assert row.sd_reference > 0
        assert row.sd_other != row.sd_reference
        assert abs(row.mean_z) < 3
        assert abs(row.variance_z) < 3


def test_several_runs_add_up():
    x = torch.randn(6, 96, generator=torch.Generator().manual_seed(2))
    chip = chips.wang2024_2bit_lossy()
    once, twice = (layer_deviations(Two(), chip, {"x": x}, runs=runs) for runs in (1, 2))
    assert [row.rows for row in once] == [6, 6]
    assert [row.rows for row in twice] == [12, 12]
    assert once[0].mean_reference != twice[0].mean_reference
    with pytest.raises(UserError, match="runs is 0"):
        layer_deviations(Two(), chip, {"x": x}, runs=0)
