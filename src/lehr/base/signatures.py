"""What a function, or the forward of a module, may be called with."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a function, sorted by how they may be given."""

    required: tuple[str, ...] = ()
    """by position; they have no default"""
    optional: tuple[str, ...] = ()
    """by position; they have one"""
    defaults: tuple[Any, ...] = ()
    """those of ``optional``"""
    named: tuple[str, ...] = ()
    """by name, those among them that may be given by position as well"""
    asked: tuple[str, ...] = ()
    """by name alone; they have no default"""
    any_places: bool = False
    """whether any number may be given by position: ``*args``"""
    any_names: bool = False
    """whether any name may be given: ``**kwargs``"""
    text: str = "(*args, **kwargs)"
    """as it is written"""

    @property
    def places(self) -> tuple[str, ...]:
        """All that may be given by position and have a name."""
        return self.required + self.optional

    def takes(self, count: int) -> bool:
        """Whether it may be called with so many arguments by position, and nothing else.

        Example:
            >>> signature_of(lambda pred, target: 0).takes(2), signature_of(len).takes(2)
            (True, False)
        """
        most = self.any_places or count <= len(self.places)
        return most and count >= len(self.required) and not self.asked


def signature_of(function: Callable[..., Any]) -> Signature:
    """How a function may be called; of a module, how its forward may be.

    What does not tell, as functions of C++ often do not, may be called with anything.

    Example:
        >>> signature_of(lambda ids, mask=None, *, scale: ids).named
        ('ids', 'mask', 'scale')
    """
    asked = function.forward if isinstance(function, nn.Module) else function
    try:
        signature = inspect.signature(asked)
    except (ValueError, TypeError):
        return _scripted(asked)
    kind, parameters = inspect.Parameter, list(signature.parameters.values())
    by_place = [
        p for p in parameters if p.kind in (kind.POSITIONAL_ONLY, kind.POSITIONAL_OR_KEYWORD)
    ]
    optional = [p for p in by_place if p.default is not kind.empty]
    bare = [p.replace(annotation=kind.empty) for p in parameters]
    by_name = (kind.POSITIONAL_OR_KEYWORD, kind.KEYWORD_ONLY)
    return Signature(
        required=tuple(p.name for p in by_place if p.default is kind.empty),
        optional=tuple(p.name for p in optional),
        defaults=tuple(p.default for p in optional),
        named=tuple(p.name for p in parameters if p.kind in by_name),
        asked=tuple(
            p.name for p in parameters if p.kind is kind.KEYWORD_ONLY and p.default is kind.empty
        ),
        any_places=any(p.kind is kind.VAR_POSITIONAL for p in parameters),
        any_names=any(p.kind is kind.VAR_KEYWORD for p in parameters),
        text=str(signature.replace(parameters=bare, return_annotation=signature.empty)),
    )


def variables_of(function: Any) -> dict[Any, Any]:
    """What a function can reach by itself, by name; nothing is called to find out.

    Those are the globals and the outer variables that it uses, the attributes of the object that a
    method belongs to, and the arguments that a partial has.

    Example:
        >>> step = 3
        >>> variables_of(lambda x: x + step)
        {'step': 3}
    """
    if isinstance(function, partial):
        return dict(enumerate([*function.args, *function.keywords.values()]))
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        return {}
    own: dict[str, Any] = getattr(getattr(function, "__self__", None), "__dict__", {})
    known = inspect.getclosurevars(function)
    return {**known.globals, **known.nonlocals, **own}


def _scripted(function: Any) -> Signature:
    """That of a function which torch has compiled, as far as it has one."""
    schema = getattr(function, "schema", None)
    if schema is None:
        return Signature(any_places=True, any_names=True)
    arguments = [argument for argument in schema.arguments if argument.name != "self"]
    optional = [argument for argument in arguments if argument.has_default_value()]
    return Signature(
        required=tuple(a.name for a in arguments if not a.has_default_value()),
        optional=tuple(a.name for a in optional),
        defaults=tuple(a.default_value for a in optional),
        named=tuple(a.name for a in arguments),
        text=f"({', '.join(a.name for a in arguments)})",
    )
