"""A deployed model given to lm-eval gets the very scores that this package gives it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ohmformer.deploy import deploy, on_chip
from ohmformer.specs import ChipSpec
from ohmformer.workloads import (
    ChoiceQuestion,
    LoadedModel,
    RollingScore,
    evaluate_choices,
    load_choices,
    load_model,
    rolling_log_likelihood,
)

from .conftest import WORDS

LENGTHS = (20, 31, 32, 33, 70, 100)  # of the texts; the model takes 32 tokens
QUESTIONS = 24
CHOICE_TASK = """
task: local_choices
dataset_path: json
dataset_kwargs: {{data_files: {file}, cache_dir: {cache}}}
test_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
TEXT_TASK = """
task: local_text
dataset_path: json
dataset_kwargs: {{data_files: {file}, cache_dir: {cache}}}
test_split: train
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: word_perplexity}}, {{metric: byte_perplexity}}, {{metric: bits_per_byte}}]
"""


def sentence(words: int, generator: torch.Generator) -> str:
    drawn = torch.randint(len(WORDS), (words,), generator=generator).tolist()
    return " ".join(WORDS[word] for word in drawn)


class Local:
    """Two task files beside their data, and how to run them without a network."""

    def __init__(self, folder: Path, lengths: tuple[int, ...]) -> None:
        generator = torch.Generator().manual_seed(4)
        self.folder = folder
        self.questions = [
            {
                "question": sentence(5, generator),
                "choices": [sentence(1, generator), sentence(2, generator), sentence(3, generator)],
                "answer": number % 3,
            }
            for number in range(QUESTIONS)
        ]
        self.texts = [sentence(length, generator) for length in lengths]
        self._write("choices", CHOICE_TASK, self.questions)
        self._write("text", TEXT_TASK, [{"text": text} for text in self.texts])

    def _write(self, name: str, task: str, rows: list[Any]) -> None:
        file = self.folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (self.folder / f"{name}.yaml").write_text(task.format(file=file, cache=self.folder / "datasets"))

    def run(self, model: Any, tokenizer: Any, batch: int) -> dict[str, Any]:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        found: dict[str, Any] = simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch),
            tasks=["local_choices", "local_text"],
            task_manager=TaskManager(include_path=str(self.folder), include_defaults=False),
            bootstrap_iters=0,
            log_samples=True,
            verbosity="ERROR",
        )
        return found


def answers(found: dict[str, Any], task: str) -> list[list[float]]:
    """Log likelihoods in the order of the file."""
    samples = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
    if task == "local_text":
        return [[float(sample["filtered_resps"][0])] for sample in samples]
    return [[float(likelihood) for likelihood, _ in sample["filtered_resps"]] for sample in samples]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
        monkeypatch.setenv(name, "1")


@pytest.fixture
def loaded(make_folder: Callable[..., Path]) -> LoadedModel:
    found = load_model(str(make_folder("llama")), task="causal")
    found.tokenizer.eos_token = "no"  # lm-eval begins a text with it
    return found


def float32(total: float, tokens: int) -> Any:
    """lm-eval adds the tokens' log p in float32, this package in float64: n roundings of the partial sum."""
    return pytest.approx(total, rel=max(tokens, 2) * 2.0**-24)


