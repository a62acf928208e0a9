"""Sub-operations and programs."""

from ohmformer.ir.program import Program, Recorder
from ohmformer.ir.subops import DenseRead, FunctionCall, Product, Resident, SubOp, SubOpError

__all__ = ["DenseRead", "FunctionCall", "Product", "Program", "Recorder", "Resident", "SubOp", "SubOpError"]
