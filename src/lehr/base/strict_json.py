"""JSON that says one thing: no key twice, no number that is none, no end of nesting."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from lehr.base.reading import open_plain
from lehr.types import is_mapping

DEPTH = 100
"""How deep lists and objects may be nested; what goes through them calls itself for each."""

_DIGITS = 308  # of the largest float; a whole number of more cannot be compared with one
_LONG = re.compile(f"[0-9]{{{_DIGITS + 1}}}")


def dump(value: Any, *, indent: int | None = None) -> bytes:
    """``value`` as JSON in ASCII.

    Raises:
        ValueError: it holds nan, infinity or a number beyond any float, or itself.

    Example:
        >>> dump({"lr": 0.1})
        b'{"lr":0.1}'
    """
    separators = (",", ":") if indent is None else None
    try:
        text = json.dumps(value, indent=indent, separators=separators, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"it cannot be said in JSON ({error})") from None
    if _LONG.search(text):
        _PARSER.decode(text)  # what could not be read back is refused
    return text.encode("ascii")


def parse(data: bytes | bytearray | memoryview, *, depth: int = DEPTH) -> Any:
    """What JSON text says, if it says it plainly.

    Args:
        data: the text, in UTF-8.
        depth: how deep it may be nested.

    Raises:
        ValueError: it is no JSON or no UTF-8, names a key twice, holds NaN, Infinity or a number
            beyond any float, or is nested too deep.

    Example:
        >>> parse(b'{"lr": 0.1}')
        {'lr': 0.1}
    """
    try:
        value = _PARSER.decode(str(data, "utf-8"))
        _check_depth(value, depth)
        return value
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text ({error})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON text ({error})") from None
    except RecursionError:
        raise ValueError("its JSON text is nested too deep") from None


def read(path: Path, most: int) -> Any:
    """What a JSON file says, if it says it plainly, and in no more than so many bytes.

    Raises:
        ValueError: it is longer, or no plain file; or as for `parse`.
        OSError: it cannot be read.
    """
    with open_plain(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it holds more than {most} bytes")
    return parse(data)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"its JSON text names {twin[:80]!r} twice")
    return members


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"its JSON text holds {word}, which is no JSON")


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"its JSON text holds a number of {len(text)} digits, beyond any float")
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"its JSON text holds {text[:80]}, which is beyond any float")
    return number


def _check_depth(value: Any, depth: int) -> None:
    """Go down a level at a time, without calling itself."""
    level: list[Any] = [value] if isinstance(value, (list, dict)) else []
    for _ in range(depth):
        if not level:
            return
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise ValueError("its JSON text is nested too deep")


def _inside(value: Any) -> Iterable[Any]:
    """The lists and objects in a list or object; of anything else, nothing."""
    values: Iterable[Any] = value.values() if is_mapping(value) else value
    return [x for x in values if isinstance(x, (list, dict))]


_PARSER = json.JSONDecoder(
    object_pairs_hook=_no_twins, parse_constant=_no_constant, parse_int=_whole, parse_float=_real
)
