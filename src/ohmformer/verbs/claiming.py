"""``claims``: every claim of arXiv 2410.15977 beside our number, with a verdict and what it would take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

from ohmformer.costs.claims_implied import Implied
from ohmformer.costs.claims_table import ClaimLine, claim_lines, implied_by_claims
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec
from ohmformer.verbs.estimating import program_of

__all__ = ["MODEL", "ClaimsResult", "claims"]

MODEL = "bert-large"  # what the claims are about


@dataclass(frozen=True, kw_only=True)
class ClaimsResult:
    """The claims about costs, storage and accuracy, and what those about processors imply.

    seconds: of tracing the model at every length and batch that was looked at, and of costing
    """

    model: str
    tokens: int
    batch: int
    chip_name: str
    lines: tuple[ClaimLine, ...]
    implied: tuple[Implied, ...]
    seconds: float


def claims(chip: ChipSpec, *, tokens: int = 128, batch: int = 1) -> ClaimsResult:
    """Judge every claim for BERT-Large on ``chip``.

    tokens, batch: of the run that the claims are compared with; the paper states neither
    """
    started = time.perf_counter()

    @cache
    def program(length: int, sequences: int) -> Program:
        return program_of(MODEL, chip, tokens=length, batch=sequences)

    lines = claim_lines(program, chip, tokens=tokens, batch=batch)
    return ClaimsResult(
        model=MODEL,
        tokens=tokens,
        batch=batch,
        chip_name=chip.name,
        lines=lines,
        implied=implied_by_claims(),
        seconds=time.perf_counter() - started,
    )
