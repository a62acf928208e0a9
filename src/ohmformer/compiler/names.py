"""What torch's functions are called in a graph: one plain name for one thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["function_name", "words"]


def words(text: str) -> frozenset[str]:
    """The words of a text, once each."""
    return frozenset(text.split())


# Operators and in-place forms lose their underscores; these then have another name than the function.
_SAME = {
    "iadd": "add",
    "isub": "sub",
    "imul": "mul",
    "itruediv": "div",
    "ipow": "pow",
    "radd": "add",
    "rdiv": "rtruediv",
    "rmul": "mul",
    "truediv": "div",
    "true_divide": "div",
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "mm": "matmul",
    "bmm": "matmul",
    "special_expit": "sigmoid",
    "special_softmax": "softmax",
    "swish": "silu",
    "negative": "neg",
    "absolute": "abs",
    "concat": "cat",
    "concatenate": "cat",
}


def function_name(function: Callable[..., Any]) -> str:
    """The plain name of a torch function, of the getter of a tensor's attribute, or of an operator.

    ``torch.ops`` operators keep their namespace: ``aten.add``, ``transformers.grouped_mm_fallback``.
    """
    schema = getattr(function, "_schema", None)
    if schema is not None:
        return str(schema.name).replace("::", ".")
    qualified = getattr(function, "_qualified_op_name", None)
    if qualified is not None:
        return str(qualified).replace("::", ".")
    raw = getattr(function, "__name__", None) or str(function)
    if raw in ("__get__", "__set__"):
        attribute = getattr(getattr(function, "__self__", None), "__name__", "attribute")
        return str(attribute) if raw == "__get__" else f"set_{attribute}"
    name = str(raw).strip("_")
    return _SAME.get(name, name)
