"""The function unit F, and what is composed of it and linear sub-operations."""

from ohmformer.functions.compose import EXACT, LinearSubOps, gelu, layer_norm, rms_norm, silu, softmax
from ohmformer.functions.tables import LOG2_E, POSITION_BITS, FunctionTable, function_table, table_of
from ohmformer.functions.unit import (
    ALIASES,
    FunctionError,
    canonical_name,
    evaluate,
    function_names,
    max_error,
)

__all__ = [
    "ALIASES",
    "EXACT",
    "LOG2_E",
    "POSITION_BITS",
    "FunctionError",
    "FunctionTable",
    "LinearSubOps",
    "canonical_name",
    "evaluate",
    "function_names",
    "function_table",
    "gelu",
    "layer_norm",
    "max_error",
    "rms_norm",
    "silu",
    "softmax",
    "table_of",
]
