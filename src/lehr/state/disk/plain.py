"""Snapshots as text and named tensors, and back: bit for bit, type for type, without pickle.

`flatten` parts any nesting of plain containers into a *structure*, which JSON can hold, and a dict
of tensors. In a structure a text, a bool, None, a list, a common number stands for itself; anything
else is a dict with one word that says what it is: ``dict``, ``items``, ``tuple``, ``set``,
``frozenset``, ``int``, ``float``, ``dtype`` or ``tensor``.
"""

import math
import reprlib
import struct
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from lehr.state.pieces import Pieces, Shard
from lehr.types import holds_only_plain

DEPTH = 100
"""How deep containers may be nested."""

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The dtypes that the safetensors format has a name for."""

_NATIVE = frozenset(DTYPES.values())
_OTHERS = ("complex128", "complex32", "float8_e8m0fnu", "float4_e2m1fn_x2")
_AS_BYTES = {name: getattr(torch, name) for name in _OTHERS if hasattr(torch, name)}
_NAMES = {dtype: name for name, dtype in _AS_BYTES.items()}
_DTYPES = {
    str(value).removeprefix("torch."): value
    for value in vars(torch).values()
    if isinstance(value, torch.dtype)
}
_SETS: dict[Any, Any] = {"set": set, "frozenset": frozenset}
_MOST_DIMS = 64  # torch itself has no more
_SMALL = 2**63  # ints beyond are written in hexadecimal, which no reader rounds or refuses


def flatten(value: Any) -> tuple[Any, dict[str, Any]]:
    """The structure of ``value`` for JSON, and its tensors by their path.

    Tensors are not copied where it can be avoided; those on another device are brought to the CPU.

    Args:
        value: None, bools, ints, floats, strings, dtypes and dense tensors, in lists, tuples and
            dicts whose keys are strings, ints, bools or tuples of them; and sets of such keys.

    Returns:
        The structure, and contiguous tensors named like ``opt.state.0.exp_avg``. A dtype for which
        safetensors has no name is there as bytes; a `lehr.state.pieces.Shard` as it is.

    Raises:
        TypeError: something else is in it; the message names the path.
        ValueError: containers are nested more than 100 deep, or in themselves.

    Example:
        >>> flatten({"opt": {"lr": 0.1, "steps": (torch.tensor(3),)}})
        ({'dict': {'opt': {'dict': {'lr': 0.1,
          'steps': {'tuple': [{'tensor': 'opt.steps.0'}]}}}}}, {'opt.steps.0': tensor(3)})
    """
    tensors: dict[str, Any] = {}
    return _flat(value, "", 0, tensors), tensors


def unflatten(structure: Any, tensors: Mapping[str, Any]) -> Any:
    """The value that `flatten` took apart.

    Nothing that ``structure`` says is looked up anywhere but in dicts of this module; it may come
    from anybody.

    Raises:
        ValueError: it is no such structure, a tensor is missing, used twice or left over.

    Example:
        >>> unflatten(*flatten({("a", 1): [float("inf"), None]}))
        {('a', 1): [inf, None]}
    """
    left = dict(tensors)
    value = _value(structure, "", 0, left)
    if left:
        names = ", ".join(repr(name) for name in sorted(left)[:3])
        raise ValueError(f"{len(left)} tensors belong nowhere in the structure: {names}")
    return value


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else f"{key}"


def _below(path: str, key: Any) -> str:
    """A path for a message only: short, whatever the keys are."""
    return _join(path, key)[:120]


def _flat(value: Any, path: str, depth: int, tensors: dict[str, Any]) -> Any:
    kind = cast("Any", type(value))
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if -_SMALL <= value < _SMALL else {"int": hex(value)}
    if kind is float:
        return value if value - value == 0 else {"float": struct.pack(">d", value).hex()}
    if isinstance(value, Tensor) and is_lazy(value):
        raise TypeError(
            f"{path or 'the value'} has no shape yet: it is of a lazy module, which takes it from "
            "its first input. Call the model on one batch before the fit, before the optimizer is "
            "made."
        )
    if kind is Tensor:
        return _flat_tensor(value, path, tensors)
    if kind is Shard:
        tensors[name := _unused(path or "value", tensors)] = value
        return {"tensor": name}
    if kind is torch.dtype:
        return {"dtype": str(value).removeprefix("torch.")}
    if depth >= DEPTH:
        raise ValueError(f"{path[:80]}… is nested more than {DEPTH} deep. Make the state flatter.")
    if _is_list(value) or _is_tuple(value):
        items = (
            list(value)
            if _stand_for_themselves(value)
            else [_flat(x, _join(path, i), depth + 1, tensors) for i, x in enumerate(value)]
        )
        return items if kind is list else {"tuple": items}
    if _is_dict(value):
        keys = [_flat_key(key, path, depth) for key in value]
        flat = [_flat(x, _join(path, key), depth + 1, tensors) for key, x in value.items()]
        pairs = zip(keys, flat, strict=True)
        if all(type(key) is str for key in keys):
            return {"dict": dict(pairs)}
        return {"items": [list(pair) for pair in pairs]}
    if kind in (set, frozenset):
        keys = [_flat_key(key, path, depth) for key in value]
        return {kind.__name__: sorted(keys, key=repr)}  # so that the same set is the same text
    raise TypeError(
        f"{path or 'the value'} is {_type_of(value)}; a checkpoint holds dense tensors, bools, "
        "ints, floats, strings, dtypes, None, and lists, tuples, dicts and sets of them, and no "
        "subclass of these. Convert it in state_dict."
    )


_TEXTS = frozenset((NoneType, bool, str))


def _stand_for_themselves(values: list[Any] | tuple[Any, ...]) -> bool:
    """Whether none of them has to be written as another, seen without a look at each."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return min(values) >= -_SMALL and max(values) < _SMALL
    if kinds == {float}:
        return all(map(math.isfinite, values))
    return kinds <= _TEXTS


