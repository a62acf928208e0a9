"""The works of the table: what runs on the chip, and the same model in fp32 beside it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

import ohmformer
from benchmarks.engine import chips
from benchmarks.engine.measuring import Contender, local
from benchmarks.engine.six_linears import SEQUENCES, TOKENS, SixLinears, inputs
from ohmformer.engine import FastEngine, Mode, ProductEngine
from ohmformer.engine.products import MODES
from ohmformer.specs import ChipSpec
from ohmformer.workloads import load_model

SIX = "six linears of a BERT-base block, 8 x 128 tokens"
DECODED = 64
PROMPT = 8


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two contenders of one work; ``others`` run beside them and are printed with their own ratio."""

    ours: Contender
    theirs: Contender
    mode: str
    others: dict[str, Contender]


@dataclass(frozen=True, kw_only=True)
class Work:
    """One row of the table.

    bar, aim: what is to be reached; None where nothing is asked
    higher:   the figure is a rate (theirs / ours) and more is better; else a time (ours / theirs)
    slow:     takes long in plain torch: fewer repeats
    """

    name: str
    group: str
    settings: str
    build: Callable[[], Pair]
    bar: float | None = None
    aim: float | None = None
    higher: bool = False
    slow: bool = False


def works() -> Iterator[Work]:
    """All rows, in the order of the table."""
    yield from _collapsed_works()
    yield from _serial_works()
    yield from _whole_works()
    yield Work(
        name=f"SmolLM2 decode, {DECODED} tokens after {PROMPT}, batch 1, key-value cache: tokens/s over fp32",
        group="decode",
        settings="wang2024, every noise of the preset; generate(), greedy, the prompt included in the time",
        build=_decode,
        bar=0.7,
        aim=1.5,
        higher=True,
        slow=True,
    )
    yield from _wire_works()


def _collapsed_works() -> Iterator[Work]:
    for label, telegraph, converter in (
        ("every noise of the preset", 1.0, None),
        ("telegraph noise 5x", 5.0, None),
        ("telegraph noise 5x, converter noise 0.3 steps", 5.0, 0.3),
    ):
        chip = chips.collapsed(telegraph, converter)
        yield Work(
            name=f"{SIX}: collapsed, {label}",
            group="six",
            settings=f"wang2024, {label}; dense reads, mismatch, environment and converter noise on",
            build=partial(_six, chip),
            bar=0.6,
            aim=0.35,
        )


# noise of environment and converter each: it gives 1 conversion in 10^12, and 1 in 13, another code
QUIET, LOUD = 0.05, 0.2


def _serial_works() -> Iterator[Work]:
    cases = [(code, bits, 0.0, QUIET) for code in chips.resident_codes() for bits in (6, 7, 8)]
    loud = [(code, bits, 0.0, LOUD) for code in chips.resident_codes() for bits in (6, 7, 8)]
    for code, bits, mismatch, noise in [*cases, ("bits", 7, 0.003, QUIET), *loud]:
        extra = f", mismatch {mismatch:.1%}" if mismatch else ""
        extra += f", noise {noise} that changes codes" if noise == LOUD else ""
        yield Work(
            name=f"{SIX}: digit-serial, resident {code}, {bits}-bit converter{extra}",
            group="serial",
            settings=(
                f"wang2024 with tile.resident_code={code}, tile.adc.bits={bits - 1} (and polarity), step 1, "
                f"clipping, 128 wordlines, base-7 streamed, environment and converter noise {noise}{extra}"
            ),
            build=partial(_six_serial, code, bits, mismatch, noise),
            bar=4.0,
            aim=2.5,
            slow=True,
        )

    if "statistical" in MODES:
        for code in chips.resident_codes():
            yield Work(
                name=f"{SIX}: statistical, resident {code}, 7-bit converter",
                group="serial",
                settings=f"the digit-serial chip of resident {code} and a 7-bit converter, mode statistical",
                build=partial(_six_statistical, code),
                bar=4.0,
                aim=2.5,
                slow=True,
            )