@pytest.mark.usefixtures("offline")
def test_the_same_model_gets_the_same_numbers(tmp_path: Path, loaded: LoadedModel, perfect: ChipSpec) -> None:
    """Multiple choice (sum, and per character) and rolling perplexity, in batches of 1 and of 8, where ours
    are one question or one window each: each log likelihood to the rounding of a float32 sum, each figure to
    what that leaves of it."""
    local = Local(tmp_path, LENGTHS)
    deployed = deploy(loaded.model, perfect)
    asked = load_choices(str(tmp_path / "choices.jsonl"))
    assert asked.questions[0] == ChoiceQuestion(
        question=local.questions[0]["question"], choices=tuple(local.questions[0]["choices"]), answer=0
    )
    choices = evaluate_choices(deployed, loaded.tokenizer, asked)
    scores = [rolling_log_likelihood(deployed, loaded.tokenizer, text) for text in local.texts]
    plain = evaluate_choices(loaded.model, loaded.tokenizer, asked)
    assert any((a != b).any() for a, b in zip(plain.log_likelihoods, choices.log_likelihoods, strict=True))
    whole = RollingScore(
        log_likelihood=sum(score.log_likelihood for score in scores),
        tokens=sum(score.tokens for score in scores),
        words=sum(score.words for score in scores),
        bytes=sum(score.bytes for score in scores),
    )
    for batch in (1, 8):
        found = local.run(deployed, loaded.tokenizer, batch)
        assert type(deployed) is type(loaded.model)
        for theirs, ours in zip(answers(found, "local_choices"), choices.log_likelihoods, strict=True):
            assert theirs == [float32(total, tokens) for tokens, total in enumerate(ours, start=1)]
        for [theirs], score in zip(answers(found, "local_text"), scores, strict=True):
            assert theirs == float32(score.log_likelihood, score.tokens)
        result = found["results"]["local_choices"]
        assert result["acc,none"] == choices.accuracy_sum.value
        assert result["acc_norm,none"] == choices.accuracy_length.value
        assert choices.accuracy_sum.value != choices.accuracy_length.value
        result = found["results"]["local_text"]
        # each text's log p is off by at most ``slack`` of itself, so is their sum, and so are bits per byte;
        # a perplexity is the exponential of it per word or byte
        slack = max(score.tokens for score in scores) * 2.0**-24
        assert result["bits_per_byte,none"] == pytest.approx(whole.bits_per_byte, rel=slack)
        for name in ("word_perplexity", "byte_perplexity"):
            ours = getattr(whole, name)
            assert result[f"{name},none"] == pytest.approx(ours, rel=slack * math.log(ours))
    assert math.isfinite(whole.word_perplexity)


@pytest.mark.usefixtures("offline")
def test_the_same_samples_in_the_same_order_meet_the_same_noise(
    tmp_path: Path, loaded: LoadedModel, loud: ChipSpec
) -> None:
    """Texts of falling length, one window each, are run in this order by both programs: sample for sample the
    noise is the same, however lm-eval batches them, and for choices from one batch size to the other."""
    local = Local(tmp_path, (32, 30, 28, 25, 22, 21, 20, 17, 15))
    deployed = deploy(loaded.model, loud, seed=5)
    chip = on_chip(deployed)

    def ours() -> list[float]:
        chip.restart()
        return [
            rolling_log_likelihood(deployed, loaded.tokenizer, text).log_likelihood for text in local.texts
        ]

    def theirs(batch: int) -> tuple[list[list[float]], list[list[float]]]:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        model = HFLM(pretrained=deployed, tokenizer=loaded.tokenizer, batch_size=batch)
        requests = [
            Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=0)
            for text in local.texts
        ]
        chip.restart()
        rolled = model.loglikelihood_rolling(requests, disable_tqdm=True)
        chip.restart()
        asked = [
            Instance(request_type="loglikelihood", doc={}, arguments=(item["question"], " " + choice), idx=0)
            for item in local.questions
            for choice in item["choices"]
        ]
        answered = [value for value, _ in model.loglikelihood(asked, disable_tqdm=True)]
        return rolled, answered

    expected = ours()
    assert expected == ours()
    quiet = deploy(loaded.model, loud, seed=6)
    assert expected != [
        rolling_log_likelihood(quiet, loaded.tokenizer, text).log_likelihood for text in local.texts
    ]
    one, four = theirs(1), theirs(4)
    for rolled, _ in (one, four):
        assert rolled == [
            float32(total, len(text.split())) for total, text in zip(expected, local.texts, strict=True)
        ]
    assert one == four
