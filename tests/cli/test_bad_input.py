"""Bad input: one plain sentence, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

Command = Callable[..., Any]
Make = Callable[[str], Path]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(command: Command, folder: Path, *arguments: object) -> str:
    """The one sentence of a refusal; asserts that no file appeared."""
    before = files(folder)
    ended = command(*arguments)
    assert ended.code == 2, ended.err
    assert ended.out == ""
    assert files(folder) == before
    sentence: str = ended.sentence
    return sentence


def evaluate(model: object, task: object, out: Path, *more: object) -> tuple[object, ...]:
    target = ("--json", out / "out.json", "--report", out / "out.html")
    return "evaluate", model, "--task", task, "--train", 20, "--test", 10, *target, *more


def test_a_missing_file(command: Command, make_model: Make, tmp_path: Path) -> None:
    said = refused(command, tmp_path, *evaluate(make_model("bert"), tmp_path / "none.csv", tmp_path))
    assert "none.csv" in said


def test_a_missing_model(command: Command, table: Path, tmp_path: Path) -> None:
    said = refused(command, tmp_path, *evaluate(tmp_path / "none", table, tmp_path))
    assert "none" in said
    assert "minilm" in said  # what there is


def test_an_unknown_model_type(command: Command, make_model: Make, table: Path, tmp_path: Path) -> None:
    folder = make_model("bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "perceptron9000"}))
    said = refused(command, tmp_path, *evaluate(folder, table, tmp_path))
    assert "perceptron9000" in said


def test_a_table_without_the_column(command: Command, make_model: Make, table: Path, tmp_path: Path) -> None:
    said = refused(
        command, tmp_path, *evaluate(make_model("bert"), table, tmp_path, "--text-column", "headline")
    )
    assert "'headline'" in said
    assert "'text'" in said  # what there is


def test_one_class_only(command: Command, make_model: Make, tmp_path: Path) -> None:
    only = tmp_path / "only.csv"
    only.write_text("text,label\n" + "".join(f"the cat {i},up\n" for i in range(40)))
    said = refused(command, tmp_path, *evaluate(make_model("bert"), only, tmp_path))
    assert "two classes are needed" in said


def test_weights_that_are_not_numbers(
    command: Command, make_model: Make, table: Path, tmp_path: Path
) -> None:
    folder = make_model("bert")
    weights = load_file(folder / "model.safetensors")
    name = "encoder.layer.0.attention.self.query.weight"
    weights[name][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for arguments in (evaluate(folder, table, tmp_path), ("deploy", folder, "--save", tmp_path / "deployed")):
        said = refused(command, tmp_path, *arguments)
        assert name in said
        assert "NaN" in said


def test_a_pickled_checkpoint_that_could_run_code(
    command: Command, make_model: Make, table: Path, tmp_path: Path
) -> None:
    folder = make_model("bert")
    (folder / "model.safetensors").unlink()
    trace = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(trace),)

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Evil()}))
    said = refused(command, tmp_path, *evaluate(folder, table, tmp_path))
    assert "safetensors" in said
    assert not trace.exists()


def test_a_pickled_checkpoint_of_tensors_only_is_taken(
    command: Command, make_model: Make, table: Path, tmp_path: Path
) -> None:
    folder = make_model("bert")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    ended = command(*evaluate(folder, table, tmp_path, "--no-ideal"))
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("tile.numeral.radix=8", "odd radix"),
        ("tile.adc.bits=0", "between 1 and 16"),
        ("dense.cell.noise.telegraph_scale=-1", "between 0 and 1000"),
        ("dense.cell.noise.read_noise=-0.1", "between 0 and 1"),
        ("dense.cell.bit=1", "did you mean 'dense.cell.bits'"),
        ("dense.cell.bits", "path=value"),
        ("dense.cell.bits=two", "whole number"),
    ],
)
def test_impossible_chips(command: Command, tmp_path: Path, setting: str, named: str) -> None:
    """Refused before the model is looked for: there is none of this name."""
    for arguments in (
        evaluate("no such model", "sarcasm", tmp_path, "--set", setting),
        ("estimate", "no such model", "--set", setting),
        ("generate", "no such model", "hello", "--set", setting),
        ("deploy", "no such model", "--set", setting),
        ("chips", "show", "wang2024", "--set", setting),
    ):
        assert named in refused(command, tmp_path, *arguments)


def test_negative_noise_as_an_option(command: Command, tmp_path: Path) -> None:
    said = refused(command, tmp_path, *evaluate("no such model", "sarcasm", tmp_path, "--noise-scale", -1))
    assert "telegraph_scale" in said
    assert "-1" in said


def test_chip_files_that_are_none(command: Command, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("tile: [1, 2\n")
    code = tmp_path / "code.yaml"
    code.write_text(f"base: !!python/object/apply:os.mkdir ['{tmp_path / 'ran'}']\n")
    assert "not readable YAML" in refused(command, tmp_path, "chips", "show", broken)
    assert "not readable YAML" in refused(command, tmp_path, "chips", "show", code)
    assert "none.yaml" in refused(command, tmp_path, "chips", "show", tmp_path / "none.yaml")


def test_sequences_that_are_too_long(
    command: Command, make_model: Make, table: Path, book: Path, tmp_path: Path
) -> None:
    encoder, decoder = make_model("bert"), make_model("llama")
    long = tmp_path / "long.csv"
    lines = table.read_text().splitlines()
    long.write_text("\n".join([lines[0], f"{'cat ' * 40},up", *lines[1:]]) + "\n")
    asks = (
        ("estimate", encoder, "--tokens", 33, "--json", tmp_path / "out.json"),
        evaluate(encoder, long, tmp_path, "--train", 60, "--test", 15),
        evaluate(decoder, book, tmp_path, "--window", 33),
        ("generate", decoder, "cat " * 30, "--max-new-tokens", 5),
    )
    for arguments in asks:
        said = refused(command, tmp_path, *arguments)
        assert "at most 32" in said or "32" in said, said


def test_a_full_disk_leaves_the_old_file_as_it_was(
    command: Command, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flush to disk fails, as it does when the last block does not fit."""
    folder = make_model("bert")
    out = tmp_path / "out.json"
    out.write_text("old")
    before = files(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    ended = command("estimate", folder, "--tokens", 4, "--json", out, "--report", tmp_path / "out.html")
    assert ended.code == 2
    assert "No space left on device" in ended.sentence
    assert out.read_text() == "old"
    assert files(tmp_path) == before


def test_a_limit_of_the_system_on_file_sizes(
    program: Callable[..., Any], make_model: Make, tmp_path: Path
) -> None:
    """Not simulated: the kernel refuses to let any file grow beyond 8 KiB, far below the document's size."""
    folder = make_model("bert")
    before = files(tmp_path)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))"
    process = program("estimate", folder, "--tokens", 4, "--json", tmp_path / "out.json", before=limit)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert "out.json: File too large." in err
    assert "Traceback" not in err
    assert "area-delay" in out  # what was found is shown before it is written
    assert files(tmp_path) == before
