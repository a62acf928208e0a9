"""What a deployed model refuses: to be copied, written as plain weights, or given others.

Its numbers lie on the chip; what stays of a parameter is its shape. Whoever takes that for weights would
get NaN without a word.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import nn
from torch._C._dynamo.eval_frame import get_eval_frame_callback

from ohmformer.errors import UserError

COPIED = (
    "A deployed model, or a part of it, cannot be copied or pickled: deploy the original model once more, "
    "or use save_deployed and load_deployed."
)
WRITTEN = "The weights of a deployed model lie on the chip: keep it with save_deployed, not with {name}."
CHANGED = "The weights of a deployed model are fixed on the chip: use {name} on the original and deploy that."
COMPILED = (
    "A deployed model runs on the chip operation by operation and cannot be compiled or traced: "
    "call it as it is."
)

REFUSED = {
    "save_pretrained": WRITTEN,
    "push_to_hub": WRITTEN,
    "load_state_dict": CHANGED,
    "resize_token_embeddings": CHANGED,
    "init_weights": CHANGED,
}


def refuse_copies(*_: Any) -> NoReturn:
    """Stands for ``__reduce_ex__``, which copying and pickling ask for first."""
    raise UserError(COPIED)


def seal(deployed: nn.Module) -> None:
    """Let every module of ``deployed`` refuse what would leave its numbers behind."""
    for module in deployed.modules():
        vars(module)["__reduce_ex__"] = refuse_copies
        for name, sentence in REFUSED.items():
            if callable(getattr(module, name, None)):
                vars(module)[name] = _refusing(sentence.format(name=name))


def _refusing(sentence: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise UserError(sentence)

    return refuse


def refuse_compilation() -> None:
    """Refuse a run that torch's compiler has taken over, or records.

    Error: UserError.
    """
    if torch._C._is_tracing() or (
        "torch._dynamo" in sys.modules and get_eval_frame_callback() not in (None, False)
    ):
        raise UserError(COMPILED)