def _type_of(value: object) -> str:
    kind = type(value)
    return f"of type {kind.__module__}.{kind.__qualname__}".replace(" builtins.", " ")


def _flat_key(key: Any, path: str, depth: int) -> Any:
    if _is_tuple(key):
        if depth >= DEPTH:
            raise ValueError(f"a key in {path or 'the value'} is nested more than {DEPTH} deep.")
        return {"tuple": [_flat_key(part, path, depth + 1) for part in key]}
    if type(key) in (str, int, bool):
        return _flat(key, path, depth, {})
    raise TypeError(
        f"{path or 'the value'} has the key {reprlib.repr(key)}, {_type_of(key)}; keys "
        "of dicts and items of sets are strings, ints, bools or tuples of them. Convert it in "
        "state_dict."
    )


def _flat_tensor(value: Tensor, path: str, tensors: dict[str, Any]) -> dict[str, Any]:
    if value.layout is not torch.strided or value.is_quantized or value.device.type == "meta":
        what = value.layout if value.device.type != "meta" else "meta"
        what = value.dtype if value.is_quantized else what
        raise TypeError(
            f"{path or 'the value'} is a {str(what).removeprefix('torch.')} tensor; a checkpoint "
            "holds dense tensors with values. Convert it in state_dict, e.g. with to_dense()."
        )
    dtype = value.dtype
    if dtype not in _NATIVE and dtype not in _NAMES:
        raise TypeError(
            f"{path or 'the value'} is a tensor of dtype {dtype}, which no checkpoint can hold. "
            "Convert it in state_dict."
        )
    plain = value.detach().cpu().resolve_conj().resolve_neg()
    name = _unused(path or "value", tensors)
    leaf: dict[str, Any] = {"tensor": name}
    shape, stride = list(plain.shape), list(plain.stride())
    if stride != _row_major(shape):
        plain = plain.clone(memory_format=torch.contiguous_format)
        leaf |= {"stride": stride} if _is_dense(shape, stride) else {}
    if dtype not in _NATIVE:
        leaf |= {"dtype": _NAMES[dtype], "shape": shape}
        plain = plain.reshape(-1).view(torch.uint8)
    tensors[name] = plain
    return leaf


def _unused(name: str, tensors: Mapping[str, Any]) -> str:
    """``name``, or it with a number: the keys "a.b" and "a" ▸ "b" make the same path."""
    free, number = name, 2
    while free in tensors or free == "__metadata__":  # a word of the file format
        free, number = f"{name}~{number}", number + 1
    return free


def _row_major(shape: list[int]) -> list[int]:
    stride = [1] * len(shape)
    for i in range(len(shape) - 1, 0, -1):
        stride[i - 1] = stride[i] * (shape[i] or 1)
    return stride


def _is_dense(shape: list[int], stride: list[int]) -> bool:
    """Whether every place in memory between the first and the last value is one value's own."""
    if 0 in shape:
        return True
    expected = 1
    for step, size in sorted((s, n) for n, s in zip(shape, stride, strict=True) if n != 1):
        if step != expected:
            return False
        expected *= size
    return True


