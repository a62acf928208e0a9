"""Expand a .gguf checkpoint to an ordinary fp32 Hugging Face folder, once, and keep it."""

from __future__ import annotations

import contextlib
import copy
import io
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ohmformer.errors import UserError, reason_of
from ohmformer.workloads.cache import default_cache_dir, file_digest, make_folder_once
from ohmformer.workloads.quiet import quiet_transformers

__all__ = ["expand_gguf", "only_gguf"]


def only_gguf(folder: Path) -> Path:
    """The one .gguf file of a folder."""
    files = sorted(folder.glob("*.gguf"))
    if len(files) != 1:
        listed = ", ".join(file.name for file in files)
        raise UserError(f"{folder} holds {len(files)} .gguf files ({listed}); give the path of one of them.")
    return files[0]


def expand_gguf(file: Path, cache_dir: Path | None = None) -> Path:
    """Write the dequantised model and its tokenizer as a Hugging Face folder in the cache; return it.

    The values are those of transformers' own dequantisation, exactly; reading the .gguf takes about 20 s
    for 134 M parameters, the folder that replaces it (4 bytes a parameter) a fraction of a second.
    The folder's name is a hash of the file's content and of the versions of the code that expands it.
    """
    try:
        versions = "-".join(version(name) for name in ("transformers", "gguf"))
    except PackageNotFoundError as error:
        raise UserError(
            f"{file} needs the Python package {error.name} to be read; run: pip install {error.name}"
        ) from error
    root = default_cache_dir() if cache_dir is None else cache_dir
    target = root / "gguf" / f"{file.stem}-{file_digest(file)[:16]}-{versions}"
    return make_folder_once(target, lambda folder: _convert(file, folder))


def _convert(file: Path, folder: Path) -> None:
    # transformers draws this progress bar past its own switch for them, on the standard error stream.
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        try:
            quantised = AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                dtype=torch.float32,
                attn_implementation="eager",
                local_files_only=True,
                trust_remote_code=False,
            )
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        except Exception as error:  # whatever the reader raises on a foreign file becomes one sentence
            raise UserError(f"{file} cannot be read as a .gguf model: {reason_of(error)}.") from error
        # transformers keeps calling the dense fp32 model "quantised" and will not save it: take a plain one.
        config = copy.deepcopy(quantised.config)
        del config.quantization_config
        plain = type(quantised)._from_config(config, attn_implementation="eager")
        plain.load_state_dict(quantised.state_dict(), assign=True)
        plain.tie_weights()
        plain.generation_config = quantised.generation_config
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
