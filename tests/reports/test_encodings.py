"""The picture and tables of the encoding study, from a document made by hand."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from ohmformer.errors import UserError
from ohmformer.reports.encodings import (
    BOTTOM,
    GAP,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    encoding_picture,
    encoding_tables,
    finding_lines,
)

NS = "{http://www.w3.org/2000/svg}"


def point(radix: int, ms: float | None, mJ: float, **changes: Any) -> dict[str, Any]:
    return {
        "radix": radix,
        "polarity": "shared",
        "group": 64,
        "wordlines": 128,
        "active_wordlines": 128,
        "cycles": 3,
        "resistors": 2,
        "adc_bits": 8,
        "needed_bits": 8,
        "step": 1,
        "error": 0.0,
        "conversions_per_mac": 0.375,
        "area_m2": 1.5e-4,
        "energy_J": mJ * 1e-3,
        "latency_s": 1e-3,
        "equal_area_tiles": 100 if ms is not None else None,
        "equal_area_latency_s": ms * 1e-3 if ms is not None else None,
        "equal_area_energy_J": mJ * 1e-3 if ms is not None else None,
        "on_front": True,
        "on_equal_area_front": True,
    } | changes


@pytest.fixture
def document() -> dict[str, Any]:
    points = [
        point(7, 1.0, 40.0),
        point(3, 2.0, 20.0),
        point(17, 0.5, 80.0, polarity="per_resistor", on_front=False),
        point(5, None, 1.0, on_equal_area_front=False, on_front=False),
        point(7, 1.0, 30.0, adc_bits=5, error=0.05),
        point(7, 1.0, 10.0, adc_bits=1, error=1.5),
    ]
    outcomes = [
        {
            "condition": "as given",
            "front": ["17±, 8 bit", "7, 8 bit"],
            "base_7_on_front": True,
            "fastest": "17±, 8 bit",
            "leanest": "3, 8 bit",
            "base_7": "7, 8 bit",
            "time_over_fastest": 2.0,
            "energy_over_leanest": 2.0,
        },
        {
            "condition": "one bit",
            "front": ["3, 1 bit"],
            "base_7_on_front": False,
            "fastest": "3, 1 bit",
            "leanest": "3, 1 bit",
            "base_7": None,
            "time_over_fastest": None,
            "energy_over_leanest": None,
        },
    ]
    return {
        "schema": "ohmformer.encodings/1",
        "result": {
            "model": "tiny",
            "tokens": 8,
            "plain_area_m2": 1.4e-4,
            "plain_energy_J": 0.01,
            "plain_latency_s": 4e-4,
            "points": points,
            "outcomes": outcomes,
        },
    }


def test_points_stand_at_their_time_and_energy(document: dict[str, Any]) -> None:
    root = ET.fromstring(encoding_picture(document))
    titled = {
        title.text: group for group in root.iter(f"{NS}g") if (title := group.find(f"{NS}title")) is not None
    }
    shown = next(group for text, group in titled.items() if text and text.startswith("base 17"))
    middle = (WIDTH - LEFT - GAP - RIGHT) / 2
    # both axes reach a factor 1.2 beyond the least and the largest: .5 ... 2 ms, 20 ... 80 mJ
    x = LEFT + middle * math.log(1.2) / math.log(4 * 1.44)
    y = BOTTOM - (BOTTOM - TOP) * math.log(80 / 20 * 1.2) / math.log(4 * 1.44)
    corner = shown.find(f"{NS}path")
    assert corner is not None
    first = corner.attrib["d"].removeprefix("M").split("L")[0].split(" ")
    assert float(first[0]) == pytest.approx(x - 4, abs=0.06)
    assert float(first[1]) == pytest.approx(y - 4, abs=0.06)
    # three exact points that fit the area, one lossy one that tells anything
    assert len(titled) == 4


def test_tables_say_what_does_not_fit_and_what_is_lost(document: dict[str, Any]) -> None:
    tables = encoding_tables(document)
    rows = [line.split(" | ") for line in tables["exact"].splitlines()[2:]]
    assert [row[0].removeprefix("| ") for row in rows] == ["7", "3", "17", "5"]
    assert rows[0][8:11] == ["40.0", "1.00", "0.150"]
    assert rows[2][1] == "per resistor"
    assert rows[3][11:] == ["none fits", "none fits", "no |"]
    lost = [line.split(" | ")[2] for line in tables["base-7"].splitlines()[2:]]
    assert lost == ["nothing", "5.0 %"]
    assert "| one bit | no | 3, 1 bit | none fits |  |  |" in tables["conditions"].splitlines()


def test_findings_are_sentences_of_the_numbers(document: dict[str, Any]) -> None:
    document["result"]["points"][4] |= {"energy_J": 0.03, "area_m2": 1.2e-4}
    assert finding_lines(document["result"]) == [
        "Base 7 is on the equal-area front of tiny: 17±, 8 bit; 7, 8 bit. It takes 2.00 times the least time "
        "(17±, 8 bit) and 2.00 times the least energy (3, 8 bit).",
        "Of 2 conditions, one changed at a time, base 7 is off the front for 1: one bit.",
        "Base 7 with 128 active wordlines and 5-bit converters loses 5.0 % of a product (rms), at 0.750 "
        "times the energy and 0.800 times the area-delay product of 128 wordlines and 8 bits.",
        "Plain int8 multipliers in the area of the tiles, beside the same memory: 140 mm², 10.0 mJ, 0.400 "
        "ms; no exact encoding is both faster and leaner at equal area.",
    ]
    document["result"] |= {"plain_energy_J": 0.05, "plain_latency_s": 2e-3}
    assert finding_lines(document["result"])[-1].endswith(
        "some exact encoding is both faster and leaner at equal area."
    )


@pytest.mark.parametrize("broken", [{"schema": "ohmformer.estimate/1"}, {"schema": "ohmformer.encodings/1"}])
def test_another_document_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="ohmformer encodings"):
        encoding_picture(broken)
