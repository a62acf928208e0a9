"""A deployed model saved to a folder and restored as the very same physical chip."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, GenerationConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from ohmformer.deploy.calibration import Calibration
from ohmformer.deploy.deploying import install
from ohmformer.deploy.placing import float32_numbers
from ohmformer.deploy.precision_runtime import PreciseRuntime
from ohmformer.deploy.runtime import Runtime
from ohmformer.deploy.state import on_chip
from ohmformer.deploy.storage import (
    StoredParameter,
    float_parameters,
    leave_parameter,
    stored_parameter,
)
from ohmformer.engine import FastEngine, StoredCells
from ohmformer.errors import UserError, reason_of
from ohmformer.specs import ChipSpec, from_yaml, preset, to_yaml

SCHEMA = 3
CHIP_FILE, STATE_FILE, INDEX_FILE = "chip.yaml", "deployed.safetensors", "ohmformer.json"
CALIBRATION_FILE = "calibration.json"


def save_deployed(model: nn.Module, folder: str | Path, tokenizer: Any = None) -> Path:
    """Write a deployed model to ``folder``: chip, codes, scales and every cell that may be misread.

    The folder appears complete or not at all.
    Error: UserError if the model is not deployed, not a Hugging Face model, or the folder exists.
    """
    state = on_chip(model)
    target = Path(folder)
    if not isinstance(model, PreTrainedModel):
        raise UserError(f"Only Hugging Face models can be saved, not a {type(model).__name__}.")
    if target.exists():
        raise UserError(f"{target} exists already: give the name of a new folder.")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    tensors: dict[str, Tensor] = {}
    index: dict[str, Any] = {}
    for identity, entry in state.runtime.parameters.items():
        tensors.update(_tensors(names[identity], entry))
        index[names[identity]] = {"role": entry.role, "bits": entry.bits}
    for name, buffer in model.state_dict().items():
        if name in dict(model.named_buffers()):
            tensors[f"{name}#buffer"] = buffer.contiguous()
    description: dict[str, Any] = {
        "schema": f"ohmformer.deployed/{SCHEMA}",
        "class": type(model).__name__,
        "seed": state.seed,
        "mode": state.mode,
        "samples": state.runtime.samples,
        "allow": list(state.allow),
        "attention": state.runtime.built_for,
        "parameters": index,
    }
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error.strerror or error}.") from error
    try:
        save_file(tensors, temporary / STATE_FILE)
        (temporary / CHIP_FILE).write_text(to_yaml(state.chip), encoding="utf-8")
        calibration = getattr(state.runtime, "calibration", None)
        if calibration is not None:
            calibration.save(temporary / CALIBRATION_FILE)
        description["sha256"] = {file.name: _digest(file) for file in sorted(temporary.iterdir())}
        (temporary / INDEX_FILE).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
        model.config.save_pretrained(temporary)
        if getattr(model, "generation_config", None) is not None:
            model.generation_config.save_pretrained(temporary)
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)
        temporary.chmod(0o755)
        temporary.rename(target)
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot write {target}: {getattr(error, 'strerror', None) or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _tensors(name: str, entry: StoredParameter) -> dict[str, Tensor]:
    found = {f"{name}#codes": entry.codes, f"{name}#scale": entry.scale.contiguous()}
    for part, tensor in entry.cells.state().items():
        found[f"{name}#cells.{part}"] = tensor.contiguous()
    return found


def load_deployed(folder: str | Path) -> PreTrainedModel:
    """The deployed model that ``save_deployed`` wrote: same codes, same cells, same noise from here on.

    Error: UserError for a missing, damaged or changed file, or another schema version.
    """
    source = Path(folder)
    try:
        return _restored(source)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError, SafetensorError) as error:
        reason = reason_of(error)
        if isinstance(error, KeyError):
            reason = f"{reason} is missing"
        raise UserError(f"{source} holds no complete deployed model: {reason}.") from error


@float32_numbers()
def _restored(source: Path) -> PreTrainedModel:
    description = json.loads((source / INDEX_FILE).read_text(encoding="utf-8"))
    if not isinstance(description, dict) or description.get("schema") != f"ohmformer.deployed/{SCHEMA}":
        found = description.get("schema") if isinstance(description, dict) else None
        raise UserError(f"{source} has schema {found!r}: this program reads 'ohmformer.deployed/{SCHEMA}'.")
    for name, digest in description["sha256"].items():
        if _digest(source / name) != digest:
            raise UserError(f"{source / name} is not what was saved: a deployed chip cannot be changed.")
    chip = from_yaml((source / CHIP_FILE).read_text(encoding="utf-8"), preset, str(source / CHIP_FILE))
    tensors = load_file(source / STATE_FILE)
    config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    kind = getattr(transformers, str(description["class"]), None)
    if not (isinstance(kind, type) and issubclass(kind, PreTrainedModel)):
        raise UserError(
            f"{source} names the class {description['class']!r}, which transformers does not have."
        )
    # some modules decide when they are made how they attend: they are made as they were
    config._attn_implementation = "sdpa" if description.get("attention") == "sdpa" else "eager"
    config._experts_implementation = "eager"
    model: PreTrainedModel = kind(config).eval()
    model.set_attn_implementation("eager")
    if (source / GENERATION_CONFIG_NAME).exists():
        model.generation_config = GenerationConfig.from_pretrained(source, local_files_only=True)
    engine, seed = FastEngine(chip.tile, description["mode"]), int(description["seed"])
    stored = source / CALIBRATION_FILE
    calibration = Calibration.load(stored) if stored.exists() else None
    runtime = Runtime(chip, engine, seed)
    if chip.precision.outliers or calibration is not None:
        runtime = PreciseRuntime(
            chip, engine, seed, outliers=chip.precision.outliers, calibration=calibration
        )
    runtime.built_for = str(description.get("attention", "eager"))
    for name, _, _, parameter in float_parameters(model):
        if name not in description["parameters"]:
            raise UserError(f"{source} lacks the weight {name}: it does not fit its own configuration.")
        runtime.parameters[id(parameter)] = _entry(
            name, parameter.shape, description["parameters"][name], tensors, chip, len(runtime.parameters)
        )
        leave_parameter(parameter)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if f"{name}#buffer" in tensors:
                buffer.copy_(tensors[f"{name}#buffer"])
    model = install(model, runtime, tuple(description["allow"]), check=True)
    on_chip(model).restart(int(description["samples"]))
    return model


def _digest(file: Path) -> str:
    """SHA-256 of the chip, its codes and cells, its calibration: what would be another chip if it changed."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _entry(
    name: str,
    shape: torch.Size,
    index: dict[str, Any],
    tensors: dict[str, Tensor],
    chip: ChipSpec,
    place: int,
) -> StoredParameter:
    codes = tensors[f"{name}#codes"]
    if codes.numel() != shape.numel():
        raise UserError(f"The stored weight {name} has another shape than the configuration says.")
    prefix = f"{name}#cells."
    state = {key[len(prefix) :]: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    cells = StoredCells.from_state(state, chip.dense, name)
    bits = int(index["bits"])
    return stored_parameter(
        name, index["role"], shape, codes, tensors[f"{name}#scale"], bits, chip, place, cells
    )
