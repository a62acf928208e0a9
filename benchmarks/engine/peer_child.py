"""The six linears on another simulator; runs in that simulator's environment, started by ``peers``.

    PYTHON -m benchmarks.engine.peer_child NAME SEQUENCES TOKENS

Answers JSON lines: first {"version", "settings"} or {"absent": why}, then {"cpu_s", "wall_s"} to each request
{"do": "peer" | "fp32", "threads": n}. Settings are as near to our chip's as each simulator offers: 8-bit
operands and converters, a few per cent of Gaussian noise on weights and outputs, tiles of at most 512 lines.
"""

from __future__ import annotations

import copy
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

import torch

from benchmarks.engine.measuring import local
from benchmarks.engine.six_linears import SixLinears, inputs

STEPS = 2**8 - 2  # of an 8-bit converter, as both IBM kits write it
WEIGHT_NOISE = 0.0144  # share of the largest weight: the programming noise of our cells
OUTPUT_NOISE = 0.02
TILE = 512

Forward = Callable[[], object]
Built = tuple[str, str, Forward]  # package, settings, one forward run


def lightning(model: SixLinears, x: tuple[torch.Tensor, ...]) -> Built:
    """aihwkit-lightning; it draws noise only in training mode, so that mode it is, without gradients."""
    from aihwkit_lightning.nn import AnalogLinear
    from aihwkit_lightning.simulator.configs import (
        TorchInferenceRPUConfig,
        WeightNoiseInjectionType,
        WeightQuantizationType,
    )

    config = TorchInferenceRPUConfig()
    config.forward.inp_res = config.forward.out_res = STEPS
    config.forward.out_bound = 10.0
    config.forward.out_noise = OUTPUT_NOISE
    config.forward.out_noise_per_channel = True
    config.pre_post.input_range.enable = True
    config.pre_post.input_range.dynamic = True
    config.modifier.noise_type = WeightNoiseInjectionType.ADD_NORMAL_PER_CHANNEL
    config.modifier.std_dev = WEIGHT_NOISE
    config.modifier.quantization_type = WeightQuantizationType.DISCRETIZE_PER_CHANNEL
    config.modifier.res = STEPS
    config.mapping.max_input_size = TILE
    analog = _replaced(model, lambda layer: AnalogLinear.from_digital(layer, config)).train()
    return (
        "aihwkit-lightning",
        f"training mode (noise on), tiles of {TILE} inputs, 8-bit per-token inputs, 8-bit weights per "
        f"channel with noise {WEIGHT_NOISE}, output noise {OUTPUT_NOISE} per channel, 8-bit outputs",
        lambda: analog(*x),
    )


def _aihwkit(
    config: Any, model: SixLinears, x: tuple[torch.Tensor, ...], tile: str, reading_noise: bool
) -> Built:
    from aihwkit.nn.conversion import convert_to_analog
    from aihwkit.simulator.parameters import (
        BoundManagementType,
        NoiseManagementType,
        WeightNoiseType,
    )

    config.forward.inp_res = config.forward.out_res = 1 / STEPS
    config.forward.out_bound = 10.0
    config.forward.out_noise = OUTPUT_NOISE
    if reading_noise:
        config.forward.w_noise = WEIGHT_NOISE
        config.forward.w_noise_type = WeightNoiseType.ADDITIVE_CONSTANT
    config.forward.noise_management = NoiseManagementType.ABS_MAX
    config.forward.bound_management = BoundManagementType.NONE
    config.mapping.max_input_size = config.mapping.max_output_size = TILE
    analog = convert_to_analog(copy.deepcopy(model), config).eval()
    analog.drift_analog_weights(1.0)
    return (
        "aihwkit",
        f"{tile}, evaluation, {TILE} x {TILE}, 8-bit inputs scaled per token, 8-bit outputs, "
        f"read noise of weights {WEIGHT_NOISE if reading_noise else 0}, output noise {OUTPUT_NOISE}, "
        "programmed once with its PCM model",
        lambda: analog(*x),
    )


def aihwkit(model: SixLinears, x: tuple[torch.Tensor, ...]) -> Built:
    """aihwkit with its compiled tiles."""
    from aihwkit.simulator.configs import InferenceRPUConfig

    return _aihwkit(InferenceRPUConfig(), model, x, "compiled tiles", True)


