"""What every alternative is reported as."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ohmformer.costs.report import Term
from ohmformer.specs import Source
from ohmformer.units import MM2

__all__ = ["Baseline", "Basis"]

Basis = Literal["model", "published", "published rate", "peak"]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The cost of a program on other hardware.

    basis:  ``model`` (counted here, with the chip's unit values), ``published`` (a published measurement),
            ``published rate`` (published operations per joule or mm² applied to the counts)
            or ``peak`` (the vendor's peak rate, an upper bound that no run reaches)
    area, energy: breakdowns where counted here; their sums are area_m2 and energy_J
    notes:  assumptions, each a sentence
    """

    name: str
    title: str
    basis: Basis
    area_m2: float
    latency_s: float
    energy_J: float
    notes: tuple[str, ...]
    sources: tuple[Source, ...]
    area: tuple[Term, ...] = ()
    energy: tuple[Term, ...] = ()

    @property
    def power_W(self) -> float:
        """Mean power."""
        return self.energy_J / self.latency_s

    @property
    def power_density_W_per_mm2(self) -> float:
        """Mean power over the area."""
        return self.power_W / (self.area_m2 / MM2)

    @property
    def area_delay_mm2_s(self) -> float:
        """Area-delay product."""
        return self.area_m2 / MM2 * self.latency_s

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "basis": self.basis,
            "area_m2": self.area_m2,
            "latency_s": self.latency_s,
            "energy_J": self.energy_J,
            "power_W": self.power_W,
            "power_density_W_per_mm2": self.power_density_W_per_mm2,
            "area_delay_mm2_s": self.area_delay_mm2_s,
            "notes": list(self.notes),
            "sources": [asdict(source) for source in self.sources],
            "area": [term.to_dict() for term in self.area],
            "energy": [term.to_dict() for term in self.energy],
        }
