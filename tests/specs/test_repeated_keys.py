"""A key that a chip file gives twice: YAML itself would take the last one in silence."""

from __future__ import annotations

import pytest

from ohmformer import chips
from ohmformer.specs import SpecError, from_yaml, preset, to_yaml


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("base: wang2024\nclock_Hz: 1e9\nclock_Hz: 2e9\n", "clock_Hz", 3),
        ("base: wang2024\ntile:\n  adc:\n    bits: 6\n    step: 1.0\n    bits: 7\n", "bits", 6),
        ("base: wang2024\ntile: {adc: {bits: 6}}\ntile: {wordlines: 64}\n", "tile", 3),
        ("base: wang2024\nbase: wang2024\n", "base", 2),
        ("name: x\nsources: [{a: 1, a: 1}]\n", "a", 2),
    ],
)
def test_a_key_given_twice_is_refused_with_its_line(text: str, key: str, line: int) -> None:
    with pytest.raises(SpecError, match=rf"^a\.yaml gives '{key}' twice \(line {line}\)\.$"):
        from_yaml(text, preset, "a.yaml")


def test_the_same_key_in_two_places_is_none() -> None:
    assert from_yaml(to_yaml(chips.wang2024()), preset) == chips.wang2024()
