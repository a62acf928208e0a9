"""A folder that ``deploy --save`` wrote, as MODEL: the chip that is in it runs, and no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ohmformer.errors import UserError
from ohmformer.specs import preset
from ohmformer.verbs import Setup, generate
from ohmformer.workloads import load_model

Command = Callable[..., Any]
Make = Callable[[str], Path]
# noise that changes answers, so that another chip, seed or order of reads would be seen
LOUD = ("--set", "dense.cell.noise.telegraph_scale=20", "--set", "tile.adc.noise=0.3", "--seed", 3)


def _kept(command: Command, model: Path) -> Path:
    folder = model.parent / "kept"
    assert command("deploy", model, "--save", folder, *LOUD).code == 0
    return folder


def _result(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["result"]
    path.unlink()
    return content


@pytest.mark.parametrize("kind", ["perplexity", "classifier"])
def test_its_score_is_that_of_the_chip_it_was_made_on(
    kind: str, command: Command, make_model: Make, book: Path, table: Path, tmp_path: Path
) -> None:
    """The same fields and seed give the same physical chip and the same reads: the very same metric."""
    task, more = {
        "perplexity": (book, ("--window", 16, "--stride", 8, "--limit", 130)),
        "classifier": (table, ("--test", 16)),
    }[kind]
    model = make_model("classifier" if kind == "classifier" else "llama")
    folder, out = _kept(command, model), tmp_path / "out.json"
    asked = ("--task", task, *more, "--json", out)
    assert command("evaluate", model, *asked, "--no-ideal", *LOUD).code == 0
    there = _result(out)["scores"]
    ended = command("evaluate", folder, *asked, "--report", tmp_path / "out.html")
    assert ended.code == 0, ended.err
    result = _result(out)
    (score,) = result["scores"]
    assert score["metric"] == there[1]["metric"]
    if kind == "perplexity":  # every token counts: the noise is seen
        assert there[1]["metric"] != there[0]["metric"]
    assert (score["seeds"], score["mode"], score["difference"]) == ([3], there[1]["mode"], None)
    assert (score["chip"], score["label"]) == (there[1]["chip"], "wang2024, as deployed")
    assert (result["model"], result["kind"]) == ("kept", kind)
    assert "wang2024, as deployed reaches" in ended.out
    assert "fp32 reaches" not in ended.out


def test_it_writes_the_text_that_its_chip_writes(command: Command, make_model: Make, tmp_path: Path) -> None:
    model, out = make_model("llama"), tmp_path / "out.json"
    folder = _kept(command, model)
    asked = ("the cat", "a red dog", "--max-new-tokens", 6, "--temperature", 1, "--json", out)
    assert command("generate", model, *asked, "--no-ideal", *LOUD).code == 0
    there = _result(out)["texts"]
    assert command("generate", folder, *asked).code == 0
    result = _result(out)
    assert [text["text"] for text in result["texts"]] == [text["text"] for text in there[2:]]
    assert [text["text"] for text in there[2:]] != [text["text"] for text in there[:2]]
    assert (result["seed"], result["texts"][0]["label"]) == (3, "wang2024, as deployed")


def test_no_option_asks_for_another_chip(command: Command, make_model: Make, book: Path) -> None:
    """Also where the value is the one that the folder has."""
    folder = _kept(command, make_model("llama"))
    for option in (
        *(("--chip", "wang2024"), ("--set", "tile.adc.bits=6"), ("--seed", 0), ("--mode", "digit-serial")),
        *(("--noise-scale", 2), ("--ideal",), ("--allow", "erf")),
    ):
        for asked in (("generate", folder, "the cat"), ("evaluate", folder, "--task", book)):
            ended = command(*asked, *option)
            assert ended.code == 2
            assert "holds a deployed model, one physical chip" in ended.sentence
            assert ended.sentence.endswith(f"{option[0]} cannot be given beside it.")


def test_what_needs_the_weights_says_so(
    command: Command, make_model: Make, book: Path, table: Path, tmp_path: Path
) -> None:
    folder = _kept(command, make_model("llama"))
    for asked, said in (
        (("tolerance", folder, book), "tolerance needs the model that it was made of"),
        (("deploy", folder), "one physical chip with its cells, not the model's weights"),
        (
            ("finetune", folder, "--task", table, "--train", 40, "--test", 16, "--cache", tmp_path),
            "one physical chip with its cells",
        ),
        (("evaluate", folder, "--task", table, "--kind", "head"), "a head is trained on vectors of the fp32"),
        (("evaluate", folder, "--task", table, "--kind", "classifier"), "a deployed LlamaForCausalLM"),
    ):
        ended = command(*asked)
        assert ended.code == 2, asked
        assert said in ended.sentence
    with pytest.raises(UserError, match="one physical chip already"):
        generate(str(folder), ["the cat"], [Setup(label="other", chip=preset("wang2024"))])
    with pytest.raises(UserError, match=r"ohmformer\.deploy\.load_deployed reads it"):
        load_model(str(folder), task="causal")


def test_a_record_of_training_goes_with_it(
    command: Command, make_model: Make, table: Path, tmp_path: Path
) -> None:
    """A fine-tuned model, deployed with another seed, would be tested on texts it was trained on."""
    out = tmp_path / "tuned.json"
    trained = ("--train", 40, "--test", 16, "--seed", 5, "--cache", tmp_path / "cache", "--json", out)
    ended = command("finetune", make_model("bert"), "--task", table, *trained)
    assert ended.code == 0, ended.err
    tuned = Path(_result(out)["folder"])
    folder = _kept(command, tuned)
    ended = command("evaluate", folder, "--task", table, "--test", 16)
    assert ended.code == 2
    assert "was fine-tuned on 40 texts" in ended.sentence
    assert "deploy it with --seed 5, then" in ended.sentence


def test_a_damaged_index_is_not_taken_for_another_model(
    command: Command, make_model: Make, book: Path
) -> None:
    """Cut off, the file that tells what the folder holds no longer tells it; the cells beside it do."""
    folder = _kept(command, make_model("llama"))
    index = folder / "ohmformer.json"
    index.write_text(index.read_text(encoding="utf-8")[:100], encoding="utf-8")
    for asked in (("generate", folder, "the cat"), ("evaluate", folder, "--task", book), ("deploy", folder)):
        ended = command(*asked)
        assert ended.code == 2
        assert "ohmformer.json is damaged: the deployed model beside it cannot be read." in ended.sentence
