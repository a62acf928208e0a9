"""Which C++ kernels are used: chosen once by instruction set, checked at load, absent without a compiler.

``kernels()`` gives them, or None. The environment variable OHMFORMER_KERNELS may name an instruction set
(``avx512-vnni``, ``avx2-vaes``, ``avx2``, ``portable``) or ``torch`` for none: only the time changes.
"""

from __future__ import annotations

import os
from functools import cache

import torch

from ohmformer.engine.kernel_calls import Kernels, _native, threads
from ohmformer.engine.randomness import Draw
from ohmformer.errors import UserError
from ohmformer.numerals import on_host

VARIABLE = "OHMFORMER_KERNELS"


@on_host
def _trusted(name: str) -> bool:
    """Whether the kernels of ``name`` give exact products and random bits on this processor."""
    found = Kernels(name)
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(-127, 128, (13, 67), generator=generator, dtype=torch.int8)
    weights = torch.randint(-128, 128, (35, 67), generator=generator, dtype=torch.int8)
    exact = codes.int() @ weights.int().T
    if not torch.equal(found.product(codes, found.packed(weights), 35), exact):
        return False
    words = found.words(Draw(seed=0, stream=0, keys=torch.zeros(1, dtype=torch.int64)), 1)
    return words[0].tolist() == [0xDACF61FF, 0xC45798F3, 0x113C7EEB, 0x101E27F3]


def instruction_sets() -> list[str]:
    """Those that this machine has kernels for."""
    names: list[str] = _native.names() if _native is not None else []
    return names


@cache
def _chosen(wanted: str) -> Kernels | None:
    names = instruction_sets()
    if wanted == "torch":
        return None
    if wanted:
        if wanted not in names:
            offered = ", ".join([*names, "torch"])
            raise UserError(f"{VARIABLE} is {wanted!r}: this machine has {offered}.")
        return Kernels(wanted)
    # plain C++ without vector instructions is slower than torch's own products
    return next((Kernels(name) for name in names if name != "portable" and _trusted(name)), None)


def kernels() -> Kernels | None:
    """The kernels in use, or None where plain torch computes."""
    return _chosen(os.environ.get(VARIABLE, ""))


__all__ = ["Kernels", "instruction_sets", "kernels", "threads"]
