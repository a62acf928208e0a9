"""Every claim of the paper beside our number, with a verdict that is computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ohmformer.costs.claims import ACCURACY_CLAIMS, CLAIMS, DERIVED_CLAIMS, AccuracyClaim, Claim
from ohmformer.costs.claims_assumptions import (
    Assumption,
    Programs,
    Question,
    assumptions,
    implied_assumptions,
)
from ohmformer.costs.claims_implied import PROCESSORS, Implied, implied
from ohmformer.costs.claims_storage import (
    ISAAC_CHIP_BYTES,
    PARAMETERS,
    STORAGE_CLAIMS,
    StorageClaim,
    banks_mm2,
    isaac_chips,
    stored_mm2,
)
from ohmformer.costs.claims_values import figure, plain_figure
from ohmformer.costs.component import LEVELS
from ohmformer.specs import ChipSpec, Source
from ohmformer.units import MM2

__all__ = ["ClaimLine", "Verdict", "claim_lines", "claimed_line", "implied_by_claims", "storage_line"]

Verdict = Literal["reproduced", "only if", "not reproduced", "not tested"]
ROUNDING = 0.005  # a figure printed to three digits
SAVING = 0.69
CHIP_AREA_DELAY = 0.03


@dataclass(frozen=True, kw_only=True)
class ClaimLine:
    """One claim beside ours.

    group:              ``accuracy``, ``cost`` or ``storage``
    claimed:            as published; relation: what would be as good ("or less", "or more", "")
    low, typical, high: ours over the unit values; None where nothing was tested
    ratio:              typical over claimed
    plain:              the same figure with plain int8 multiply-accumulate units in place of the tiles and
                        the same memory; plain_alone: the units without any memory, a bound
    verdict:            ``reproduced``: the typical figure is what is claimed, or better; ``only if``: not,
                        but one of ``assumptions`` has a value at which it is; ``not reproduced``: nor that
    """

    name: str
    group: Literal["accuracy", "cost", "storage"]
    text: str
    unit: str
    claimed: float
    relation: str
    low: float | None
    typical: float | None
    high: float | None
    ratio: float | None
    plain: float | None
    plain_alone: float | None
    verdict: Verdict
    assumptions: tuple[Assumption, ...]
    note: str
    source: Source


UNITS = {
    "area_delay": "mm²·s",
    "area_delay_ratio": "×",
    "area_ratio": "×",
    "energy_ratio": "×",
    "energy_saving": "%",
}


def _verdict(holds: bool, found: Sequence[Assumption]) -> Verdict:
    if holds:
        return "reproduced"
    return "only if" if any(item.value is not None for item in found) else "not reproduced"


def claimed_line(question: Question) -> ClaimLine:
    """Judge one claim about area, time or energy of BERT-Large."""
    claim, program, chip = question.claim, question.program, question.chip
    values = [figure(claim, program, chip, level=level) for level in LEVELS]
    low, typical, high = min(values), values[1], max(values)
    about_other = claim.kind == "area_delay" and claim.subject != "chip"
    holds = abs(typical / claim.value - 1) <= ROUNDING or (not about_other and question.holds(typical))
    if holds:
        found: tuple[Assumption, ...] = ()
    elif about_other:
        found = implied_assumptions(_implied(claim), question.tokens)
    else:
        found = assumptions(question)
    return ClaimLine(
        name=claim.name,
        group="cost",
        text=claim.text,
        unit=UNITS[claim.kind],
        claimed=claim.value,
        relation="" if about_other else "or more" if question.upward else "or less",
        low=low,
        typical=typical,
        high=high,
        ratio=typical / claim.value,
        plain=plain_figure(claim, program, chip),
        plain_alone=plain_figure(claim, program, chip, memory=False),
        verdict=_verdict(holds, found),
        assumptions=found,
        note=_cost_note(question),
        source=claim.source,
    )


def _implied(claim: Claim) -> Implied:
    return implied(claim.subject, claim.value, chip_area_delay_mm2_s=CHIP_AREA_DELAY, saving=SAVING)


def implied_by_claims(claims: Sequence[Claim] = CLAIMS) -> tuple[Implied, ...]:
    """What the area-delay products claimed for processors say about how these were run."""
    known = [processor.name for processor in PROCESSORS]
    return tuple(_implied(claim) for claim in claims if claim.kind == "area_delay" and claim.subject in known)


def _cost_note(question: Question) -> str:
    claim = question.claim
    if claim.kind == "area_delay_ratio":
        batch = 128
        many = question.figure(question.programs(question.tokens, batch), question.chip)
        return (
            f"With {batch} sequences at once, for which the A100's latency is published too (the chip takes "
            f"them one by one where that is faster): {many:.3g}×."
        )
    if claim.kind == "area_delay" and claim.subject != "chip":
        found = _implied(claim)
        return (
            f"{claim.value:g} mm²·s on {found.area_m2 / MM2:.0f} mm² is {found.latency_s * 1e3:.2f} ms: "
            f"{found.tops_at[128]:.0f} TOPS at 128 tokens, {found.tops_at[384]:.0f} at 384."
        )
    if claim.upper:
        return "Stated as up to: the best case of several models."
    return ""


def storage_line(claim: StorageClaim) -> ClaimLine:
    """Judge one claim about stored parameters."""
    found: tuple[Assumption, ...] = ()
    if claim.cell_bits is None:
        ours = isaac_chips()
        low, high = ours, isaac_chips(16)
        bytes_needed = PARAMETERS / claim.value
        slip = abs(bytes_needed / 1e6 / (ISAAC_CHIP_BYTES / 2**20) - 1) <= ROUNDING
        found = (
            Assumption(
                name="bytes of an ISAAC chip, in 10⁶",
                unit="MB",
                given=f"{ISAAC_CHIP_BYTES / 1e6:.2f}",
                allowed=f"its {ISAAC_CHIP_BYTES / 2**20:.2f} MiB read as MB",
                value=round(bytes_needed / 1e6, 2) if slip else None,
            ),
        )
        holds = abs(ours / claim.value - 1) <= ROUNDING
        note = (
            f"An ISAAC chip holds {ISAAC_CHIP_BYTES / 2**20:.2f} MiB = {ISAAC_CHIP_BYTES / 1e6:.2f}·10⁶ "
            f"bytes; high: words of 16 bits, as ISAAC's are."
        )
    else:
        ours = low = high = stored_mm2(claim)
        holds = abs(ours / claim.value - 1) <= ROUNDING
        least, typical, most = banks_mm2(claim)
        note = (
            f"Cells alone. With decoders, drivers and sense paths {typical:.0f} mm² "
            f"({least:.0f} … {most:.0f})."
        )
    return ClaimLine(
        name=claim.name,
        group="storage",
        text=claim.text,
        unit=claim.unit,
        claimed=claim.value,
        relation="",
        low=low,
        typical=ours,
        high=high,
        ratio=ours / claim.value,
        plain=None,
        plain_alone=None,
        verdict=_verdict(holds, found),
        assumptions=() if holds else found,
        note=note,
        source=claim.source,
    )


def _accuracy_line(claim: AccuracyClaim) -> ClaimLine:
    return ClaimLine(
        name=claim.name,
        group="accuracy",
        text=claim.text,
        unit=claim.metric,
        claimed=claim.after,
        relation="",
        low=None,
        typical=None,
        high=None,
        ratio=None,
        plain=None,
        plain_alone=None,
        verdict="not tested",
        assumptions=(),
        note=claim.instead,
        source=claim.source,
    )


def claim_lines(
    programs: Programs,
    chip: ChipSpec,
    *,
    tokens: int = 128,
    batch: int = 1,
    claims: Sequence[Claim] = (*CLAIMS, *DERIVED_CLAIMS),
    storage: Sequence[StorageClaim] = STORAGE_CLAIMS,
    accuracy: Sequence[AccuracyClaim] = ACCURACY_CLAIMS,
) -> tuple[ClaimLine, ...]:
    """All claims beside ours: costs of the model on ``chip``, storage, accuracy.

    programs: the model's program at (tokens, batch)
    """
    first = Question(claim=CLAIMS[0], programs=programs, chip=chip, tokens=tokens, batch=batch)
    costs = [claimed_line(dataclasses.replace(first, claim=claim)) for claim in claims]
    return (*costs, *(storage_line(claim) for claim in storage), *(_accuracy_line(one) for one in accuracy))
