"""Text from a tiny decoder, fp32 and on chips."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from ohmformer.deploy import deploy
from ohmformer.verbs import FP32, Setup, generate
from ohmformer.workloads import generate_text, load_model

PROMPTS = ("the cat", "a red dog ran")


@pytest.fixture
def decoder(make_folder) -> str:
    return str(make_folder("llama"))


def test_every_setup_continues_every_prompt(decoder, perfect, loud):
    setups = [FP32, Setup(label="ideal", chip=perfect), Setup(label="noisy", chip=loud)]
    found = generate(decoder, PROMPTS, setups, max_new_tokens=5, seed=3)
    assert [(text.label, text.prompt) for text in found.texts] == [
        (setup.label, prompt) for setup in setups for prompt in PROMPTS
    ]
    loaded = load_model(decoder, task="causal")
    for setup, start in zip(setups, (0, 2, 4), strict=True):
        running = loaded.model if setup.chip is None else deploy(loaded.model, setup.chip, seed=3)
        for text, prompt in zip(found.texts[start : start + 2], PROMPTS, strict=True):
            assert text.text == generate_text(running, loaded.tokenizer, prompt, max_new_tokens=5, seed=3)
            assert text.tokens == len(loaded.tokenizer(text.text, add_special_tokens=False)["input_ids"]) <= 5
            assert text.chip_name == (None if setup.chip is None else "wang2024")
            assert text.mode == ("torch" if setup.chip is None else "collapsed")
            assert text.seconds > 0
    assert (found.seed, found.temperature, found.model) == (3, 0.0, loaded.name)


def test_a_loaded_model_serves_and_the_seed_decides(decoder, loud):
    loaded = load_model(decoder, task="causal")
    setup = [Setup(label="noisy", chip=loud)]

    def texts(seed: int, temperature: float = 0.0) -> list[str]:
        found = generate(loaded, PROMPTS, setup, max_new_tokens=8, seed=seed, temperature=temperature)
        return [text.text for text in found.texts]

    assert texts(1) == texts(1)
    assert any(texts(1, 1.0) != texts(seed, 1.0) for seed in (2, 3, 4))


def test_progress_counts_tokens(decoder):
    seen: list[tuple[str, int, int]] = []
    generate(decoder, PROMPTS[:1], [FP32], max_new_tokens=4, progress=lambda *step: seen.append(step))
    assert seen == [("fp32", done, 4) for done in (1, 2, 3, 4)]
    assert dataclasses.is_dataclass(generate(decoder, PROMPTS[:1], [FP32], max_new_tokens=1).texts[0])


def test_an_encoder_decoder_is_loaded_as_one(decoder, perfect, tmp_path):
    """A folder of a T5 with the llama's tokenizer: what the models answer, without its first token."""
    torch.manual_seed(2)
    tokenizer = load_model(decoder, task="causal").tokenizer
    config = T5Config(
        vocab_size=25,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        eos_token_id=None,
        decoder_start_token_id=0,
        initializer_factor=3.0,
    )
    folder = tmp_path / "t5"
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    setups = [FP32, Setup(label="ideal", chip=perfect)]
    found = generate(str(folder), PROMPTS, setups, max_new_tokens=4)
    loaded = load_model(str(folder), task="seq2seq")
    assert type(loaded.model) is T5ForConditionalGeneration
    for start, running in ((0, loaded.model), (2, deploy(loaded.model, perfect))):
        for text, prompt in zip(found.texts[start : start + 2], PROMPTS, strict=True):
            ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
            output = running.generate(ids, max_new_tokens=4, do_sample=False, num_beams=1)
            assert text.text == tokenizer.decode(output[0, 1:], skip_special_tokens=True)
    assert any(text.text for text in found.texts)
