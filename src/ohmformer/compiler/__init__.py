"""From a model to what a chip has to do: graph, sub-operations, schedule."""

from ohmformer.compiler.graph import (
    PHASES,
    AtenCall,
    GraphNode,
    GraphValue,
    ModelGraph,
    Phase,
    Ref,
)
from ohmformer.compiler.interpret import interpret
from ohmformer.compiler.lower import lower
from ohmformer.compiler.lower_account import Account, account
from ohmformer.compiler.trace import trace
from ohmformer.compiler.trace_contexts import DecodeFamily, decode_family

__all__ = [
    "PHASES",
    "Account",
    "AtenCall",
    "DecodeFamily",
    "GraphNode",
    "GraphValue",
    "ModelGraph",
    "Phase",
    "Ref",
    "account",
    "decode_family",
    "interpret",
    "lower",
    "trace",
]
