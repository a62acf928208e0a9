"""Sub-operations and programs, their verifier and printer."""

from ohmformer.ir.printer import render
from ohmformer.ir.program import Program, Recorder
from ohmformer.ir.subops import DenseRead, FunctionCall, Product, Resident, SubOp, SubOpError
from ohmformer.ir.verify import FUNCTIONS, ProgramError, verify

__all__ = [
    "FUNCTIONS",
    "DenseRead",
    "FunctionCall",
    "Product",
    "Program",
    "ProgramError",
    "Recorder",
    "Resident",
    "SubOp",
    "SubOpError",
    "render",
    "verify",
]
