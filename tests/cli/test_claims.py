"""``ohmformer claims`` and ``ohmformer limits``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ohmformer.reports.markdown import between, marked


def test_claims_print_every_verdict_and_write_what_a_page_asks_for(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # two claims are enough here: solving for all of them takes longer
    from ohmformer.costs import claims_table
    from ohmformer.verbs import claiming

    monkeypatch.setattr(
        claiming,
        "claim_lines",
        lambda *given, **named: claims_table.claim_lines(*given, **named, claims=claims_table.CLAIMS[1:3]),
    )
    page = tmp_path / "page.md"
    page.write_text(f"top\n{marked('claims-short', 'old')}\n", encoding="utf-8")
    target = tmp_path / "claims.json"
    ended = command("claims", "--json", target, "--page", page, "--tokens", 64)
    assert ended.code == 0, ended.err
    for text in ("reproduced", "only if", "needs a model hub: not tested here", "328", "27,440 mm²"):
        assert text in ended.out
    document = json.loads(target.read_text(encoding="utf-8"))
    assert document["schema"] == "ohmformer.claims/1"
    lines = {line["name"]: line for line in document["result"]["lines"]}
    assert lines["cells_rram"]["verdict"] == "reproduced"
    assert lines["isaac_chips"]["verdict"] == "only if"
    assert document["result"]["tokens"] == 64
    table = between(page.read_text(encoding="utf-8"), "claims-short").splitlines()
    assert table[0].startswith("| claim | claimed | ours")
    assert len(table) == 2 + 2 + 4


def test_limits_answer_for_a_tiny_model(
    command: Callable[..., Any], make_model: Callable[[str], Path], tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(marked("updates", "old"), encoding="utf-8")
    ended = command("limits", make_model("bert"), "--tokens", 8, "--json", "-", "--page", page)
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)["result"]
    assert {item["bits"] for item in result["widths"]} == set(range(2, 17))
    assert {item["node_nm"] for item in result["capacities"]} == {65.0, 45.0, 32.0, 22.0, 14.0, 7.0}
    assert result["updates"][0]["what"] == "all stored words"
    assert "adapters of rank 64" in between(page.read_text(encoding="utf-8"), "updates")


@pytest.mark.parametrize("name", ["claims", "limits"])
def test_a_page_without_markers_is_refused_before_any_work(
    name: str, command: Callable[..., Any], tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here\n", encoding="utf-8")
    target = tmp_path / "out.json"
    ended = command(name, "--page", page, "--json", target)
    assert ended.code == 2
    assert "markers for none of" in ended.sentence
    assert not target.exists()


def test_more_tokens_than_the_model_has_are_refused(command: Callable[..., Any]) -> None:
    assert command("claims", "--tokens", 513).code == 2
