"""What a deployed model carries: its chip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import torch
from torch import nn

from ohmformer.deploy.coverage import CoverageRow
from ohmformer.deploy.interception import ChipMode
from ohmformer.deploy.runtime import Runtime
from ohmformer.deploy.sealed import refuse_copies
from ohmformer.deploy.storage import StoredParameter
from ohmformer.engine import FastEngine, Mode, kernels, mode_of
from ohmformer.errors import UserError
from ohmformer.numerals import HOST
from ohmformer.specs import ChipSpec

ATTRIBUTE = "on_chip"


class OnChip:
    """What a deployed model carries as ``model.on_chip``."""

    def __init__(self, runtime: Runtime, mode: ChipMode) -> None:
        self._runtime = runtime
        self._mode = mode
        self.coverage: tuple[CoverageRow, ...] = ()

    def __reduce__(self) -> NoReturn:
        refuse_copies()

    @property
    def chip(self) -> ChipSpec:
        """The hardware."""
        return self._runtime.chip

    @property
    def seed(self) -> int:
        """Seed of the physical chip and of its reads."""
        return self._runtime.seed

    @property
    def mode(self) -> Mode:
        """How products are simulated."""
        engine = self._runtime.engine
        return engine.runs if isinstance(engine, FastEngine) else mode_of(self._runtime.chip.tile)

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self._runtime.device

    @property
    def computed_by(self) -> str:
        """What computes the products: the C++ kernels of an instruction set, or torch, and where."""
        native = kernels() if self.device.type == "cpu" else None
        return f"torch on {self.device}" if native is None else f"C++ kernels ({native.name}) on cpu"

    @property
    def parameters(self) -> tuple[StoredParameter, ...]:
        """The parameters as they lie in the dense crossbar."""
        return tuple(self._runtime.parameters.values())

    @property
    def stored_words(self) -> int:
        """Words of ``weight_bits`` in the dense crossbar."""
        return sum(entry.words for entry in self._runtime.parameters.values())

    @property
    def allow(self) -> tuple[str, ...]:
        """Operations that the user left to the host."""
        return tuple(sorted(self._mode.allow))

    @property
    def runtime(self) -> Runtime:
        """The operations of the chip, for tracing and tests."""
        return self._runtime

    def restart(self, samples: int = 0) -> None:
        """Set the number of the next sample: the same samples after a restart meet the same noise."""
        self._runtime.restart(samples)

    @contextmanager
    def numbered(self, samples: Iterable[int]) -> Iterator[None]:
        """Give the sequences of every run in here their numbers, on which their noise depends.

        A batch may hold several sequences for each number, one after the other (beams).
        """
        before = self._runtime.turn.numbers
        numbers = torch.tensor(list(samples), dtype=torch.int64, device=HOST)
        if not len(numbers):
            raise UserError("No samples are numbered: at least one number is needed.")
        self._runtime.turn.numbers = numbers
        try:
            yield
        finally:
            self._runtime.turn.numbers = before


def on_chip(model: nn.Module) -> OnChip:
    """The chip of a deployed model; UserError if the model is not deployed."""
    state = getattr(model, ATTRIBUTE, None)
    if not isinstance(state, OnChip):
        raise UserError(
            f"This {type(model).__name__} is not deployed: call ohmformer.deploy(model, chip) first."
        )
    return state
