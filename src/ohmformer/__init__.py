"""Ohmformer: large language models on memristor crossbars, before the hardware exists.

    import ohmformer
    chip = ohmformer.chips.wang2024()
    model = ohmformer.deploy(hf_model, chip, seed=0)

The verbs are loaded when first used, so that importing the package (and the command line's help) stays
light.
"""

from __future__ import annotations

import importlib
from typing import Any

_VERBS = {
    "deploy": "ohmformer.deploy",
    "chips": "ohmformer.chips",
    "load_deployed": "ohmformer.deploy",
    "on_chip": "ohmformer.deploy",
    "save_deployed": "ohmformer.deploy",
    "FP32": "ohmformer.verbs",
    "Setup": "ohmformer.verbs",
    "demonstrate": "ohmformer.verbs",
    "estimate": "ohmformer.verbs",
    "evaluate_classifier": "ohmformer.verbs",
    "evaluate_head": "ohmformer.verbs",
    "evaluate_multiple_choice": "ohmformer.verbs",
    "evaluate_perplexity": "ohmformer.verbs",
    "generate": "ohmformer.verbs",
    "ideal": "ohmformer.specs",
    "override": "ohmformer.specs",
    "read_chip": "ohmformer.specs",
    "without_noise": "ohmformer.specs",
}

__version__ = "0.1.0"
__all__ = [*sorted(_VERBS), "__version__"]


def __getattr__(name: str) -> Any:
    where = _VERBS.get(name)
    if where is None:
        raise AttributeError(f"module 'ohmformer' has no attribute {name!r}")
    module = importlib.import_module(where)
    return module if where.rsplit(".", 1)[-1] == name else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_VERBS})
