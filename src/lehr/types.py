"""The few shapes that a user's objects must have; nothing has to inherit from anything here."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType, NoneType
from typing import Any, Literal, Protocol, TypeGuard, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from torch.optim import Optimizer

RECORDED = ("epoch", "step", "train_loss", "valid_loss", "seconds", "loss", "lr", "kind", "batch")
"""Names in a history that are the recorder's own, or that its files use."""

TARGETS = ("label", "labels", "target", "targets", "y", "yb")
"""What a target is called: a key of a batch that is a dict, or a parameter of a loss function."""

Batch = Any
"""Whatever a loader yields."""

LossFunc = Callable[..., Any]
"""``(pred, yb)`` or ``(pred)`` to a scalar, or to a dict of scalars, whose sum is the loss."""

Scores = dict[str, float | None]
"""Loss and metrics by name; None for a mean over nothing."""

OptFactory = Callable[[Iterable[torch.nn.Parameter]], Optimizer]
"""``parameters -> optimizer``, for example ``functools.partial(torch.optim.SGD, lr=0.1)``."""

SplitBatch = Callable[[Batch], tuple[Any, Any]]
"""``batch -> (xb, yb)``; ``yb`` is None where there are no targets."""


Stage = Literal["epoch", "batch", "validated", "trained"]
"""The kinds of places where a run rests; see `lehr.loop.rests.Rest`."""


class SeekableLoader(Protocol):
    """A loader whose batches are a function of (seed, epoch, position): ours are."""

    def __len__(self) -> int: ...

    def batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number ``start`` on, without touching those before."""
        ...


def is_seekable(loader: Any) -> TypeGuard[SeekableLoader]:
    """Whether ``loader`` has a method ``batches(seed, epoch, start)``, not only that name.

    Example:
        >>> is_seekable([1, 2])
        False
    """
    batches = getattr(loader, "batches", None)
    if not callable(batches) or not hasattr(loader, "__len__"):
        return False
    return {"seed", "epoch", "start"}.issubset(parameter_names(batches))


def is_sharing(loader: Any) -> bool:
    """Whether ``loader`` is seekable, and can read a share of every batch: ours can.

    Example:
        >>> is_sharing([1, 2])
        False
    """
    batches: Any = getattr(loader, "batches", None)
    return is_seekable(loader) and "share" in parameter_names(batches)


_PARAMETER_NAMES: WeakKeyDictionary[FunctionType, tuple[str, ...]] = WeakKeyDictionary()


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of what a function takes, of a method with its ``self``; a ``def`` is asked once.

    Example:
        >>> parameter_names(is_seekable)
        ('loader',)
    """
    written = getattr(function, "__func__", function)
    if type(written) is not FunctionType:
        return tuple(inspect.signature(function).parameters)
    names = _PARAMETER_NAMES.get(written)
    if names is None:
        names = _PARAMETER_NAMES[written] = tuple(inspect.signature(written).parameters)
    return names


@runtime_checkable
class Stateful(Protocol):
    """Anything that can hand out its state and take it back."""

    def state_dict(self) -> Mapping[str, Any]:
        """The state, as containers of tensors, numbers and strings."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Become what ``state_dict`` says."""
        ...


def is_stateful(value: object) -> TypeGuard[Stateful]:
    """Whether ``value`` is `Stateful`; of numbers, texts and lists this is known without a look.

    Example:
        >>> is_stateful(torch.nn.Linear(1, 1)), is_stateful(0.5)
        (True, False)
    """
    return type(value) not in _STATELESS and isinstance(value, Stateful)


def is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether ``value`` is a dict or anything like one.

    Its names are to be asked for by ``keys()``: to go through a TensorDict, or to look whether
    something is in it, is to go through its items.

    Example:
        >>> is_mapping({}), is_mapping([])
        (True, False)
    """
    return value.__class__ is dict or isinstance(value, Mapping)


def is_sequence(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether ``value`` is a list or a tuple.

    Example:
        >>> is_sequence(()), is_sequence("text")
        (True, False)
    """
    return isinstance(value, (list, tuple))


PLAIN: frozenset[type] = frozenset((NoneType, bool, int, float, str))
"""The types of what is neither a container nor a tensor in a state, and by far the most of it."""

_STATELESS = PLAIN | {list, tuple, dict, set, torch.Tensor}


def holds_only_plain(value: list[Any] | tuple[Any, ...]) -> bool:
    """Whether there is nothing but numbers, texts and None in a list: no container, no tensor.

    The state of a random generator has 600 numbers, and this takes them in one pass.

    Example:
        >>> holds_only_plain([1, "a", None]), holds_only_plain([[]])
        (True, False)
    """
    return PLAIN.issuperset(map(type, value))


def is_array(value: object) -> bool:
    """Whether ``value`` is an array of NumPy's, which is not imported for this.

    Example:
        >>> import numpy as np
        >>> is_array(np.zeros(2)), is_array(torch.zeros(2))
        (True, False)
    """
    kind = type(value)
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray"
