"""Products and dense reads, fast."""

from ohmformer.engine.cells import StoredCells
from ohmformer.engine.comparing import ComparingEngine, Deviation
from ohmformer.engine.fused import FusedOperations
from ohmformer.engine.native import kernels
from ohmformer.engine.pieces import (
    Attention,
    PreparedLinear,
    PreparedNorm,
    Rows,
    fits_kernels,
    prepared_linear,
    prepared_norm,
    rotary,
    store_rows,
)
from ohmformer.engine.products import MODES, FastEngine, Mode, ProductEngine, mode_of
from ohmformer.engine.programming import MarginalCells
from ohmformer.engine.randomness import Draw, mix, mix_keys
from ohmformer.engine.reads import Misreads, ReadPlan, plan_reads
from ohmformer.engine.reference import ReferenceEngine
from ohmformer.engine.resident import ResidentCodes

__all__ = [
    "MODES",
    "Attention",
    "ComparingEngine",
    "Deviation",
    "Draw",
    "FastEngine",
    "FusedOperations",
    "MarginalCells",
    "Misreads",
    "Mode",
    "PreparedLinear",
    "PreparedNorm",
    "ProductEngine",
    "ReadPlan",
    "ReferenceEngine",
    "ResidentCodes",
    "Rows",
    "StoredCells",
    "fits_kernels",
    "kernels",
    "mix",
    "mix_keys",
    "mode_of",
    "plan_reads",
    "prepared_linear",
    "prepared_norm",
    "rotary",
    "store_rows",
]
