"""Products and dense reads, fast."""

from ohmformer.engine.products import FastEngine, Mode, ProductEngine, mode_of
from ohmformer.engine.reference import ReferenceEngine
from ohmformer.engine.store import MarginalCells, Misreads, StoredTensor

__all__ = [
    "FastEngine",
    "MarginalCells",
    "Misreads",
    "Mode",
    "ProductEngine",
    "ReferenceEngine",
    "StoredTensor",
    "mode_of",
]
