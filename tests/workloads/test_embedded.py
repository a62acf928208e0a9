"""The real models that Python packages carry: they load, and do what they were trained for."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from ohmformer.errors import UserError
from ohmformer.workloads import (
    LoadedModel,
    accuracy_interval,
    default_cache_dir,
    embed,
    embedded_models,
    generate_text,
    load_classification,
    load_config,
    load_model,
    load_text,
    perplexity,
    predict_with_head,
    train_head,
)
from ohmformer.workloads.gguf import expand_gguf, only_gguf

REACTION = "CC(=O)Cl.Nc1ccccc1>>CC(=O)Nc1ccccc1"  # acetyl chloride and aniline give acetanilide


@pytest.fixture(scope="module")
def minilm() -> LoadedModel:
    return load_model("minilm", task="encoder")


@pytest.fixture(scope="module")
def smollm2() -> LoadedModel:
    return load_model("smollm2", task="causal")


def test_each_is_listed_with_its_package_and_licence() -> None:
    listed = embedded_models()
    assert set(listed) == {"minilm", "smollm2", "rxnmapper"}
    for model in listed.values():
        assert model.installed_version == model.package.version
        assert model.locate().exists()
        assert model.licence


def test_minilm_sees_which_sentences_are_alike(minilm: LoadedModel) -> None:
    assert (minilm.max_tokens, type(minilm.model).__name__) == (512, "BertModel")
    vectors = embed(
        minilm.model,
        minilm.tokenizer,
        ["A man is eating food.", "Someone has a meal.", "The stock market fell sharply."],
    )
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike, unlike = unit[0] @ unit[1], unit[0] @ unit[2]
    assert alike > 0.5 > 0.2 > unlike


def test_a_frozen_minilm_tells_sarcastic_headlines_from_serious_ones(minilm: LoadedModel) -> None:
    split = load_classification("sarcasm").split(600, 300, seed=0)
    head = train_head(embed(minilm.model, minilm.tokenizer, split.train_texts), split.train_labels, seed=0)
    predicted = predict_with_head(minilm.model, minilm.tokenizer, head, split.test_texts)
    metric = accuracy_interval(predicted == np.array(split.test_labels))
    # Guessing the commoner class gets 14,950 of 28,498 = .525; the whole interval must lie above.
    assert metric.low > 0.525
    assert metric.n == 300


def test_vectors_of_minilm_do_not_depend_on_the_batching(minilm: LoadedModel) -> None:
    texts = load_classification("sarcasm").texts[:12]
    alone = embed(minilm.model, minilm.tokenizer, texts, batch_tokens=1)
    together = embed(minilm.model, minilm.tokenizer, texts)
    # Six layers with sums of up to 1536 float32 products of order 1, rounding like a random walk:
    # sqrt(6 * 2 * 1536) * 2^-24 = 8e-6 of values of order 1.
    np.testing.assert_allclose(together, alone, atol=5e-5, rtol=0)


def test_rxnmapper_fills_in_masked_atoms(tmp_path: Path) -> None:
    loaded = load_model("rxnmapper", task="masked")
    assert type(loaded.model).__name__ == "AlbertForMaskedLM"
    ids = loaded.tokenizer(REACTION)["input_ids"]
    tokens = loaded.tokenizer.convert_ids_to_tokens(ids)
    assert tokens[0] == "[CLS]"
    assert tokens[-1] == "[SEP]"
    assert "".join(tokens[1:-1]) == REACTION
    assert loaded.tokenizer.unk_token_id not in ids
    rows = torch.tensor(ids).repeat(len(ids) - 2, 1)
    at = torch.arange(1, len(ids) - 1)
    rows[at - 1, at] = loaded.tokenizer.mask_token_id
    with torch.no_grad():
        guessed = loaded.model(input_ids=rows).logits[at - 1, at].argmax(dim=-1)
    right = int((guessed == torch.tensor(ids)[at]).sum())
    # Trained on reactions, it should restore nearly all; the commonest token alone would be right for 12.
    assert right >= 0.8 * len(at)

    loaded.tokenizer.save_pretrained(tmp_path)  # and the tokenizer survives a save
    loaded.model.config.save_pretrained(tmp_path)
    back = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert back(REACTION)["input_ids"] == ids


def test_smiles_tokens_are_taken_whole() -> None:
    tokenizer = load_model("rxnmapper", task="encoder").tokenizer
    text = "[C@@H]Br%10Cl>>[O-]é"
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    assert tokens[1:-1] == ["[C@@H]", "Br", "%10", "Cl", ">>", "[O-]", "[UNK]"]


def test_smollm2_reads_and_writes_english(smollm2: LoadedModel) -> None:
    assert (smollm2.max_tokens, type(smollm2.model).__name__) == (8192, "LlamaForCausalLM")
    assert "quantization_config" not in smollm2.model.config.to_dict()
    metric = perplexity(smollm2.model, smollm2.tokenizer, load_text("wikipedia-sample").text, max_tokens=600)
    # A language model of this size has 15 ... 30 on encyclopedic English; uniform guessing has 49,152,
    # and a single wrong layer or a lost causal mask leaves this range at once.
    assert 10 < metric.low < metric.value < metric.high < 45
    assert metric.n == 599
    text = generate_text(smollm2.model, smollm2.tokenizer, "The capital of France is", max_new_tokens=3)
    assert text.startswith(" Paris")


def test_the_expanded_weights_are_those_of_the_file(smollm2: LoadedModel) -> None:
    file = embedded_models()["smollm2"].locate()
    reader = gguf.GGUFReader(file)
    stored = {tensor.name: tensor for tensor in reader.tensors}
    for name, own in (
        ("blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight"),
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("blk.29.attn_norm.weight", "model.layers.29.input_layernorm.weight"),
    ):
        expected = gguf.quants.dequantize(stored[name].data, stored[name].tensor_type)
        np.testing.assert_array_equal(smollm2.model.get_parameter(own).detach().numpy(), expected)


def test_a_gguf_is_expanded_once_and_opens_in_every_way(smollm2: LoadedModel) -> None:
    file = embedded_models()["smollm2"].locate()
    folder = expand_gguf(file)  # made when the fixture loaded it: this takes no conversion
    assert folder.is_relative_to(default_cache_dir())
    for path in (file, file.parent, folder):
        assert load_config(str(path)).num_hidden_layers == 30
    by_file = load_model(str(file), task="encoder").model
    torch.testing.assert_close(
        by_file.embed_tokens.weight, smollm2.model.model.embed_tokens.weight, rtol=0, atol=0
    )


def test_what_is_no_gguf_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF but nothing else")
    with pytest.raises(UserError, match=r"a\.gguf cannot be read as a \.gguf model"):
        expand_gguf(tmp_path / "a.gguf", tmp_path / "cache")
    assert list((tmp_path / "cache" / "gguf").iterdir()) == []
    (tmp_path / "b.gguf").write_bytes(b"")
    with pytest.raises(UserError, match=r"2 \.gguf files \(a\.gguf, b\.gguf\)"):
        only_gguf(tmp_path)
