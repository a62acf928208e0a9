"""Area, energy, latency and lifetime from counted sub-operations, with sources; and the alternatives."""

from ohmformer.costs.baselines import Baseline
from ohmformer.costs.claims import CLAIMS, Claim
from ohmformer.costs.compare import ClaimRow, Comparison, compare
from ohmformer.costs.component import LEVELS, Component, Interval, Level
from ohmformer.costs.converter import converter
from ohmformer.costs.counts import Counts, product_counts
from ohmformer.costs.estimate import banks_needed, estimate
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.report import CostReport, StepCost, Term, by_component
from ohmformer.costs.storage import storage_area_m2

__all__ = [
    "CLAIMS",
    "LEVELS",
    "LIBRARY",
    "Baseline",
    "Claim",
    "ClaimRow",
    "Comparison",
    "Component",
    "CostReport",
    "Counts",
    "Interval",
    "Level",
    "Library",
    "StepCost",
    "Term",
    "banks_needed",
    "by_component",
    "compare",
    "converter",
    "estimate",
    "product_counts",
    "storage_area_m2",
]
