"""Scales of activations found beforehand on calibration inputs, and fixed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ohmformer.errors import UserError, reason_of, write_atomically
from ohmformer.numerals import max_code

SCHEMA = "ohmformer.calibration/1"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The range of every operand that is not stored; beyond it values clip.

    scale of an operand of b bits = limit / (2^(b-1) - 1)

    limits:   site -> largest magnitude that is still told apart, above 0
    quantile: share of the calibration magnitudes within the limit
    batches:  of inputs that were seen
    """

    limits: Mapping[str, float] = field(hash=False)
    quantile: float
    batches: int

    def __post_init__(self) -> None:
        if not 0 < self.quantile <= 1:
            raise UserError(f"quantile is {self.quantile!r}: it must be above 0 and at most 1.")
        if isinstance(self.batches, bool) or not isinstance(self.batches, int) or self.batches < 1:
            raise UserError(f"batches is {self.batches!r}: calibration needs at least one batch of inputs.")
        for site, limit in self.limits.items():
            number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
            if not number or not math.isfinite(limit) or limit <= 0:
                raise UserError(
                    f"The calibrated range of {site} is {limit!r}: it must be above 0 and finite."
                )

    def scale(self, site: str, bits: int) -> float:
        """Scale of the codes at ``site``.

        Error: UserError for a site that calibration did not meet.
        """
        limit = self.limits.get(site)
        if limit is None:
            raise UserError(
                f"There is no calibrated scale for {site}: calibrate on inputs that take the model there."
            )
        return limit / max_code(bits)

    def save(self, path: str | Path) -> Path:
        """Write as JSON, completely or not at all."""
        content = {
            "schema": SCHEMA,
            "quantile": self.quantile,
            "batches": self.batches,
            "limits": dict(sorted(self.limits.items())),
        }
        return write_atomically(path, json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what ``save`` wrote.

        Error: UserError for a missing or damaged file, or another schema version.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"Cannot read the calibration {path}: {reason_of(error)}.") from error
        found = content.get("schema") if isinstance(content, dict) else None
        if found != SCHEMA:
            raise UserError(f"{path} has schema {found!r}: this program reads {SCHEMA!r}.")
        limits, quantile, batches = (content.get(key) for key in ("limits", "quantile", "batches"))
        if not isinstance(limits, dict) or not isinstance(quantile, (int, float)):
            raise UserError(f"{path} holds no complete calibration: limits or quantile is missing.")
        return cls(limits=limits, quantile=quantile, batches=batches)


class OperandSites:
    """Names of the operands of a run, the same in every run that takes the same way through the model.

    The streamed operand of a stored one has its name. Others are named by the stored operand used last and
    counted from there on, so that parts of a model run alone, and cached steps, find the same names.
    """

    def __init__(self) -> None:
        self._last, self._count = "", 0

    def start_run(self) -> None:
        """Forget the run before."""
        self._last, self._count = "", 0

    def of_stored(self, name: str) -> str:
        """The operand streamed past the stored operand ``name``."""
        self._last, self._count = name, 0
        return name

    def next(self, operation: str) -> str:
        """The next operand of an operation among activations."""
        self._count += 1
        return f"{self._last or 'start'} + {self._count}: {operation}"


class Observation:
    """The magnitudes that operands take, site by site.

    The limit of a site is the largest, over the batches, of the ``quantile`` of its magnitudes.
    """

    def __init__(self, quantile: float = 1.0) -> None:
        if not 0 < quantile <= 1:
            raise UserError(f"quantile is {quantile!r}: it must be above 0 and at most 1.")
        self.quantile = quantile
        self._limits: dict[str, float] = {}

    def see(self, site: str, values: Tensor) -> None:
        """Take in the values of one operand, finite floating point of any shape."""
        if not values.numel():
            return
        found = _quantile(values.detach().abs().reshape(-1), self.quantile)
        if not math.isfinite(found):
            raise UserError(f"The operand {site} holds NaN or infinity on the calibration inputs.")
        self._limits[site] = max(found, self._limits.get(site, 0.0))

    def calibration(self, batches: int) -> Calibration:
        """What was seen; an operand that was 0 throughout gets the range 1."""
        limits = {site: limit if limit > 0 else 1.0 for site, limit in self._limits.items()}
        return Calibration(limits=limits, quantile=self.quantile, batches=batches)


def _quantile(magnitudes: Tensor, quantile: float) -> float:
    """The smallest magnitude that at least a share ``quantile`` of them does not exceed."""
    if quantile == 1:
        return float(magnitudes.max())
    rank = max(1, math.ceil(quantile * len(magnitudes)))
    return float(torch.kthvalue(magnitudes.float(), rank).values)


def batches_of(inputs: Any) -> Iterable[Mapping[str, Tensor]]:
    """One batch (keyword arguments of the model) or several, as several."""
    return [inputs] if isinstance(inputs, Mapping) else inputs
