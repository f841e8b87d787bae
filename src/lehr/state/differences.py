"""Where two snapshots differ, bit for bit."""

from collections.abc import Sequence
from dataclasses import is_dataclass
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from lehr.base.sharing import own_part
from lehr.types import PLAIN, is_array, is_mapping, is_sequence

_EXACT = frozenset((NoneType, bool, int, str))


def first_difference(a: Any, b: Any, path: str = "") -> str | None:
    """Where two snapshots first differ, bit for bit, and how; None if they are identical.

    Objects that do not say when they are equal are compared by their attributes.

    Example:
        >>> first_difference({"lr": 0.1}, {"lr": 0.2})
        'lr: 0.1 against 0.2'
        >>> first_difference([float("nan")], [float("nan")]) is None
        True
    """
    if type(a) in PLAIN and type(a) is type(b) and a == b:
        return None
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _tensor_difference(a, b, path)
    if is_mapping(a) and is_mapping(b):
        for key in [*a, *(key for key in b if key not in a)]:
            at = f"{path}.{key}".lstrip(".")
            if key not in a or key not in b:
                return f"{at}: only in the {'first' if key in a else 'second'}"
            if difference := first_difference(a[key], b[key], at):
                return difference
        return None
    if is_sequence(a) and is_sequence(b):
        if len(a) != len(b):
            return f"{path}: {len(a)} items against {len(b)}"
        if _is_same_numbers(a, b):
            return None
        pairs = zip(a, b, strict=True)
        differences = (first_difference(x, y, f"{path}[{i}]") for i, (x, y) in enumerate(pairs))
        return next((difference for difference in differences if difference), None)
    return None if _is_same(a, b) else f"{path}: {a!r} against {b!r}"


def _is_same_numbers(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether both are the same whole numbers and texts, soon seen: a generator's are 600."""
    kinds = list(map(type, a))
    same = _EXACT.issuperset(kinds) and kinds == list(map(type, b))
    return same and list(a) == list(b)


def _is_same(a: Any, b: Any) -> bool:
    if a is b or type(a) is not type(b):
        return a is b
    if is_array(a):
        return (a.dtype, a.shape) == (b.dtype, b.shape) and a.tobytes() == b.tobytes()
    compares = type(a).__eq__ is not object.__eq__ and not is_dataclass(a)
    if compares or not hasattr(a, "__dict__"):
        return a == b or (a != a and b != b)  # nan equals nan here
    try:
        return first_difference(vars(a), vars(b)) is None
    except RecursionError:  # they hold themselves
        return False


def _tensor_difference(a: Tensor, b: Tensor, path: str) -> str | None:
    if a.dtype != b.dtype or a.layout != b.layout or is_lazy(a) != is_lazy(b):
        return f"{path}: {_shape(a)} against {_shape(b)}"
    if is_lazy(a):
        return None
    if a.shape != b.shape:
        return f"{path}: {_shape(a)} against {_shape(b)}"
    if a.layout is not torch.strided or a.is_quantized:
        return first_difference(_dense_parts(a), _dense_parts(b), path)
    a, b = (own_part(t.detach()).resolve_conj().resolve_neg() for t in (a, b))
    if a.shape != b.shape:
        return f"{path}: {_shape(a)} of it in this process against {_shape(b)}"
    x, y = (t.cpu().contiguous().reshape(-1).unsqueeze(1) for t in (a, b))
    apart = (x.view(torch.uint8) != y.view(torch.uint8)).any(1)
    if not apart.any():
        return None
    exact = torch.complex128 if x.is_complex() else torch.float64
    wide = exact if x.is_floating_point() or x.is_complex() else torch.int64
    largest = (x.to(wide) - y.to(wide))[apart].abs().max().item()
    size = f"by up to {largest:g}" if largest else "in their bits alone"
    return f"{path}: {int(apart.sum())} of {len(x)} values differ, {size}"


def _dense_parts(t: Tensor) -> dict[str, Any]:
    """What a sparse or quantised tensor is made of."""
    t = t.detach()
    if t.is_quantized:
        if t.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            scale: Any = (t.q_scale(), t.q_zero_point())
        else:
            scale = (t.q_per_channel_scales(), t.q_per_channel_zero_points())
        return {"values": t.int_repr(), "scale": scale}
    if t.layout is torch.sparse_coo:
        one = t.coalesce()  # the entries of a place are summed
        return {"indices": one.indices(), "values": one.values(), "coalesced": t.is_coalesced()}
    rows = t.layout in (torch.sparse_csr, torch.sparse_bsr)
    compressed, plain = (
        (t.crow_indices(), t.col_indices()) if rows else (t.ccol_indices(), t.row_indices())
    )
    return {"compressed": compressed, "plain": plain, "values": t.values()}


def _shape(t: Tensor) -> str:
    kind = "lazy" if is_lazy(t) else tuple(t.shape)
    layout = "" if t.layout is torch.strided else f" {str(t.layout).removeprefix('torch.')}"
    return f"{kind} {str(t.dtype).removeprefix('torch.')}{layout}"
