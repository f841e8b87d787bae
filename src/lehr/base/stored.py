"""What comes back from a file, checked against a form: its fields, their types and their ranges.

msgspec checks. Its errors get our words here: which field, what is allowed there, what came. This
module is loaded where something is read, and not before, for `import lehr` loads torch alone.
"""

import re
import reprlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.structs import asdict
from msgspec.structs import fields as fields_of

from lehr.types import is_mapping

MOST = 2**53
"""The largest whole number in a file: not every reader tells those beyond it apart."""

_LARGEST = sys.float_info.max  # infinity is out of this range, and nan is in none

Finite = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST, description="a finite number")]
Positive = Annotated[float, Meta(gt=0, le=_LARGEST, description="a finite number above 0")]
Index = Annotated[int, Meta(ge=0, le=MOST, description="a whole number from 0 to 2**53")]
Count = Annotated[int, Meta(ge=1, le=MOST, description="a whole number from 1 to 2**53")]


class Form(Struct, forbid_unknown_fields=True):
    """What a dict in a file must look like; a subclass lists the fields.

    Other fields are refused. The type of a field says what may stand there, and the ``description``
    of its ``Meta`` says so in words. Nothing becomes another type, but for lists that become tuples
    and whole numbers that become floats. What no type can say, ``__post_init__`` demands with a
    ValueError.

    Example:
        >>> class Point(Form):
        ...     x: Finite
        ...     label: str = ""
        >>> Point.read({"x": 1}, "a point")
        Point(x=1.0, label='')
        >>> Point.read({"x": "1"}, "a point")
        Traceback (most recent call last):
            ...
        ValueError: x must be a finite number; got '1'
    """

    @classmethod
    def read(cls, value: Any, what: str, *, at: str = "", todo: str = "") -> Self:
        """``value`` if it is of this form; see `read`."""
        return read(cls, value, what, at=at, todo=todo)

    @classmethod
    def read_among(cls, value: Any, what: str, *, at: str = "", todo: str = "") -> Self:
        """The fields of this form, though ``value`` may have others; see `read`."""
        if is_mapping(value):
            known = {field.name for field in fields_of(cls)}
            value = {name: content for name, content in value.items() if name in known}
        return read(cls, value, what, at=at, todo=todo)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def read(kind: Any, value: Any, what: str, *, at: str = "", todo: str = "") -> Any:
    """``value`` as ``kind``, if it is that.

    Args:
        kind: a `Form`, or a type that is made as those of its fields are.
        value: what came out of a file: dicts, lists, texts, numbers, bools and None.
        what: what the message calls the whole, where that is wrong.
        at: where the whole is in something larger, like ``"columns[2]"``.
        todo: the last sentences of the message.

    Raises:
        ValueError: it is something else. The message tells the first fault.

    Example:
        >>> read(tuple[Count, ...], [3, 0], "a shape", at="shape")
        Traceback (most recent call last):
            ...
        ValueError: shape[1] must be a whole number from 1 to 2**53; got 0
    """
    try:
        return convert(value, kind)
    except ValidationError as error:
        fault = _fault(kind, value, error, what, at)
    except UnicodeEncodeError:
        fault = f"{at or what} has a field whose name is no text: half of a surrogate pair"
    stop = "" if fault.endswith((".", "?")) else "."
    raise ValueError(f"{fault}{stop} {todo}" if todo else fault)


def shown(value: Any) -> str:
    """``value`` as a message shows it, however large it is.

    Example:
        >>> shown(["a"] * 100)
        "['a', 'a', 'a', 'a', 'a', 'a', ...]"
    """
    try:
        return reprlib.repr(value)
    except ValueError:  # of an int of more digits than Python prints
        return "a number of too many digits"


def refuse_twins(name: str, texts: Iterable[str]) -> None:
    """Demand that no two of these texts are alike.

    Raises:
        ValueError: two are.

    Example:
        >>> refuse_twins("classes", ["cat", "dog"])
    """
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise ValueError(f"{name} must be different texts; got {shown(text)} twice")
        seen.add(text)


def _fault(kind: Any, value: Any, error: ValidationError, what: str, at: str) -> str:
    """The fault in our words."""
    path = re.search(r" - at `\$([^`]*)`$", str(error))
    for step in re.findall(r"\w+|\.\.\.", path[1]) if path else []:
        if fault := _wrong_fields(kind, value, at or what):
            return fault
        kind, value, at = _entered(kind, value, step, at)
    if fault := _wrong_fields(kind, value, at or what):
        return fault
    if isinstance(error.__cause__, ValueError):  # of __post_init__
        return f"{at}: {error.__cause__}" if at else str(error.__cause__)
    return f"{at or what} must be {_allowed(kind)}; got {shown(value)}"


def _wrong_fields(kind: Any, value: Any, at: str) -> str | None:
    kind = _bare(kind)
    if not _is_form(kind) or not is_mapping(value):
        return None
    fields = fields_of(kind)
    needed = [field.name for field in fields if field.required]
    others = [field.name for field in fields if not field.required]
    lacking = [name for name in needed if name not in value]
    foreign = [name for name in value if name not in needed and name not in others]
    if not lacking and not foreign:
        return None
    fault = f"{at} must have the fields {_names(needed)}"
    fault += f", and may have {_names(others)}" if others else ""
    fault += f"; missing: {_names(lacking)}" if lacking else ""
    return fault + (f"; unknown: {_names(foreign)}" if foreign else "")


def _entered(kind: Any, value: Any, step: str, at: str) -> tuple[Any, Any, str]:
    """What msgspec found when it went one step further down: what it must be, what it is, where."""
    kind = _bare(kind)
    if _is_form(kind):
        types = {field.name: field.type for field in fields_of(kind)}
        return types[step], value[step], f"{at}.{step}" if at else step
    inner = get_args(kind)
    if step == "...":  # it does not say under which key of a dict
        key = next(key for key in value if not _fits(inner[1], value[key]))
        return inner[1], value[key], f"{at}[{shown(key)}]" if at else shown(key)
    number = int(step)
    is_fixed = get_origin(kind) is tuple and inner[-1] is not Ellipsis
    return inner[number if is_fixed else 0], [*value][number], f"{at}[{number}]"


def _fits(kind: Any, value: Any) -> bool:
    try:
        convert(value, kind)
    except ValidationError:
        return False
    return True


def _bare(kind: Any) -> Any:
    """A type without what is said about it; of ``X | None``, X."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _bare(get_args(kind)[0])
    if origin in (Union, UnionType):
        return _bare(next(one for one in get_args(kind) if one is not NoneType))
    return kind


def _is_form(kind: Any) -> bool:
    return isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, Struct)


def _allowed(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        said = (meta.description for meta in inner[1:])
        return next((words for words in said if words), None) or _allowed(inner[0])
    if origin in (Union, UnionType):
        return " or ".join(_allowed(one) for one in inner)
    if origin is Literal:
        return f"one of {', '.join(inner)}"
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"a list of {len(inner)}"
    return _WORDS.get(origin or kind, "a dict")


_WORDS: Mapping[Any, str] = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    list: "a list",
    tuple: "a list",
    NoneType: "None",
}


def _names(names: Sequence[Any]) -> str:
    shorter = [str(name)[:40] for name in names[:21]]
    listed = ", ".join(name if name.isprintable() else ascii(name) for name in shorter[:20])
    return f"{listed}, …" if len(shorter) > 20 else listed
