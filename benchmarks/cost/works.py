"""The works: models, what is timed, the bars."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ohmformer.specs import ChipSpec, override, preset

TOKENS = 128
CHIP = "wang2024"

ESTIMATE_BAR_S = 1.5
MEMORY_BAR_MiB = 1024.0
AGAIN_BAR_S = 0.005
SPECS = 10_000
SPECS_BAR_S = 20.0
ZIGZAG_BAR = 1000.0

# hidden size, layers, heads and the rest as published (Meta, 2024)
LLAMA_405B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 16384,
    "intermediate_size": 53248,
    "num_hidden_layers": 126,
    "num_attention_heads": 128,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
}
# a model of the same family that is not timed: it makes the imports happen
TINY: dict[str, dict[str, Any]] = {
    "bert-large": {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "vocab_size": 50,
        "max_position_embeddings": 32,
    },
    "gpt3-175b": {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": 16,
        "n_layer": 1,
        "n_head": 2,
        "n_positions": 32,
        "vocab_size": 50,
    },
    "llama-405b": {
        **LLAMA_405B,
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 32,
    },
}
MODELS = {"bert-large": "BERT-Large", "gpt3-175b": "GPT-3 175B", "llama-405b": "Llama-405B"}


def folder_of(config: dict[str, Any], parent: Path, name: str) -> Path:
    """A folder with ``config`` as its config.json."""
    folder = parent / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def model_of(name: str, parent: Path) -> str:
    """What ``ohmformer estimate`` is given: a name it knows, or a folder with the configuration."""
    return str(folder_of(LLAMA_405B, parent, name)) if name == "llama-405b" else name


def chip() -> ChipSpec:
    """The chip of every work."""
    return preset(CHIP)


def specs(count: int = SPECS) -> Iterator[ChipSpec]:
    """``count`` different chips: tiles, converters, banks, buffers, function units, clocks, nodes."""
    base = chip()
    tiles = []
    for radix, bits, share in itertools.product((3, 5, 7, 9), (6, 8), (32, 128)):
        adc = dataclasses.replace(base.tile.adc, bits=bits, bitlines_per_adc=share)
        numeral = dataclasses.replace(base.tile.numeral, radix=radix)
        tiles.append(dataclasses.replace(base.tile, adc=adc, numeral=numeral))
    choices = itertools.product(
        range(4096, 4096 + 5 * 2048, 2048),
        (20, 24, 32),
        (128, 256, 512),
        (0.5e9, 1e9),
        (2**21, 2**22, 2**23),
        (14.0, 32.0, 45.0),
        range(len(tiles)),
    )
    for tile_count, banks, units, clock, capacity, node, at in itertools.islice(choices, count):
        yield dataclasses.replace(
            base,
            tile_count=tile_count,
            dense_bank_count=banks,
            function_unit_count=units,
            clock_Hz=clock,
            node_nm=node,
            buffer=dataclasses.replace(base.buffer, capacity_bytes=capacity),
            tile=tiles[at],
        )


def few_specs(count: int) -> list[ChipSpec]:
    """Chips that differ in one field from ``wang2024``."""
    return [override(chip(), {"tile_count": 20480 + 64 * step}) for step in range(1, count + 1)]
