"""One published figure beside ours."""

from __future__ import annotations

from dataclasses import dataclass

from ohmformer.specs import Source

__all__ = ["ValidationRow"]


@dataclass(frozen=True, kw_only=True)
class ValidationRow:
    """One published figure beside ours.

    group:      which chip, macro or paper
    bound:      relative deviation allowed; 0: equal to the printed digits; None: none was promised
    calibrated: a free parameter was set on other figures of the same source; ``how`` says which
    how:        what our figure is computed from
    """

    group: str
    quantity: str
    unit: str
    published: float
    ours: float
    bound: float | None
    calibrated: bool
    how: str
    source: Source
    digits: int = 3

    @property
    def deviation(self) -> float:
        """Ours over published, less one."""
        return self.ours / self.published - 1

    @property
    def reproduced(self) -> bool:
        """Within the bound; a row without one is reproduced if it is within a tenth."""
        if self.bound == 0:
            return round(self.ours, self.digits) == self.published
        return abs(self.deviation) <= (0.1 if self.bound is None else self.bound)
