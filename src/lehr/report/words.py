"""Numbers, times and settings as a reader wants them."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from lehr.base.nested import as_json
from lehr.base.rows import cell
from lehr.types import is_mapping


def number(value: float | None) -> str:
    """A measured number, or a dash for none.

    Example:
        >>> number(0.98765432), number(None), number(float("nan")), number(12)
        ('0.9877', '–', 'nan', '12')
    """
    return cell("", value)


def percent(share: float | None) -> str:
    """A share as a percentage, with as many digits as tell 99.9 % from everything.

    Example:
        >>> percent(0.9916), percent(0.99962), percent(1.0), percent(None)
        ('99.2 %', '99.96 %', '100 %', '–')
    """
    if share is None or not math.isfinite(share):
        return "–"
    digits = 2 if 0.999 <= share < 1 else 1
    shown = f"{100 * share:.{digits}f}"
    return "100 %" if share == 1 else f"{'99.99' if shown == '100.00' else shown} %"


def duration(seconds: float | None) -> str:
    """A time span in the units that fit it; None is unknown.

    Example:
        >>> duration(0.5), duration(75), duration(7260), duration(None)
        ('0.50 s', '1 min 15 s', '2 h 1 min', '–')
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"


def moment(text: object) -> datetime | None:
    """A point in time from its ISO text; None if it is none.

    Example:
        >>> moment("2024-03-01T12:00:00+00:00").year, moment("soon")
        (2024, None)
    """
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None


def date(text: object) -> str:
    """A day and minute as text.

    Example:
        >>> date("2024-03-01T12:05:00+00:00"), date(None)
        ('1 March 2024, 12:05', 'date unknown')
    """
    when = moment(text)
    return f"{when.day} {when:%B %Y, %H:%M}" if when else "date unknown"


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; lists stay values, and empty mappings are nothing.

    Example:
        >>> flat({"opt": {"lr": 0.1, "betas": [0.9, 0.99]}, "seed": 3})
        {'opt.lr': 0.1, 'opt.betas': [0.9, 0.99], 'seed': 3}
    """
    values: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            values.update(flat(cast("Mapping[str, Any]", value), f"{name}."))
        else:
            values[name] = value
    return values


def written(value: Any) -> Any:
    """A value as it is after a way through a file: as JSON has it, else as text.

    Example:
        >>> written({"lr": 0.1, "betas": (0.9, float("nan")), "out": complex(1)})
        {'lr': 0.1, 'betas': [0.9, 'nan'], 'out': '(1+0j)'}
    """
    return as_json(_written, value)


def _written(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def setting(value: Any) -> str:
    """A setting as text. A number by itself is written in full, one among others to six digits.

    Example:
        >>> setting("AdamW"), setting(1 / 3), setting(None), setting([1, 1 / 3]), setting(True)
        ('AdamW', '0.3333333333333333', 'none', '1, 0.333333', 'yes')
        >>> setting([{"name": "rooms", "mean": 4.5}, {"name": "hue", "values": ["blue", "red"]}])
        'name rooms, mean 4.5; name hue, values blue, red'
    """
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case list() | tuple():
            parts = cast("Sequence[Any]", value)
            return ("; " if any(map(is_mapping, parts)) else ", ").join(map(_among, parts))
        case dict():
            pairs = cast("Mapping[Any, Any]", value).items()
            return ", ".join(f"{name} {_among(part)}" for name, part in pairs)
        case _:
            return json.dumps(value, ensure_ascii=False, default=str)


def _among(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else setting(value)


def best(values: list[float | None], rises: bool) -> int | None:
    """The index of the best value, the first of equals; None if there is none.

    Example:
        >>> best([0.5, None, 0.9, 0.9], rises=True), best([], rises=True)
        (2, None)
    """
    known = [(v, i) for i, v in enumerate(values) if v is not None and math.isfinite(v)]
    if not known:
        return None
    return min(known, key=lambda pair: (-pair[0] if rises else pair[0], pair[1]))[1]
