"""``generate``: text from a decoder or an encoder-decoder on the chip, beside the fp32 model's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ohmformer.deploy import deploy, on_chip
from ohmformer.verbs.evaluating import Setup
from ohmformer.verbs.kept import is_kept, load_or_restore, refuse_other_chips
from ohmformer.workloads import LoadedModel, generate_text, load_config


@dataclass(frozen=True, kw_only=True)
class GeneratedText:
    """What one setup wrote; ``seconds`` of the generation alone."""

    label: str
    chip_name: str | None
    prompt: str
    text: str
    tokens: int
    seconds: float
    mode: str


@dataclass(frozen=True, kw_only=True)
class GenerationResult:
    """The texts of all setups for all prompts."""

    model: str
    origin: str
    temperature: float
    seed: int
    texts: tuple[GeneratedText, ...]


def generate(
    model: str | LoadedModel,
    prompts: Sequence[str],
    setups: Sequence[Setup] = (),
    *,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    chat: bool = False,
    seed: int = 0,
    allow: Sequence[str] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> GenerationResult:
    """Continue (or answer) each prompt on each setup; the fp32 model where a setup has no chip.

    model: a name or folder, or a loaded model; a deployed one (or its folder) runs as it is, without setups
    """
    loaded = model if isinstance(model, LoadedModel) else _load(model)
    kept = is_kept(loaded)
    if kept:
        refuse_other_chips(loaded, setups)
        chip = on_chip(loaded.model).chip
        setups = [Setup(label=f"{chip.name}, as deployed", chip=chip)]
    texts: list[GeneratedText] = []
    for setup in setups:
        running, mode = loaded.model, "torch"
        if setup.chip is not None:
            if not kept:
                running = deploy(loaded.model, setup.chip, seed=seed, mode=setup.mode, allow=allow)
            mode = on_chip(running).mode
        for prompt in prompts:

            def step(done: int, total: int, label: str = setup.label) -> None:
                if progress is not None:
                    progress(label, done, total)

            started = time.perf_counter()
            text = generate_text(
                running,
                loaded.tokenizer,
                prompt,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed,
                chat=chat,
                progress=step,
            )
            texts.append(
                GeneratedText(
                    label=setup.label,
                    chip_name=setup.chip.name if setup.chip is not None else None,
                    prompt=prompt,
                    text=text,
                    tokens=len(loaded.tokenizer(text, add_special_tokens=False)["input_ids"]),
                    seconds=time.perf_counter() - started,
                    mode=mode,
                )
            )
    return GenerationResult(
        model=loaded.name, origin=loaded.origin, temperature=temperature, seed=seed, texts=tuple(texts)
    )


def _load(name_or_dir: str) -> LoadedModel:
    """The model under its head for text, whichever of the two kinds it is."""
    config = load_config(name_or_dir)
    return load_or_restore(name_or_dir, task="seq2seq" if config.is_encoder_decoder else "causal")
