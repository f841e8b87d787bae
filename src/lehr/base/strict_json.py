"""JSON that says one thing: no key twice, no NaN, no end of nesting that ends the process."""

import json
from pathlib import Path
from typing import Any, NoReturn


def dump(value: Any, *, indent: int | None = None) -> bytes:
    """``value`` as JSON in ASCII.

    Raises:
        ValueError: it holds nan or infinity, or itself.

    Example:
        >>> dump({"lr": 0.1})
        b'{"lr":0.1}'
    """
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, indent=indent, separators=separators, allow_nan=False)
    return text.encode("ascii")


def parse(data: bytes | bytearray | memoryview) -> Any:
    """What JSON text says, if it says it plainly.

    Raises:
        ValueError: it is no JSON or no UTF-8, names a key twice, holds NaN or Infinity, or is
            nested too deep.

    Example:
        >>> parse(b'{"lr": 0.1}')
        {'lr': 0.1}
    """
    try:
        return _PARSER.decode(str(data, "utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text ({error})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON text ({error})") from None
    except RecursionError:
        raise ValueError("its JSON text is nested too deep") from None


def read(path: Path, most: int) -> Any:
    """What a JSON file says, if it says it plainly, and in no more than so many bytes.

    Raises:
        ValueError: it is longer; or as for `parse`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it holds more than {most} bytes")
    return parse(data)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"its JSON text names {twin[:80]!r} twice")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"its JSON text holds {word}, which is no JSON")


_PARSER = json.JSONDecoder(object_pairs_hook=_no_twins, parse_constant=_no_constant)
