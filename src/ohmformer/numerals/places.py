"""Where tensors lie: tables are made in host memory, quotients are rounded alike on every device."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["HOST", "divide", "on_host"]

P = ParamSpec("P")
T = TypeVar("T")
HOST = torch.device("cpu")


def on_host(make: Callable[P, T]) -> Callable[P, T]:
    """Let ``make`` make its tensors in host memory, whatever torch's default device is."""

    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.device("cpu"):
            return make(*args, **kwargs)

    return made


def divide(values: Tensor, number: float) -> Tensor:
    """values / number, rounded once.

    On a GPU torch multiplies by the reciprocal of a number, which rounds twice and differs in the last bit;
    a divisor that lies on the device itself is divided by.
    """
    if values.device.type == "cpu":
        return values / number
    return values / values.new_full((), number)