def _value(node: Any, path: str, depth: int, left: dict[str, Any]) -> Any:
    if node is None or isinstance(node, (bool, str, int, float)):
        return node
    if depth > DEPTH:
        raise ValueError(f"the structure is nested more than {DEPTH} deep, at {reprlib.repr(path)}")
    if _is_list(node):
        return _values(node, path, depth, left)
    if not _is_dict(node):
        raise ValueError(f"the structure holds {_type_of(node)} at {path!r}")
    words = node
    if "tensor" in words:
        return _tensor(words, path, left)
    word, inner = next(iter(words.items())) if len(words) == 1 else (None, None)
    if word == "dict" and _is_dict(inner):
        items = inner.items()
        if any(type(key) is not str for key, _ in items):
            raise ValueError(f"the structure has a key that is no text at {path!r}")
        return {key: _value(x, _below(path, key), depth + 1, left) for key, x in items}
    if word == "items" and _is_list(inner):
        return _items(inner, path, depth, left)
    if word == "tuple" and _is_list(inner):
        return tuple(_values(inner, path, depth, left))
    if word in _SETS and _is_list(inner):
        return _SETS[word](_items([[key, None] for key in inner], path, depth, left))
    if word == "dtype" and isinstance(inner, str) and inner in _DTYPES:
        return _DTYPES[inner]
    if word in _NUMBERS and isinstance(inner, str):
        try:
            return _NUMBERS[word](inner)
        except (ValueError, struct.error):
            raise ValueError(
                f"the structure has the {word} {reprlib.repr(inner)} at {path!r}"
            ) from None
    raise ValueError(f"the structure has {reprlib.repr(words)} at {path!r}, which means nothing")


def _values(nodes: list[Any], path: str, depth: int, left: dict[str, Any]) -> list[Any]:
    if holds_only_plain(nodes):
        return list(nodes)
    return [_value(x, _below(path, i), depth + 1, left) for i, x in enumerate(nodes)]


def _items(pairs: list[Any], path: str, depth: int, left: dict[str, Any]) -> dict[Any, Any]:
    items: dict[Any, Any] = {}
    for pair in pairs:
        if not _is_list(pair) or len(pair) != 2:
            raise ValueError(f"the structure has {reprlib.repr(pair)} as a pair at {path!r}")
        key = _value(pair[0], path, depth + 1, {})
        if not _is_key(key):
            raise ValueError(f"the structure has the key {reprlib.repr(key)} at {path!r}")
        if key in items:
            raise ValueError(f"the structure has the key {reprlib.repr(key)} twice at {path!r}")
        items[key] = _value(pair[1], _below(path, key), depth + 1, left)
    return items


def _is_key(key: Any) -> bool:
    if _is_tuple(key):
        return all(_is_key(part) for part in key)
    return isinstance(key, (str, int))


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return type(value) is list


def _is_tuple(value: Any) -> TypeGuard[tuple[Any, ...]]:
    return type(value) is tuple


def _is_dict(value: Any) -> TypeGuard[dict[Any, Any]]:
    return type(value) is dict


def _hex_int(text: str) -> int:
    number = int(text, 16)
    if hex(number) != text:
        raise ValueError(text)
    return number


def _hex_float(text: str) -> float:
    return struct.unpack(">d", bytes.fromhex(text) if len(text) == 16 else b"")[0]


_NUMBERS: dict[Any, Callable[[str], int | float]] = {"int": _hex_int, "float": _hex_float}


def _tensor(leaf: dict[Any, Any], path: str, left: dict[str, Any]) -> Any:
    name = leaf["tensor"]
    tensor = left.pop(name, None) if isinstance(name, str) else None
    whole = not isinstance(cast("Any", tensor), Pieces)
    allowed = {"tensor", "stride", "dtype", "shape"} if whole else {"tensor"}
    if tensor is None or not leaf.keys() <= allowed:
        raise ValueError(
            f"the structure has {reprlib.repr(leaf)} at {path!r}: no such tensor is left"
        )
    if "dtype" in leaf or "shape" in leaf:
        tensor = _from_bytes(tensor, leaf, path)
    if "stride" not in leaf:
        return tensor
    shape, stride = list(tensor.shape), leaf["stride"]
    if not _is_sizes(stride) or len(stride) != len(shape) or not _is_dense(shape, stride):
        raise ValueError(
            f"the structure has strides {reprlib.repr(stride)} for {shape} at {path!r}"
        )
    return torch.empty_strided(shape, stride, dtype=tensor.dtype).copy_(tensor)


def _from_bytes(data: Tensor, leaf: dict[Any, Any], path: str) -> Tensor:
    word, shape = leaf.get("dtype"), leaf.get("shape")
    dtype = _AS_BYTES.get(word) if isinstance(word, str) else None
    if dtype is None:
        raise ValueError(f"the structure has the dtype {reprlib.repr(word)} at {path!r}; unknown")
    fits = _is_sizes(shape) and math.prod(shape) * dtype.itemsize == data.numel()
    if not fits or data.dtype != torch.uint8 or data.dim() != 1:
        raise ValueError(
            f"{reprlib.repr(shape)} {word} at {path!r} do not fit their {data.numel()} bytes"
        )
    return data.view(dtype).reshape(cast("list[int]", shape))


def _is_sizes(value: Any) -> TypeGuard[list[int]]:
    if not _is_list(value) or len(value) > _MOST_DIMS:
        return False
    return all(type(n) is int and 0 <= n < _SMALL for n in value)
