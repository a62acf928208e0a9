"""What torch's functions are called, and which of them compute nothing.

Names are those torch gives its functions, without the underscores of operators and in-place forms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.overrides import get_overridable_functions


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# Nothing is computed: shapes, copies, constants.
MOVEMENT_NAMES = words(
    """get set view view_as reshape reshape_as transpose permute contiguous expand expand_as repeat
    repeat_interleave tile unsqueeze squeeze flatten unflatten cat concat concatenate stack hstack vstack
    split split_with_sizes tensor_split chunk unbind narrow select index_select gather take_along_dim getitem
    setitem to float double type type_as detach clone size dim ndimension numel stride is_contiguous
    movedim swapaxes swapdims t roll flip zeros_like ones_like empty_like full_like new_zeros
    new_ones new_full new_empty new_tensor zeros ones full empty arange tensor as_tensor linspace
    is_floating_point is_complex is_tensor cpu cuda dropout dropout1d dropout2d dropout3d feature_dropout
    alpha_dropout feature_alpha_dropout index_put index_copy copy scatter slice_scatter select_scatter pad
    constant_pad_nd broadcast_to broadcast_tensors element_size data_ptr len format repr requires_grad
    storage_offset data deepcopy reduce_ex hash unfold dimname diagonal tril triu diag_embed atleast_1d
    atleast_2d promote_types result_type is_meta bool index_fill zero fill meshgrid untyped_storage
    is_inference storage get_device iter is_nonzero as_strided can_cast names is_same_size half bfloat16"""
)
# Comparisons and selection by masks: no values are made.
CONTROL_NAMES = words(
    """masked_fill where eq ne lt le gt ge less less_equal greater greater_equal not_equal isnan isinf
    isfinite any all logical_not logical_and logical_or masked_select masked_scatter nonzero allclose equal
    argmax argmin argsort sort topk nan_to_num contains bucketize count_nonzero"""
)
COMPARATOR_NAMES = words("maximum minimum max min amax amin clamp clip clamp_min clamp_max abs sign")

# Only the shape of the argument matters: a stored parameter need not be read for these.
SHAPE_NAMES = words(
    "zeros_like ones_like empty_like full_like new_zeros new_ones new_full new_empty new_tensor set"
)
# What a program asks about a tensor a thousand times: not worth a row of the coverage table.
QUESTIONS = words("get set size dim numel")

REFLECTED = {"rmul": "mul", "radd": "add", "rsub": "rsub", "rtruediv": "rtruediv", "rpow": "rpow"}
INPLACE = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "ipow": "pow"}
ALIASES = {
    "truediv": "div",
    "true_divide": "div",
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "mm": "matmul",
    "bmm": "matmul",
    "mv": "matmul",
    "dot": "matmul",
    "special_expit": "sigmoid",
    "swish": "silu",
    "negative": "neg",
    "absolute": "abs",
}


def name_of(function: Callable[..., Any]) -> str:
    """The plain name of a torch function."""
    name = getattr(function, "__name__", str(function)).strip("_")
    name = INPLACE.get(name, REFLECTED.get(name, name))
    return ALIASES.get(name, name)


@cache
def _intercepted() -> frozenset[str]:
    """The names of all functions of torch that pass through the interception."""
    with warnings.catch_warnings():  # torch tells of its own outdated functions
        warnings.simplefilter("ignore")
        return frozenset(
            name_of(function) for group in get_overridable_functions().values() for function in group
        )


def is_operation(name: str) -> bool:
    """Whether an operation or a kernel of torch has this name."""
    if not name:
        return False
    kernel = any(hasattr(torch.ops.aten, one) for one in (name, f"_{name}"))
    return kernel or name in _intercepted() or hasattr(torch.Tensor, f"__{name}__")


def writes_into_first(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether ``function`` changes its first argument."""
    raw = getattr(function, "__name__", "")
    if raw.startswith("__"):
        return raw in ("__setitem__", "__set__") or raw.strip("_") in INPLACE
    if raw == "requires_grad_":
        return False
    # torch.relu(x, inplace) and its kind take the flag as second argument
    return raw.endswith("_") or bool(kwargs.get("inplace")) or (len(args) == 2 and args[1] is True)