def _whole_works() -> Iterator[Work]:
    for model, task, batch, tokens in (
        ("minilm", "encoder", 32, 16),
        ("minilm", "encoder", 8, 128),
        ("smollm2", "causal", 1, 512),
    ):
        title = "whole MiniLM" if model == "minilm" else "SmolLM2 prefill"
        yield Work(
            name=f"{title}, {batch} x {tokens} tokens",
            group="whole",
            settings="wang2024, every noise of the preset; attention and function unit on the chip",
            build=partial(_whole, model, task, batch, tokens),
            bar=1.3,
            aim=0.7,
            slow=True,
        )


def _wire_works() -> Iterator[Work]:
    if not chips.knows_wires():
        return
    for label, chip in (
        ("collapsed", chips.collapsed()),
        ("digit-serial, resident bits, 7-bit converter", chips.digit_serial("bits", 7)),
    ):
        yield Work(
            name=f"{SIX}: wire resistance on over off, {label}",
            group="wire",
            settings=f"{chips.WIRE_OHM} ohm per segment over 0, all else equal",
            build=partial(_wires, chip),
            bar=1.5,
            aim=1.1,
            slow=True,
        )


# --- contenders ----------------------------------------------------------------------------------------


def deployed(model: nn.Module, chip: ChipSpec, engine: ProductEngine | None = None) -> Any:
    """``model`` on ``chip``; the six linears have no configuration, so they are not run for coverage."""
    return ohmformer.deploy(model, chip, seed=0, engine=engine, check=hasattr(model, "config"))


def _six(chip: ChipSpec, mode: Mode | None = None) -> Pair:
    model = SixLinears().eval()
    x = inputs(model, SEQUENCES, TOKENS)
    engine = FastEngine(chip.tile, mode)
    ours = deployed(model, chip, engine)
    return Pair(ours=local(lambda: ours(*x)), theirs=local(lambda: model(*x)), mode=engine.runs, others={})


def _six_serial(code: str, bits: int, mismatch: float, noise: float) -> Pair:
    return _six(chips.digit_serial(code, bits, mismatch, noise))


def _six_statistical(code: str) -> Pair:
    return _six(chips.digit_serial(code, 7), "statistical")


def _wires(chip: ChipSpec) -> Pair:
    model = SixLinears().eval()
    x = inputs(model, SEQUENCES, TOKENS)
    on, off = deployed(model, chips.with_wires(chip)), deployed(model, chip)
    return Pair(
        ours=local(lambda: on(*x)),
        theirs=local(lambda: off(*x)),
        mode=f"{on.on_chip.mode} over {off.on_chip.mode}",
        others={},
    )


@lru_cache(maxsize=1)
def _loaded(model: str, task: Any) -> Any:
    return load_model(model, task=task).model


def token_ids(model: Any, batch: int, tokens: int) -> Tensor:
    """Arbitrary tokens of the model's vocabulary, the same in every run."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(10, model.config.vocab_size, (batch, tokens), generator=generator)


def _whole(name: str, task: str, batch: int, tokens: int) -> Pair:
    model = _loaded(name, task)
    ids = token_ids(model, batch, tokens)
    given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if task == "causal":  # what ``generate`` asks of a prompt: a cache, and the logits of the last token
        given.update(use_cache=True, logits_to_keep=1)
    fused = copy.deepcopy(model)
    fused.set_attn_implementation("sdpa")
    ours = deployed(model, chips.collapsed())
    return Pair(
        ours=local(lambda: ours(**given)),
        theirs=local(lambda: model(**given)),
        mode=ours.on_chip.mode,
        others={"fp32 with fused attention": local(lambda: fused(**given))},
    )


def _decode() -> Pair:
    model = _loaded("smollm2", "causal")
    ids = token_ids(model, 1, PROMPT)
    ours = deployed(model, chips.collapsed())
    options: dict[str, Any] = {
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": DECODED,
        "min_new_tokens": DECODED,
        "do_sample": False,
        "temperature": None,
        "top_p": None,
        "top_k": None,
        "pad_token_id": 0,
    }
    return Pair(
        ours=local(lambda: ours.generate(ids, **options)),
        theirs=local(lambda: model.generate(ids, **options)),
        mode=ours.on_chip.mode,
        others={},
    )
