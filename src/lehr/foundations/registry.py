"""Adds memory to objects: they find again, by name, the parameters assigned to their parts."""

from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Any

from torch import Tensor, nn
from torch.nn import Parameter


class Registry:
    """Records, as they are assigned, parameters and further registries: its parts.

    Python calls `__setattr__` for every assignment to any attribute. Here it notes what is to be
    found again, and then assigns as usual; any other value is an attribute like any.

    Example:
        >>> import torch
        >>> thing = Registry()
        >>> thing.scale, thing.n = Parameter(torch.ones(2)), 3
        >>> [name for name, _ in thing.named_parameters()]
        ['scale']
    """

    def __init__(self) -> None:
        self._recorded: dict[str, Any] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter | Registry) and "_recorded" not in vars(self):
            raise AttributeError(f"{name} cannot be recorded yet. Call super().__init__() first.")
        if isinstance(value, nn.Module):
            raise TypeError(f"{name} is torch's module, not one of these. Keep to one kind.")
        recorded: dict[str, Any] = vars(self).get("_recorded", {})
        if _is_buffer(value) and isinstance(recorded.get(name), Parameter):
            raise TypeError(f"{name} is a parameter; got a plain tensor. Assign Parameter(value).")
        stays_buffer = _is_buffer(value) and _is_buffer(recorded.get(name))
        if isinstance(value, Parameter | Registry) or stays_buffer:
            recorded[name] = value
        else:
            recorded.pop(name, None)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._recorded.pop(name, None)
        super().__delattr__(name)

    def register_buffer(self, name: str, value: Tensor) -> None:
        """Assign a tensor that belongs to the state, but is not trained."""
        self._recorded[name] = value
        setattr(self, name, value)

    def children(self) -> Iterator[Any]:
        """The parts assigned here, in their order."""
        return (part for part in self._recorded.values() if isinstance(part, Registry))

    def _walk(self, path: str = "") -> Iterator[tuple[str, Any]]:
        yield path, self
        for name, value in sorted(self._recorded.items(), key=lambda r: isinstance(r[1], Registry)):
            full = f"{path}.{name}" if path else name
            yield from value._walk(full) if isinstance(value, Registry) else [(full, value)]

    def _named(self, kind: type) -> Iterator[tuple[str, Any]]:
        first: dict[int, tuple[str, Any]] = {}
        for name, value in self._walk():
            if isinstance(value, kind):
                first.setdefault(id(value), (name, value))
        return iter(first.values())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """What is trained, here and in the parts: each once, under its first full name."""
        return self._named(Parameter)

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """What is kept but not trained, likewise."""
        return ((name, t) for name, t in self._named(Tensor) if _is_buffer(t))

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        """The object itself, whose name is empty, and its parts, likewise."""
        return self._named(Registry)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """`named_parameters` without the names; without the parts too, unless ``recurse``."""
        return (p for name, p in self.named_parameters() if recurse or "." not in name)

    def buffers(self) -> Iterator[Tensor]:
        """`named_buffers` without the names."""
        return (buffer for _, buffer in self.named_buffers())

    def modules(self) -> Iterator[Any]:
        """`named_modules` without the names."""
        return (part for _, part in self.named_modules())

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and buffers; a shared one under each of its names."""
        return {name: value.detach() for name, value in self._walk() if isinstance(value, Tensor)}

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy tensors in; ValueError unless names and shapes are those of `state_dict`."""
        own = self.state_dict()
        here, given = ({n: tuple(t.shape) for n, t in d.items()} for d in (own, state_dict))
        wrong = dict.fromkeys(n for n in {**here, **given} if here.get(n) != given.get(n))
        if wrong:
            differences = [f"{n}: expected {here.get(n)}, got {given.get(n)}" for n in wrong]
            raise ValueError(
                f"state_dict does not fit: {'; '.join(differences)}. Load it where it does."
            )
        for name, value in own.items():
            value.copy_(state_dict[name])

    def __repr__(self) -> str:
        parts = [(n, part) for n, part in self._recorded.items() if isinstance(part, Registry)]
        lines = "".join(f"({name}): {part!r}\n" for name, part in parts)
        inner = f"\n{indent(lines, '  ')}" if lines else ""
        return f"{type(self).__name__}({inner})"


def _is_buffer(value: object) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, Parameter)
