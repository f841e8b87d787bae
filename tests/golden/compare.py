"""Comparing what two trainings left: to the last bit, or nearly."""

import math
from typing import Any

Trace = dict[str, Any]
"""What a training leaves: ``loss``, ``lr`` (and ``momentum``) by step, ``rows`` by validation,
``weights``, a checksum of the final weights. Floats are hexadecimal strings: nothing is rounded."""


def first_difference(one: Trace, other: Trace) -> str | None:
    """Where two traces first differ in a bit: the step, and both values."""
    for field in ("error", "loss", "lr", "momentum", "rows", "weights"):
        here, there = one.get(field), other.get(field)
        if here == there:
            continue
        if not (isinstance(here, list) and isinstance(there, list)):
            return f"{field}: {here} and {there}"
        pairs = zip(here, there, strict=False)
        found = [(i, a, b) for i, (a, b) in enumerate(pairs) if a != b]
        unit = "row" if field == "rows" else "step"
        if not found:
            return f"{field}: {len(here)} and {len(there)} {unit}s"
        number, a, b = found[0]
        return f"{field} at {unit} {number}: {readable(a)} and {readable(b)}"
    return None


def readable(value: Any) -> str:
    """A stored value with the decimal number beside the bits."""
    if isinstance(value, str):
        return f"{float.fromhex(value)!r} ({value})"
    if isinstance(value, list):
        return "[" + ", ".join(map(readable, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {readable(v)}" for k, v in value.items()) + "}"
    return repr(value)


def far_apart(one: Any, other: Any, tolerance: float = 1e-5) -> bool:
    """Whether two stored values differ by more than that, relatively; anything else is exact."""
    if isinstance(one, str) and isinstance(other, str):
        a, b = float.fromhex(one), float.fromhex(other)
        both_nan = math.isnan(a) and math.isnan(b)
        return not (both_nan or math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-9))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) != len(other) or any(map(far_apart, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() != other.keys() or any(far_apart(one[k], other[k]) for k in one)
    return one != other
