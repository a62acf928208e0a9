"""The picture of amplitudes: points, whiskers and lines stand where their values are."""

from __future__ import annotations

import copy
import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from ohmformer.errors import UserError
from ohmformer.reports.amplitudes import BOTTOM, LEFT, PANEL, RIGHT, TOP, amplitude_picture

NS = "{http://www.w3.org/2000/svg}"


def evaluation(kind: str, values: dict[str, list[float | None]], chance: float | None) -> dict[str, Any]:
    return {
        "kind": kind,
        "model": "tiny",
        "task": "words",
        "n": 500,
        "chance": chance,
        "scores": [{"label": label, "values": own} for label, own in values.items()],
    }


@pytest.fixture
def document() -> dict[str, Any]:
    points = [
        {"label": f"{bits}-bit at {x:g}", "chip_name": "x", "cell_bits": bits, "amplitude": x}
        for bits, x in ((1, 10.0), (1, 20.0), (2, 2.5))
    ]
    accuracies = {
        "fp32": [0.8],
        "clean": [0.79, 0.79],
        "1-bit at 10": [0.7, 0.8],
        "1-bit at 20": [0.5, 0.5],
        "2-bit at 2.5": [0.6, 0.7],
    }
    perplexities = {
        "fp32": [15.0],
        "clean": [15.5],
        "1-bit at 10": [20.0],
        "1-bit at 20": [None],
        "2-bit at 2.5": [700.0],
    }
    return {
        "schema": "ohmformer.amplitudes/1",
        "result": {
            "noise": "telegraph",
            "points": points,
            "encoder": evaluation("head", accuracies, 0.5),
            "decoder": evaluation("perplexity", perplexities, None),
        },
    }


def panels(document: dict[str, Any]) -> list[ET.Element]:
    root = ET.fromstring(amplitude_picture(document))
    return [group for group in root.findall(f"{NS}g") if "transform" in group.attrib]


def test_points_and_whiskers_stand_at_their_values(document: dict[str, Any]) -> None:
    first, _ = panels(document)
    # x from 2.5 / 1.25 = 2 to 20 · 1.25 = 25, logarithmic; y from 50 % to 80 %, linear
    dots = first.findall(f".//{NS}circle")
    at = LEFT + (PANEL - RIGHT - LEFT) * math.log(10 / 2) / math.log(25 / 2)
    assert float(dots[0].attrib["cx"]) == pytest.approx(at, abs=0.05)

    def height(accuracy: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (accuracy - 0.5) / 0.3

    assert float(dots[0].attrib["cy"]) == pytest.approx(height(0.75), abs=0.05)
    whiskers = [path.attrib["d"] for path in first.findall(f".//{NS}path") if "h6" in path.attrib["d"]]
    low, high = re.match(r"M[\d.]+ ([\d.]+)V([\d.]+)", whiskers[0]).groups()  # type: ignore[union-attr]
    assert float(low) == pytest.approx(height(0.7), abs=0.05)
    assert float(high) == pytest.approx(height(0.8), abs=0.05)


def test_what_was_measured_is_said(document: dict[str, Any]) -> None:
    first, second = ("".join(panel.itertext()) for panel in panels(document))
    assert "tiny: 500 texts, 2 chips" in first
    assert "fp32 80.0 %; clean 79.0 %" in first
    assert "guessing 50.0 %" in first
    assert "500 tokens, 1 chip" in second
    assert "fp32 15.0; clean 15.5" in second
    assert "guessing" not in second
    assert "telegraph noise" in second


def test_a_perplexity_without_end_is_left_out(document: dict[str, Any]) -> None:
    _, second = panels(document)
    assert len(second.findall(f".//{NS}circle")) == 1


def test_one_panel_alone_and_none(document: dict[str, Any]) -> None:
    alone = copy.deepcopy(document)
    alone["result"]["decoder"] = None
    assert len(panels(alone)) == 1
    alone["result"]["encoder"] = None
    with pytest.raises(UserError, match="neither"):
        amplitude_picture(alone)


def test_a_missing_part_is_named(document: dict[str, Any]) -> None:
    del document["result"]["encoder"]["scores"][2]
    with pytest.raises(UserError, match="1-bit at 10"):
        amplitude_picture(document)


def test_names_cannot_become_markup(document: dict[str, Any]) -> None:
    document["result"]["encoder"]["model"] = "<script>&"
    assert "<script>&" in "".join(ET.fromstring(amplitude_picture(document)).itertext())


def test_a_lost_perplexity_is_left_out_and_counted(document: dict[str, Any]) -> None:
    """A thousand times the perplexity of fp32 would squeeze all else into one line."""
    scores = document["result"]["decoder"]["scores"]
    scores[-1]["values"] = [1001.0 * scores[0]["values"][0]]
    second = "".join(panels(document)[1].itertext())
    assert "2 off the scale" in second  # the infinite one and this one
