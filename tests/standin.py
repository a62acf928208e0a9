"""A stand-in for a GPU, so that device-correctness is tested where there is none.

Tensors of the device ``standin:0`` hold a CPU tensor and compute with it, as strictly and as freely as CUDA:

- operands on different devices are refused (a lone number, of no axes, may come from the host);
- what CUDA's torch cannot do is refused (``REFUSED``), and so is the address of their memory, which a C++
  kernel would ask for;
- where CUDA may round otherwise than the CPU, the stand-in does: a tensor is divided by a Python number
  through the reciprocal; sums and matrix products are added in another order; transcendental functions are
  off by one unit in the last place.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._pytree import tree_map

aten = torch.ops.aten
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot", "addr")
# operators that CUDA lacks for whole numbers: torch raises "... not implemented for 'Long'" there
REFUSED = frozenset(f"aten::{name}" for name in PRODUCTS)
# operators that CUDA lacks altogether
ABSENT = frozenset(("aten::histogram.bin_ct", "aten::_histogramdd_bin_edges", "aten::kaiser_window"))
_ROUGH = """
    exp exp2 expm1 log log1p log2 sin cos tan tanh sigmoid erf erfc erfinv special_ndtri rsqrt pow
    hypot lgamma
"""
INEXACT = frozenset(f"aten::{name}" for name in _ROUGH.split())
MOVES = frozenset(("aten::copy_", "aten::_to_copy"))  # between devices


class _Module(backend_registration._DummyBackendModule):  # type: ignore[misc]
    def manual_seed_all(self, seed: int) -> None:
        """There is no generator on the stand-in."""

    def _is_in_bad_fork(self) -> bool:
        return False


backend_registration._setup_privateuseone_for_python_backend("standin", backend_module=_Module())
DEVICE = torch.device("standin:0")


class StandIn(Tensor):
    """A tensor on the stand-in; ``held`` is what it computes with."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> StandIn:
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def data_ptr(self) -> int:
        raise AssertionError("the host asks for the address of memory that lies on a device")

    def untyped_storage(self) -> Any:
        return self.held.untyped_storage()  # shared by views, as on any device

    def __deepcopy__(self, memo: Any) -> StandIn:
        made = StandIn(copy.deepcopy(self.held, memo))
        if getattr(self, "_is_param", False):
            made._is_param = True  # type: ignore[attr-defined]
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"StandIn({self.held})"


_tensor = torch.tensor


def tensor(data: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> Tensor:
    """``torch.tensor``, which cannot make tensors of the stand-in itself."""
    if device is None or torch.device(device).type != "standin":
        return _tensor(data, dtype=dtype, device=device, **options)
    return _tensor(data, dtype=dtype, device="cpu", **options).to(DEVICE)


def _all_tensors(value: Any, found: list[Tensor]) -> list[Tensor]:
    tree_map(lambda item: found.append(item) if isinstance(item, Tensor) else None, value)
    return found


def _dispatch(func: Any, args: Any, kwargs: Any) -> Any:
    name = func._schema.name
    tensors = _all_tensors((args, kwargs), [])
    own = [item for item in tensors if isinstance(item, StandIn)]
    if name not in MOVES:
        for item in tensors:
            if own and not isinstance(item, StandIn) and item.ndim:
                raise RuntimeError(
                    f"{name}: operands on {DEVICE} and {item.device}, of shape {tuple(item.shape)}"
                )
    if own and name in ABSENT:
        raise NotImplementedError(f"{name} is missing on CUDA")
    if own and name in REFUSED and not any(item.is_floating_point() for item in tensors):
        raise NotImplementedError(f"{name} is not implemented for {tensors[0].dtype} on CUDA")
    number = len(args) > 1 and not isinstance(args[1], StandIn) and not getattr(args[1], "ndim", 0)
    by_reciprocal = number and isinstance(args[0], StandIn) and args[0].is_floating_point()
    args, kwargs = tree_map(lambda v: v.held if isinstance(v, StandIn) else v, (args, dict(kwargs)))
    here = bool(own)
    wanted = kwargs.get("device")
    if wanted is not None:
        here = torch.device(wanted).type == "standin"
        kwargs["device"] = torch.device("cpu")
    result = _computed(func, name, args, kwargs, by_reciprocal) if own else func(*args, **kwargs)
    if not here:
        return result
    if func._schema.is_mutable and own and isinstance(result, Tensor):
        same = next((item for item in own if item.held is result), None)
        if same is not None:
            return same
    return tree_map(lambda v: StandIn(v) if isinstance(v, Tensor) else v, result)


def _floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _computed(func: Any, name: str, args: Any, kwargs: Any, by_reciprocal: bool) -> Any:
    """As CUDA may compute it: the same up to rounding."""
    plain = name.rstrip("_")
    if plain == "aten::div" and by_reciprocal and len(args) == 2 and not kwargs:
        inverse = 1 / torch.as_tensor(args[1], dtype=args[0].dtype)
        return args[0].mul_(inverse) if name.endswith("_") else args[0] * inverse
    if plain in ("aten::mm", "aten::bmm") and _floating(args[0]):
        return func(args[0].flip(-1), args[1].flip(-2), **kwargs)
    if plain == "aten::sum" and _floating(args[0]):
        total = func(args[0].flip(tuple(range(args[0].ndim))), *args[1:], **kwargs)
        return total.flip(tuple(range(total.ndim)))
    result = func(*args, **kwargs)
    if plain in INEXACT and _floating(result):
        moved = torch.nextafter(result, torch.full_like(result, torch.inf))
        # zero, one and the like are exact on every device
        result.copy_(torch.where((result == result.round()) | ~result.isfinite(), result, moved))
    return result


_library = torch.library.Library("_", "IMPL")
_library.fallback(lambda func, *args, **kwargs: _dispatch(func, args, kwargs), "PrivateUse1")


def _arange(*bounds: Any, dtype: Any = None, **options: Any) -> StandIn:
    return StandIn(torch.arange(*bounds, dtype=dtype, device="cpu"))


# torch makes these with an empty tensor that grows, which a wrapper cannot
_ranges = torch.library.Library("aten", "IMPL")
for _name in ("arange", "arange.start", "arange.start_step"):
    _ranges.impl(_name, _arange, "PrivateUse1")
