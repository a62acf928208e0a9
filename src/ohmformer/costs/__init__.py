"""Area, energy, latency and lifetime from counted sub-operations, with sources; and the alternatives."""

from ohmformer.costs.baselines import Baseline
from ohmformer.costs.claims import CLAIMS, Claim
from ohmformer.costs.compare import ClaimRow, Comparison, compare
from ohmformer.costs.component import LEVELS, Component, Interval, Level
from ohmformer.costs.converter import converter
from ohmformer.costs.counts import Counts, product_counts
from ohmformer.costs.estimate import banks_needed, estimate
from ohmformer.costs.generation import GenerationReport, generation
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.report import BufferUse, ChipsUse, CostReport, KindCost, StepCost, Term, by_component
from ohmformer.costs.storage import storage_area_m2
from ohmformer.costs.sweep import Sweep, sweep

__all__ = [
    "CLAIMS",
    "LEVELS",
    "LIBRARY",
    "Baseline",
    "BufferUse",
    "ChipsUse",
    "Claim",
    "ClaimRow",
    "Comparison",
    "Component",
    "CostReport",
    "Counts",
    "GenerationReport",
    "Interval",
    "KindCost",
    "Level",
    "Library",
    "StepCost",
    "Sweep",
    "Term",
    "banks_needed",
    "by_component",
    "compare",
    "converter",
    "estimate",
    "generation",
    "product_counts",
    "storage_area_m2",
    "sweep",
]
