"""Values, sub-operations and programs, their verifier, printer and file."""

from ohmformer.ir.printer import render
from ohmformer.ir.program import CACHE_APPEND, CACHE_READ, Phase, Program, Recorder
from ohmformer.ir.program_file import load_program, save_program
from ohmformer.ir.subops import (
    JSON,
    Arguments,
    DenseRead,
    FunctionCall,
    Move,
    MoveKind,
    Product,
    Resident,
    SubOp,
    SubOpError,
    Value,
    ValueKind,
)
from ohmformer.ir.verify import FUNCTIONS, ProgramError, verify

__all__ = [
    "CACHE_APPEND",
    "CACHE_READ",
    "FUNCTIONS",
    "JSON",
    "Arguments",
    "DenseRead",
    "FunctionCall",
    "Move",
    "MoveKind",
    "Phase",
    "Product",
    "Program",
    "ProgramError",
    "Recorder",
    "Resident",
    "SubOp",
    "SubOpError",
    "Value",
    "ValueKind",
    "load_program",
    "render",
    "save_program",
    "verify",
]
