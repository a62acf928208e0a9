"""Fine-tuning: learns, is kept, goes on after an interruption, and never leaves half a result."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ohmformer.errors import UserError
from ohmformer.workloads import (
    ClassificationSplit,
    default_cache_dir,
    finetune_classifier,
    load_model,
    predict_classifier,
)
from ohmformer.workloads.cache import make_folder_once

MakeFolder = Callable[..., Path]

ADJECTIVES = {"happy": 1, "good": 1, "fine": 1, "sad": 0, "bad": 0, "awful": 0}


def made_split() -> ClassificationSplit:
    """The label is that of the one adjective in the sentence."""
    pairs = [
        (f"{article} {adjective} {noun} {verb}", label)
        for article in ("the", "a")
        for noun in ("cat", "dog", "tree", "mat")
        for verb in ("sat", "ran", "sat under the mat")
        for adjective, label in ADJECTIVES.items()
    ]
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    train, test = [pairs[at] for at in order[:120]], [pairs[at] for at in order[120:]]
    return ClassificationSplit(
        task_name="adjectives",
        label_names=("gloomy", "cheerful"),
        train_texts=tuple(text for text, _ in train),
        train_labels=tuple(label for _, label in train),
        test_texts=tuple(text for text, _ in test),
        test_labels=tuple(label for _, label in test),
        seed=0,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Stop:
    """A progress callback that acts as Ctrl-C after a number of steps."""

    def __init__(self, after: int) -> None:
        self.after, self.steps = after, list[int]()

    def __call__(self, done: int, total: int) -> None:
        self.steps.append(done)
        if done == self.after:
            raise KeyboardInterrupt


def test_it_learns_and_is_an_ordinary_classifier_folder(make_folder: MakeFolder, tmp_path: Path) -> None:
    base, split = str(make_folder("bert", hidden_dropout_prob=0.0)), made_split()
    seen: list[tuple[int, int]] = []
    folder = finetune_classifier(
        base,
        split,
        epochs=8,
        batch_size=8,
        lr=1e-2,
        cache_dir=tmp_path / "cache",
        progress=lambda *step: seen.append(step),
    )
    assert seen[0] == (1, 120)
    assert seen[-1] == (120, 120)
    loaded = load_model(str(folder), task="classifier")
    assert type(loaded.model).__name__ == "BertForSequenceClassification"
    predicted = predict_classifier(
        loaded.model, loaded.tokenizer, split.test_texts, label_names=split.label_names
    )
    right = int((predicted == np.array(split.test_labels)).sum())
    # 24 unseen sentences; a guesser gets 20 or more with probability 8e-4.
    assert right >= 20
    record = json.loads((folder / "ohmformer_finetune.json").read_text())
    assert record["recipe"]["epochs"] == 8
    assert record["training_texts"] == 120
    assert record["torch"] == torch.__version__
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # no checkpoint, no leftovers

    seen.clear()
    again = finetune_classifier(
        base,
        split,
        epochs=8,
        batch_size=8,
        lr=1e-2,
        cache_dir=tmp_path / "cache",
        progress=lambda *step: seen.append(step),
    )
    assert (again, seen) == (folder, [])


def test_a_decoder_without_a_pad_token_can_be_fine_tuned(
    make_folder: MakeFolder, edit_config: Callable[..., None], tmp_path: Path
) -> None:
    base, split = make_folder("llama"), made_split()
    edit_config(base, pad_token_id=None)
    folder = finetune_classifier(str(base), split, cache_dir=tmp_path / "c")
    loaded = load_model(str(folder), task="classifier")
    assert loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id
    alone = predict_classifier(loaded.model, loaded.tokenizer, split.test_texts, batch_tokens=1)
    together = predict_classifier(loaded.model, loaded.tokenizer, split.test_texts)
    np.testing.assert_array_equal(together, alone)


def test_everything_that_matters_changes_the_name(make_folder: MakeFolder, tmp_path: Path) -> None:
    base, split = str(make_folder("bert")), made_split()
    swapped = ClassificationSplit(
        **{**vars(split), "train_labels": (1 - split.train_labels[0], *split.train_labels[1:])}
    )
    runs: list[tuple[ClassificationSplit, dict[str, Any]]] = [
        (split, {}),
        (split, {"seed": 1}),
        (split, {"lr": 2e-4}),
        (split, {"batch_size": 16}),
        (split, {"max_tokens": 4}),
        (swapped, {}),
    ]
    folders = {finetune_classifier(base, data, cache_dir=tmp_path / "c", **options) for data, options in runs}
    assert len(folders) == len(runs)
    # The place of the base does not matter, only its content.
    moved = Path(base).rename(Path(base).with_name("moved"))
    found = finetune_classifier(str(moved), split, cache_dir=tmp_path / "d")
    assert found.name.rsplit("-", 1)[1] in {folder.name.rsplit("-", 1)[1] for folder in folders}


def test_an_interrupted_run_ends_with_the_same_weights(make_folder: MakeFolder, tmp_path: Path) -> None:
    # Dropout is on: the checkpoint must carry the random state too.
    base, split = str(make_folder("bert")), made_split()
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "checkpoint_steps": 3, "lr": 1e-3}
    whole = finetune_classifier(base, split, cache_dir=tmp_path / "whole", **options)

    cache = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        finetune_classifier(base, split, cache_dir=cache, progress=Stop(8), **options)
    left = [path.name for path in (cache / "finetuned").iterdir()]
    assert left == [f".{whole.name}.checkpoint.safetensors"]  # no folder that looks finished

    resumed = Stop(-1)
    folder = finetune_classifier(base, split, cache_dir=cache, progress=resumed, **options)
    assert resumed.steps == list(range(7, 17))  # from the checkpoint after step 6
    assert same(weights(folder), weights(whole))

    other = tmp_path / "from the start"
    with pytest.raises(KeyboardInterrupt):
        finetune_classifier(base, split, cache_dir=other, progress=Stop(8), **options)
    fresh = Stop(-1)
    folder = finetune_classifier(base, split, cache_dir=other, progress=fresh, resume=False, **options)
    assert fresh.steps == list(range(1, 17))
    assert same(weights(folder), weights(whole))


class Through:
    """A training pass that disturbs the logits, more in later steps; remembers the steps it was asked for."""

    def __init__(self, size: float) -> None:
        self.size, self.asked = size, list[tuple[int, int]]()

    @property
    def identity(self) -> dict[str, Any]:
        return {"disturbance": self.size}

    def on(self, model: Any) -> Callable[[dict[str, torch.Tensor], int, int], torch.Tensor]:
        def forward(inputs: dict[str, torch.Tensor], step: int, steps: int) -> torch.Tensor:
            self.asked.append((step, steps))
            logits: torch.Tensor = model(**inputs).logits
            noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(step))
            return logits + self.size * step * noise

        return forward


def test_training_goes_through_the_pass_it_is_given(make_folder: MakeFolder, tmp_path: Path) -> None:
    base, split = str(make_folder("bert")), made_split()
    options: dict[str, Any] = {"cache_dir": tmp_path / "c", "batch_size": 16, "lr": 1e-3}
    plain = finetune_classifier(base, split, **options)
    silent, loud = Through(0.0), Through(1.0)
    same_again = finetune_classifier(base, split, through=silent, **options)
    other = finetune_classifier(base, split, through=loud, **options)
    assert silent.asked == loud.asked == [(step, 8) for step in range(8)]
    assert len({plain, same_again, other}) == 3  # the pass is part of the name
    assert same(weights(same_again), weights(plain))
    assert not same(weights(other), weights(plain))
    record = json.loads((other / "ohmformer_finetune.json").read_text())
    assert record["through"] == {"disturbance": 1.0}
    assert "through" not in json.loads((plain / "ohmformer_finetune.json").read_text())


def test_an_interrupted_run_through_a_pass_goes_on_in_the_right_step(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    base, split = str(make_folder("bert")), made_split()
    options: dict[str, Any] = {"batch_size": 16, "checkpoint_steps": 3, "lr": 1e-3}
    whole = finetune_classifier(base, split, cache_dir=tmp_path / "a", through=Through(1.0), **options)
    with pytest.raises(KeyboardInterrupt):
        finetune_classifier(
            base, split, cache_dir=tmp_path / "b", through=Through(1.0), progress=Stop(5), **options
        )
    resumed = Through(1.0)
    folder = finetune_classifier(base, split, cache_dir=tmp_path / "b", through=resumed, **options)
    assert resumed.asked == [(step, 8) for step in range(3, 8)]
    assert same(weights(folder), weights(whole))


def test_a_folder_made_from_a_folder_is_named_after_the_first_model(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    base, split = str(make_folder("bert")), made_split()
    first = finetune_classifier(base, split, cache_dir=tmp_path / "c")
    second = finetune_classifier(str(first), split, cache_dir=tmp_path / "c")
    assert second != first
    assert second.name.rsplit("-", 1)[0] == first.name.rsplit("-", 1)[0] == "adjectives-bert"


def test_a_damaged_checkpoint_costs_only_time(make_folder: MakeFolder, tmp_path: Path) -> None:
    base, split = str(make_folder("bert")), made_split()
    with pytest.raises(KeyboardInterrupt):
        finetune_classifier(base, split, cache_dir=tmp_path / "c", progress=Stop(2), checkpoint_steps=1)
    (checkpoint,) = (tmp_path / "c" / "finetuned").iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    steps = Stop(-1)
    finetune_classifier(base, split, cache_dir=tmp_path / "c", progress=steps)
    assert steps.steps == [1, 2, 3, 4]


def test_the_global_generator_is_left_alone(make_folder: MakeFolder, tmp_path: Path) -> None:
    base = str(make_folder("bert"))
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    finetune_classifier(base, made_split(), cache_dir=tmp_path / "c")
    assert torch.rand(1) == expected


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, split = str(make_folder("bert")), made_split()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("ohmformer.workloads.finetune.save_file", full)
        with pytest.raises(UserError, match="No space left on device"):
            finetune_classifier(base, split, cache_dir=tmp_path / "c", checkpoint_steps=1)
    with monkeypatch.context() as patched:
        patched.setattr("transformers.PreTrainedModel.save_pretrained", full)
        with pytest.raises(UserError, match="No space left on device; free some space"):
            finetune_classifier(base, split, cache_dir=tmp_path / "c")
    assert list((tmp_path / "c" / "finetuned").iterdir()) == []


def test_bad_options_are_refused(make_folder: MakeFolder, tmp_path: Path) -> None:
    base, split = str(make_folder("bert")), made_split()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"lr": 0.0}, "learning_rate must be a positive number; got 0.0"),
        ({"lr": float("nan")}, "learning_rate must be a positive number; got nan"),
        ({"checkpoint_steps": 0}, "checkpoint_steps must be at least 1"),
        ({"lr": 1e30}, "Training diverged in step"),
    ]
    for options, part in wrong:
        with pytest.raises(UserError, match=part):
            finetune_classifier(base, split, cache_dir=tmp_path / "c", **options)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="Cannot write the cache folder"):
        finetune_classifier(base, split, cache_dir=tmp_path / "file")


def test_a_folder_is_made_once_and_completely(tmp_path: Path) -> None:
    calls: list[Path] = []

    def fill(folder: Path) -> None:
        calls.append(folder)
        (folder / "a").write_text("done")

    def fail(folder: Path) -> None:
        (folder / "a").write_text("half")
        raise KeyboardInterrupt

    target = tmp_path / "deep" / "made"
    with pytest.raises(KeyboardInterrupt):
        make_folder_once(target, fail)
    assert list(target.parent.iterdir()) == []
    for _ in range(2):
        assert (make_folder_once(target, fill) / "a").read_text() == "done"
    assert len(calls) == 1

    def overtaken(folder: Path) -> None:  # another process finishes first
        fill(folder)
        fill_other = target.parent / "raced"
        fill_other.mkdir()
        (fill_other / "a").write_text("theirs")

    assert (make_folder_once(target.parent / "raced", overtaken) / "a").read_text() == "theirs"
    assert sorted(path.name for path in target.parent.iterdir()) == ["made", "raced"]


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("OHMFORMER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert default_cache_dir() == tmp_path / ".cache" / "ohmformer"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache_dir() == tmp_path / ".cache" / "ohmformer"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg" / "ohmformer"
    monkeypatch.setenv("OHMFORMER_CACHE", "~/own")
    assert default_cache_dir() == tmp_path / "own"
