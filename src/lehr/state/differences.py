"""Where two snapshots differ, bit for bit."""

from typing import Any

import torch
from torch import Tensor

from lehr.types import is_mapping, is_sequence


def first_difference(a: Any, b: Any, path: str = "") -> str | None:
    """Where two snapshots first differ, bit for bit, and how; None if they are identical.

    Example:
        >>> first_difference({"lr": 0.1}, {"lr": 0.2})
        'lr: 0.1 against 0.2'
        >>> first_difference([float("nan")], [float("nan")]) is None
        True
    """
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
        pairs = zip(a, b, strict=True)
        differences = (first_difference(x, y, f"{path}[{i}]") for i, (x, y) in enumerate(pairs))
        return next((difference for difference in differences if difference), None)
    same = type(a) is type(b) and (a == b or (a != a and b != b))  # nan equals nan here
    return None if same else f"{path}: {a!r} against {b!r}"


def _tensor_difference(a: Tensor, b: Tensor, path: str) -> str | None:
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{path}: {_shape(a)} against {_shape(b)}"
    x, y = (t.detach().cpu().contiguous().reshape(-1, 1) for t in (a, b))
    apart = (x.view(torch.uint8) != y.view(torch.uint8)).any(1)
    if not apart.any():
        return None
    exact = torch.complex128 if x.is_complex() else torch.float64
    wide = exact if x.is_floating_point() or x.is_complex() else torch.int64
    largest = (x.to(wide) - y.to(wide))[apart].abs().max().item()
    size = f"by up to {largest:g}" if largest else "in their bits alone"
    return f"{path}: {int(apart.sum())} of {len(x)} values differ, {size}"


def _shape(t: Tensor) -> str:
    return f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}"
