"""Our number for a published figure, on one program and one chip, and that of plain multipliers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ohmformer.costs.baselines import (
    Baseline,
    a100,
    digital_mac,
    digital_mac_dense,
    multi_bit_crossbar,
    single_bit_crossbar,
    tpu_v4,
)
from ohmformer.costs.claims import Claim
from ohmformer.costs.component import Level
from ohmformer.costs.estimate import estimate
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.report import CostReport
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec
from ohmformer.units import MM2

__all__ = ["CLAIMED_KINDS", "Totals", "figure", "other_hardware", "plain_figure", "totals_of"]

CLAIMED_KINDS = ("area_delay", "area_delay_ratio", "area_ratio", "energy_ratio", "energy_saving")
BOTH = "tpu_v4 or a100"


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Area, time and energy of one run, and how many sequences it serves."""

    area_m2: float
    latency_s: float
    energy_J: float
    sequences: int

    @property
    def area_delay_mm2_s(self) -> float:
        """Area times the time a sequence takes."""
        return self.area_m2 / MM2 * self.latency_s / self.sequences


def totals_of(item: CostReport | Baseline, sequences: int) -> Totals:
    """The totals of a cost report or of an alternative."""
    return Totals(area_m2=item.area_m2, latency_s=item.latency_s, energy_J=item.energy_J, sequences=sequences)


def other_hardware(
    name: str,
    program: Program,
    chip: ChipSpec,
    *,
    attention_written: bool = False,
    library: Library = LIBRARY,
) -> Baseline:
    """The alternative that a claim is about, at typical unit values."""
    crossbars: dict[str, Callable[..., Baseline]] = {
        "multi_bit_crossbar": multi_bit_crossbar,
        "single_bit_crossbar": single_bit_crossbar,
    }
    if name in crossbars:
        attention = "written" if attention_written else "digital"
        return crossbars[name](program, chip, attention=attention, library=library)
    if name == "tpu_v4":
        return tpu_v4(program)
    if name == "a100":
        return a100(program)
    raise UserError(f"There is no alternative {name!r} to compare with.")


def _both(program: Program) -> tuple[Baseline, Baseline]:
    return tpu_v4(program), a100(program)


def compared(claim: Claim, own: Totals, other: Totals) -> float:
    """The claimed quantity from the totals of the chip and of the other hardware."""
    if claim.kind == "area_delay":
        return own.area_delay_mm2_s if claim.subject == "chip" else other.area_delay_mm2_s
    if claim.kind == "area_delay_ratio":
        return other.area_delay_mm2_s / own.area_delay_mm2_s
    if claim.kind == "area_ratio":
        return other.area_m2 / own.area_m2
    if claim.kind == "energy_ratio":
        return other.energy_J / own.energy_J
    return 1 - own.energy_J / other.energy_J


def others_totals(
    claim: Claim, program: Program, chip: ChipSpec, *, attention_written: bool = False
) -> Totals:
    """Totals of the hardware a claim compares with; of the better one where it names two."""
    batch = program.batch
    if claim.subject == "chip":
        return totals_of(digital_mac_dense(program, chip), batch)
    if claim.subject == BOTH:
        found = [totals_of(item, batch) for item in _both(program)]
        return min(found, key=lambda totals: totals.area_delay_mm2_s)
    return totals_of(other_hardware(claim.subject, program, chip, attention_written=attention_written), batch)


def figure(
    claim: Claim,
    program: Program,
    chip: ChipSpec,
    *,
    level: Level = "typical",
    library: Library = LIBRARY,
    attention_written: bool = False,
) -> float:
    """Our number for ``claim``: the chip at ``level``, the other hardware at typical unit values.

    Energies, times and area-delay products are of one sequence.
    """
    other = others_totals(claim, program, chip, attention_written=attention_written)
    if claim.kind == "area_delay" and claim.subject != "chip":
        return other.area_delay_mm2_s
    own = totals_of(estimate(program, chip, level=level, library=library), program.batch)
    return compared(claim, own, other)


def plain_figure(claim: Claim, program: Program, chip: ChipSpec, *, memory: bool = True) -> float:
    """The same figure with plain int8 multiply-accumulate units in place of the chip's tiles.

    memory: weights in the same dense crossbars, buffer, network and functions as on the chip; without, the
            units alone, which is a bound and no machine. Of a claim about other hardware alone: the units'
            own area-delay product.
    """
    units = totals_of((digital_mac_dense if memory else digital_mac)(program, chip), program.batch)
    if claim.kind == "area_delay":
        return units.area_delay_mm2_s
    return compared(claim, units, others_totals(claim, program, chip))