def aihwkit_torch(model: SixLinears, x: tuple[torch.Tensor, ...]) -> Built:
    """aihwkit with its tiles written in torch, which have no read noise of weights."""
    from aihwkit.simulator.configs import TorchInferenceRPUConfig

    return _aihwkit(TorchInferenceRPUConfig(), model, x, "tiles in torch", False)


def memintelli(model: SixLinears, x: tuple[torch.Tensor, ...]) -> Built:
    """Memintelli: bit slices and a converter for every slice pair; a linear at a time, rows in blocks."""
    from memintelli.NN_layers import LinearMem
    from memintelli.pimpy import DPETensor

    lines, rows = 128, 128
    engine = DPETensor(
        var=WEIGHT_NOISE,
        g_level=4,
        rdac=2**4,
        radc=2**8,
        weight_quant_gran=(lines, lines),
        weight_paral_size=(lines, lines),
        input_quant_gran=(1, lines),
        input_paral_size=(1, lines),
        device=torch.device("cpu"),
    )

    def converted(layer: torch.nn.Linear) -> Any:
        mem = LinearMem(
            engine,
            layer.in_features,
            layer.out_features,
            input_slice=(1, 1, 2, 4),
            weight_slice=(1, 1, 2, 2, 2),
        )
        mem.load_state_dict(layer.state_dict())
        mem.update_weight()
        return mem

    class InBlocks(torch.nn.Module):
        def __init__(self, layer: torch.nn.Linear) -> None:
            super().__init__()
            self.mem = converted(layer)

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            flat = values.flatten(0, -2)
            parts: list[torch.Tensor] = [self.mem(part) for part in flat.split(rows)]
            return torch.cat(parts).reshape(*values.shape[:-1], -1)

    analog = _replaced(model, InBlocks).eval()
    return (
        "memintelli",
        f"inputs in slices of 1, 1, 2, 4 bits, weights of 1, 1, 2, 2, 2, arrays of {lines} x {lines}, "
        f"8-bit converter on every slice pair, log-normal conductance noise {WEIGHT_NOISE} drawn anew for "
        f"every block of {rows} rows (all rows at once do not fit the memory)",
        lambda: analog(*x),
    )


# Sequences of 128 tokens that a peer is given; one where eight would take minutes each.
SEQUENCES = {"memintelli": 1}

PEERS: dict[str, Callable[[SixLinears, tuple[torch.Tensor, ...]], Built]] = {
    "aihwkit-lightning": lightning,
    "aihwkit": aihwkit,
    "aihwkit, torch tiles": aihwkit_torch,
    "memintelli": memintelli,
}


def _replaced(model: SixLinears, convert: Callable[[torch.nn.Linear], torch.nn.Module]) -> SixLinears:
    other = copy.deepcopy(model)
    for name, layer in list(other.named_children()):
        assert isinstance(layer, torch.nn.Linear)
        setattr(other, name, convert(layer))
    return other


def serve(name: str, sequences: int, tokens: int, requests: TextIO, answers: TextIO) -> None:
    """Build, say what was built, then answer requests until they end."""

    def answer(content: dict[str, object]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    torch.manual_seed(0)
    model = SixLinears().eval()
    x = inputs(model, sequences, tokens)
    try:
        with torch.no_grad():
            package, settings, forward = PEERS[name](model, x)
            forward()
        version = importlib.metadata.version(package)
    except Exception as error:  # whatever a foreign package raises: the peer is absent, and why
        answer({"absent": f"{type(error).__name__}: {error}".splitlines()[0]})
        return
    contenders = {"peer": local(forward), "fp32": local(lambda: model(*x))}
    answer({"version": version, "torch": torch.__version__, "settings": settings})
    for line in requests:
        request = json.loads(line)
        sample = contenders[request["do"]](request["threads"])
        answer({"cpu_s": sample.cpu_s, "wall_s": sample.wall_s})


if __name__ == "__main__":
    # packages print what they like: answers go to a copy of stdout, stdout itself to stderr
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.stdin, channel)
