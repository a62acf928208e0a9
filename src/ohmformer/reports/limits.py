"""What a chip holds, what updates take, what widths cost: as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ohmformer.errors import UserError
from ohmformer.reports.markdown import Table, markdown
from ohmformer.reports.numbers import duration, quantity, significant
from ohmformer.units import MILLI, MM2

__all__ = ["SCHEMA", "capacity_table", "limit_tables", "limits_result", "update_table", "width_table"]

SCHEMA = "ohmformer.limits/"
Rows = list[tuple[str, ...]]


def limits_result(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result of a document of the schema ``ohmformer.limits``; another one is refused."""
    if not str(document.get("schema", "")).startswith(SCHEMA):
        raise UserError("This is no result of `ohmformer limits`: its schema is another one.")
    result = document.get("result")
    if not isinstance(result, Mapping) or not {"capacities", "updates", "widths"} <= set(result):
        raise UserError("The result of `ohmformer limits` lacks capacities, updates or widths.")
    return result


def _words(count: int) -> str:
    if count == 0:
        return "0"
    for factor, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if count >= factor:
            return f"{significant(count / factor)} {name}"
    return significant(count)


def capacity_table(result: Mapping[str, Any]) -> Table:
    """One row for each node and cell; for each die area the words beside the chip's rest, and what fits."""
    found = result["capacities"]
    areas = list(dict.fromkeys(item["die_mm2"] for item in found))
    kinds = dict.fromkeys((item["node_nm"], item["cell_bits"]) for item in found)
    rows: Rows = []
    for node, bits in kinds:
        own = {
            item["die_mm2"]: item for item in found if (item["node_nm"], item["cell_bits"]) == (node, bits)
        }
        cells = []
        for area in areas:
            item = own[area]
            fits = f": {item['fits']}" if item["fits"] else ""
            cells.append(f"{_words(item['words'])}{fits}")
        largest = own[areas[-1]]
        package = f": {largest['package_fits']}" if largest["package_fits"] else ""
        rows.append(
            (
                f"{node:g}",
                str(bits),
                significant(float(largest["rest_mm2"])),
                *cells,
                _words(largest["words_alone"]),
                f"{_words(largest['package_words'])}{package}",
            )
        )
    return Table(
        (
            "nm",
            "bits a cell",
            "rest of the chip, mm²",
            *(f"{area:g} mm²" for area in areas),
            f"{areas[-1]:g} mm² of nothing but banks",
            f"{result['dies_per_package']} dies of {areas[-1]:g} mm²",
        ),
        rows,
        right=(0, 1, 2),
    )


def update_table(result: Mapping[str, Any]) -> Table:
    """One row for each kind of update."""
    rows: Rows = [
        (
            item["what"],
            _words(item["words"]),
            quantity(item["energy_J"], "J"),
            quantity(item["time_s"], "s"),
            f"{significant(item['energy_over_run'])}×",
            significant(item["updates"]),
            duration(item["lifetime_s"]),
            significant(item["updates_levelled"]),
        )
        for item in result["updates"]
    ]
    return Table(
        (
            "update",
            "words",
            "energy",
            "time",
            "energy over a run",
            "updates until worn",
            "steps back to back",
            "updates, levelled over all cells",
        ),
        rows,
        right=tuple(range(1, 8)),
    )


def width_table(result: Mapping[str, Any]) -> Table:
    """One row for each width of the operands."""
    rows: Rows = [
        (
            str(item["bits"]),
            str(item["digits"]),
            str(item["word_bits"]),
            str(item["banks"]),
            significant(item["conversions_per_mac"]),
            significant(item["area_m2"] / MM2),
            significant(item["energy_J"] / MILLI),
            significant(item["latency_s"] / MILLI),
            significant(item["area_delay_mm2_s"]),
            significant(item["plain_area_delay_mm2_s"]),
            significant(item["plain_energy_J"] / MILLI),
        )
        for item in result["widths"]
    ]
    return Table(
        (
            "bits",
            "cycles",
            "accumulator",
            "banks",
            "conversions a MAC",
            "mm²",
            "mJ",
            "ms",
            "mm²·s",
            "mm²·s of plain MACs",
            "mJ of plain MACs",
        ),
        rows,
        right=tuple(range(11)),
    )


def limit_tables(document: Mapping[str, Any]) -> dict[str, str]:
    """All tables as Markdown, by the name of their markers."""
    result = limits_result(document)
    return {
        "capacities": markdown(capacity_table(result)),
        "updates": markdown(update_table(result)),
        "widths": markdown(width_table(result)),
    }
