"""Find the folder or file a model's name stands for, and refuse what must not be opened."""

from __future__ import annotations

import json
import os
import pickle
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import CONFIG_MAPPING

from ohmformer.errors import UserError, reason_of
from ohmformer.workloads.packages import EmbeddedModel, embedded_models
from ohmformer.workloads.quiet import quiet_transformers
from ohmformer.workloads.shapes import SHAPES

__all__ = ["Checkpoint", "deployed_index", "find_checkpoint", "read_config_file", "weight_format"]

WeightFormat = Literal["safetensors", "pickle", "gguf"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_TIMEOUT_S = 5.0
_CONFIG_FILES = ["config.json"]
_DEPLOYED = ("ohmformer.json", "ohmformer.deployed/")  # what a deployed model's folder is known by
_TEXT_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model's files: ``path`` is a folder, or a single .gguf or .json file."""

    name: str
    path: Path
    origin: str
    embedded: EmbeddedModel | None = None


def find_checkpoint(name_or_dir: str, *, config_only: bool = False) -> Checkpoint:
    """Resolve an embedded name, a local path or a hub id, in that order.

    Error: UserError naming what was looked for; a hub id without a network ends at once.
    """
    known = embedded_models()
    if name_or_dir in known:
        model = known[name_or_dir]
        package = model.package.name
        located = model.locate()
        origin = f"Python package {package} {model.installed_version}, {model.path}; {model.licence}"
        return Checkpoint(name=name_or_dir, path=located, origin=origin, embedded=model)
    path = Path(name_or_dir).expanduser()
    if path.exists():
        name = path.resolve().name
        return Checkpoint(name=name, path=path, origin=f"local {path}")
    if not _HUB_ID.fullmatch(name_or_dir):
        raise UserError(
            f"There is no file or folder {name_or_dir!r}; give a Hugging Face folder or one of {_names()}."
        )
    folder = _fetch(name_or_dir, config_only)
    origin = f"Hugging Face hub {name_or_dir} at {folder.name}"
    return Checkpoint(name=name_or_dir, path=folder, origin=origin)


def read_config_file(file: Path) -> dict[str, Any]:
    """Read a config.json and refuse one that transformers could not build without foreign code."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{file.parent} holds no config.json, so it is not a Hugging Face folder.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {file}: {reason_of(error)}.") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{file} is not valid JSON: {error.msg} in line {error.lineno}.") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise UserError(f"{file} names no model_type, so the kind of model is not known.")
    kind = config["model_type"]
    if kind not in CONFIG_MAPPING:
        needs = " and would need its own code, which is never run" if "auto_map" in config else ""
        raise UserError(f"The model type {kind!r} in {file} is unknown to transformers{needs}.")
    quantised = config.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "unknown method") if isinstance(quantised, dict) else quantised
        raise UserError(f"{file} describes weights already quantised ({method}); give the unquantised model.")
    return config


def deployed_index(name_or_dir: str | Path) -> dict[str, Any] | None:
    """What is written about the deployed model that a folder holds; None for any other model.

    Error: UserError if it cannot be read beside the cells of a deployed model.
    """
    file = Path(name_or_dir).expanduser() / _DEPLOYED[0]
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        if file.with_name("deployed.safetensors").is_file():
            raise UserError(f"{file} is damaged: the deployed model beside it cannot be read.") from error
        return None
    known = isinstance(index, dict) and str(index.get("schema")).startswith(_DEPLOYED[1])
    return index if known else None


def weight_format(folder: Path) -> WeightFormat:
    """How a folder stores its weights, after a check that they can be opened without running code.

    Error: UserError where there are none, a shard is missing, a file is damaged or carries code.
    """
    safetensors = _shards(folder, "model.safetensors")
    if safetensors:
        for shard in safetensors:
            _check_safetensors(shard)
        return "safetensors"
    pickles = _shards(folder, "pytorch_model.bin")
    if pickles:
        for shard in pickles:
            _check_pickle(shard)
        return "pickle"
    if any(folder.glob("*.gguf")):
        return "gguf"
    if deployed_index(folder) is not None:
        raise UserError(
            f"{folder} holds a deployed model: one physical chip with its cells, not the model's weights; "
            "generate and evaluate run it, ohmformer.deploy.load_deployed reads it, and everything else "
            "needs the model that it was made of."
        )
    raise UserError(
        f"{folder} holds no weights: expected model.safetensors, pytorch_model.bin or one .gguf file."
    )


def _shapes(name: str, config_only: bool) -> str:
    """Where a configuration is enough, the published ones are choices too: the nearest, or all."""
    if not config_only:
        return ""
    near = get_close_matches(name, SHAPES, n=1)
    return f" nor a published configuration ({f'did you mean {near[0]}?' if near else ', '.join(SHAPES)})"


def _names() -> str:
    return ", ".join(sorted(embedded_models()))


def _fetch(hub_id: str, config_only: bool) -> Path:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}

    def fetch(patterns: list[str]) -> Path:
        fetched = snapshot_download(
            hub_id,
            allow_patterns=patterns,
            ignore_patterns=["*/*"],
            etag_timeout=_HUB_TIMEOUT_S,
            local_files_only=offline,
        )
        return Path(fetched)

    try:
        if config_only:
            return fetch(_CONFIG_FILES)
        folder = fetch([*_TEXT_FILES, "*.safetensors"])
        if not any(folder.glob("*.safetensors")):
            folder = fetch([*_TEXT_FILES, "pytorch_model*.bin"])
    except GatedRepoError as error:
        raise UserError(
            f"The hub model {hub_id} is gated: accept its terms there and log in with `hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"The Hugging Face hub has no public model {hub_id}; the embedded models are {_names()}."
        ) from error
    except (OSError, HfHubHTTPError) as error:
        raise UserError(
            f"{hub_id} is neither an embedded model ({_names()}) nor a local folder"
            f"{_shapes(hub_id, config_only)}, and fetching it from the Hugging Face hub needs the network, "
            "which did not answer."
        ) from error
    return folder


def _shards(folder: Path, stem: str) -> list[Path]:
    """The files that hold the weights under ``stem``, whole or through its index; [] if there are none."""
    if (folder / stem).is_file():
        return [folder / stem]
    index = folder / f"{stem}.index.json"
    if not index.is_file():
        return []
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is not a valid index of weight files.") from error
    shards = [folder / name for name in sorted(names)]
    for shard in shards:
        if not shard.is_file():
            raise UserError(f"The checkpoint {folder} lacks the file {shard.name} that its index names.")
    return shards


def _check_safetensors(file: Path) -> None:
    try:
        with safe_open(file, framework="pt") as opened:
            opened.keys()
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged or is no safetensors file: {reason_of(error)}.") from error


def _check_pickle(file: Path) -> None:
    try:
        with quiet_transformers():
            torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{file} is a pickled checkpoint that holds more than tensors and could run code, "
            "so it is refused; save the model as safetensors."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{file} is damaged or is no PyTorch checkpoint.") from error
