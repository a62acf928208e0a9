"""The claims beside our numbers, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ohmformer.errors import UserError
from ohmformer.reports.markdown import Table, markdown
from ohmformer.reports.numbers import interval, percent, quantity, significant
from ohmformer.units import MILLI, MM2

__all__ = [
    "SCHEMA",
    "assumption_table",
    "claim_tables",
    "claims_result",
    "implied_table",
    "short_table",
    "verdict_table",
]

SCHEMA = "ohmformer.claims/"
Rows = list[tuple[str, ...]]


def claims_result(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result of a document of the schema ``ohmformer.claims``; another one is refused."""
    if not str(document.get("schema", "")).startswith(SCHEMA):
        raise UserError("This is no result of `ohmformer claims`: its schema is another one.")
    result = document.get("result")
    if not isinstance(result, Mapping) or not {"lines", "implied"} <= set(result):
        raise UserError("The result of `ohmformer claims` lacks its lines or what they imply.")
    return result


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "%":
        return percent(float(value), 0)
    if unit == "×":
        return f"{significant(float(value))}×"
    return f"{significant(float(value), 4 if unit in ('mm²', 'chips') else 3)} {unit}"


def _claimed(line: Mapping[str, Any]) -> str:
    text = _value(line["claimed"], line["unit"])
    return f"{text} {line['relation']}".strip()


def _ours(line: Mapping[str, Any]) -> str:
    if line["typical"] is None:
        return ""
    unit = line["unit"]
    typical, low, high = (_value(line[key], unit) for key in ("typical", "low", "high"))
    return typical if low == high else f"{typical} ({interval(low, high)})"


def _given(item: Mapping[str, Any]) -> str:
    value = item["value"]
    if value is None:
        return "no value in the range"
    shown = str(value) if isinstance(value, (int, str)) else significant(float(value))
    return f"{shown} {item['unit']}".strip().replace(" ×", "×")


def _only_if(line: Mapping[str, Any], most: int = 3) -> str:
    found = [item for item in line["assumptions"] if item["value"] is not None]
    texts = []
    for item in found[:most]:
        stated = f", stated: {item['stated']}" if item["stated"] else ""
        texts.append(f"{item['name']}: {_given(item)} (here {item['given']}{stated})")
    return "; or ".join(texts)


def _verdict(line: Mapping[str, Any]) -> str:
    if line["verdict"] == "not tested":
        return "needs a model hub: not tested here"
    return str(line["verdict"])


def _tested(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [line for line in result["lines"] if line["group"] != "accuracy"]


def verdict_table(result: Mapping[str, Any]) -> Table:
    """Every claim about costs and storage: claimed, ours, plain multipliers, verdict, what it would take."""
    rows: Rows = [
        (
            line["text"],
            _claimed(line),
            _ours(line),
            "" if line["ratio"] is None else f"{significant(float(line['ratio']))}×",
            _value(line["plain"], line["unit"]),
            _verdict(line),
            _only_if(line) if line["verdict"] == "only if" else "",
        )
        for line in _tested(result)
    ]
    return Table(
        (
            "claim",
            "claimed",
            "ours, typical (low … high)",
            "ours / claimed",
            "plain int8 MACs instead of the tiles",
            "verdict",
            "only if",
        ),
        rows,
        right=(3,),
    )


def short_table(result: Mapping[str, Any]) -> Table:
    """The same without what it would take, for a first page."""
    whole = verdict_table(result)
    kept = (0, 1, 2, 4, 5)
    return Table(
        tuple(whole.headings[at] for at in kept), [tuple(row[at] for at in kept) for row in whole.rows]
    )


def assumption_table(result: Mapping[str, Any]) -> Table:
    """Every assumption that was looked at for a claim that is not reproduced as it stands."""
    rows: Rows = []
    for line in _tested(result):
        for item in line["assumptions"]:
            then = item["then"]
            rows.append(
                (
                    line["text"],
                    item["name"] + (f" (stated: {item['stated']})" if item["stated"] else ""),
                    item["given"],
                    item["allowed"],
                    _given(item),
                    _value(item["best"], line["unit"]) if item["value"] is None else "",
                    ""
                    if then is None
                    else f"{significant(then['area_m2'] / MM2)} mm², "
                    f"{quantity(then['latency_s'] / then['sequences'], 's')}, "
                    f"{quantity(then['energy_J'] / then['sequences'], 'J')}",
                )
            )
    return Table(
        (
            "claim",
            "one assumption changed",
            "here",
            "looked at",
            "holds at",
            "best met",
            "the chip then, a sequence",
        ),
        rows,
    )


def _each(values: Mapping[str, Any], text: Any) -> str:
    return "; ".join(f"{key}: {'none' if value is None else text(value)}" for key, value in values.items())


def implied_table(result: Mapping[str, Any]) -> Table:
    """What the area-delay products claimed for processors say about how they were run."""
    rows: Rows = []
    names = [found["processor"] for found in result["implied"]]

    def row(what: str, text: Any) -> None:
        rows.append((what, *(text(found) for found in result["implied"])))

    row("area-delay product, as claimed", lambda f: f"{significant(f['area_delay_mm2_s'])} mm²·s")
    row("die", lambda f: f"{significant(f['area_m2'] / MM2)} mm²")
    row("hence time", lambda f: f"{significant(f['latency_s'] / MILLI)} ms")
    row("tokens of one sequence that takes so long", lambda f: _each(f["tokens"], lambda v: f"{v:.0f}"))
    row(
        "or sequences at once, of 128 and of 384 tokens",
        lambda f: _each(f["batch_at"], lambda v: significant(v)),
    )
    row(
        "TOPS of one sequence of 128, 384, 512 tokens",
        lambda f: _each(f["tops_at"], lambda v: significant(v)),
    )
    row(
        "share of the peak",
        lambda f: "; ".join(
            f"{tokens}: " + ", ".join(f"{percent(share)} of {name}" for name, share in shares.items())
            for tokens, shares in f["share_at"].items()
        ),
    )
    row("energy at the stated power", lambda f: _each(f["energy_J"], lambda v: quantity(v, "J")))
    row("hence the chip's, 69 % below", lambda f: _each(f["chip_energy_J"], lambda v: quantity(v, "J")))
    row(
        "hence the chip's power density at .03 mm²·s",
        lambda f: _each(f["chip_power_density_W_per_mm2"], lambda v: f"{significant(v)} W/mm²"),
    )
    return Table(("", *names), rows)


def accuracy_table(result: Mapping[str, Any]) -> Table:
    """The claims about accuracy, and what was measured here instead."""
    rows: Rows = [
        (line["text"], _verdict(line), line["note"])
        for line in result["lines"]
        if line["group"] == "accuracy"
    ]
    return Table(("claim", "verdict", "measured here instead"), rows)


def note_rows(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The remarks of the claims about costs and storage, each once."""
    return [
        f"{line['text']}: {line['note']}" for line in lines if line["note"] and line["group"] != "accuracy"
    ]


def claim_tables(document: Mapping[str, Any]) -> dict[str, str]:
    """All tables as Markdown, by the name of their markers."""
    result = claims_result(document)
    return {
        "claims": markdown(verdict_table(result)),
        "claims-short": markdown(short_table(result)),
        "claims-notes": "\n".join(f"- {note}" for note in note_rows(result["lines"])),
        "claims-assumptions": markdown(assumption_table(result)),
        "claims-implied": markdown(implied_table(result)),
        "claims-accuracy": markdown(accuracy_table(result)),
    }
