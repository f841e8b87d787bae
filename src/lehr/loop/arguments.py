"""The checks of what a Learner is given: what came, what is allowed, what to do."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lehr.base.arrays import is_numpy
from lehr.base.intervals import EVERY_EPOCH, Every, every
from lehr.callback import Callback
from lehr.engine import ALONE, Engine
from lehr.errors import did_you_mean, positive_int
from lehr.loop.check import check
from lehr.loop.step.graphs import Graphs
from lehr.loop.untrained import require_trained
from lehr.optim import optimizers
from lehr.types import OptFactory, is_mapping

T = TypeVar("T")

_MODULE = (
    *("__call__", "train", "eval", "state_dict", "load_state_dict"),
    *("modules", "named_modules", "parameters", "named_parameters", "buffers", "named_buffers"),
)
"""What the loop, its states and its probes use of a model."""


def check_learner(
    model: Any, data: Any, split_batch: Any, weight: Any, reduction: Any, valid_grad: Any
) -> None:
    """Refuse what no training could be made of.

    Raises:
        TypeError, ValueError: one of the arguments cannot be used.
    """
    if isinstance(model, type) or not all(hasattr(model, name) for name in _MODULE):
        raise TypeError(
            f"model must be a torch.nn.Module; got {model!r}. Call its class, if it is one; a "
            f"model of another kind needs {', '.join(_MODULE)}."
        )
    check_data(data, "data")
    for name, function in (("split_batch", split_batch), ("weight", weight)):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function; got {function!r}. Pass one, or none.")
    if reduction not in ("mean", "sum"):
        raise ValueError(
            f"reduction must be 'mean' or 'sum'; got {reduction!r}. Say what loss_func returns."
        )
    if valid_grad not in (True, False):
        raise TypeError(
            f"valid_grad must be True or False; got {valid_grad!r}. Say whether the loss or the "
            "model needs gradients in validation."
        )


def as_graphs(compile: Any) -> Graphs | None:
    """Where the fused steps of a Learner are kept; None if they are not to be fused.

    Raises:
        TypeError, ValueError: ``compile`` is neither True nor False, nor ``"always"``, nor the name
            of a backend.

    Example:
        >>> as_graphs(True), as_graphs(False)
        (Graphs('inductor'), None)
    """
    if isinstance(compile, bool):
        return Graphs("inductor", measures=True) if compile else None
    if not isinstance(compile, str):
        raise TypeError(
            f'compile must be True, False, "always" or the name of a backend; got {compile!r}. '
            "Write compile=True for torch's own."
        )
    if compile == "always":
        return Graphs("inductor")
    if compile not in torch.compiler.list_backends(None):  # those for debugging, too
        names = ["always", *torch.compiler.list_backends()]
        raise ValueError(
            f"compile={compile!r} names no backend of torch.compile. {did_you_mean(compile, names)}"
        )
    return Graphs(compile)


def check_data(data: Any, name: str) -> None:
    """See that something holds loaders.

    Raises:
        TypeError: it does not.
    """
    if not hasattr(data, "train_dl") or not hasattr(data, "valid_dl"):
        raise TypeError(
            f"{name} must be a DataBunch; got {type(data).__name__}. "
            "Write DataBunch(train_dl, valid_dl), where each is any iterable of batches."
        )


def as_optimizers(
    opt: Optimizer | OptFactory | Mapping[str, Optimizer], model: nn.Module
) -> optimizers.Optimizers:
    """The optimizer or optimizers that ``opt`` is or makes.

    Raises:
        TypeError: it is none and makes none.
        ValueError: it holds none of the model's parameters.

    Example:
        >>> import torch
        >>> type(as_optimizers(torch.optim.Adam, nn.Linear(1, 1))).__name__
        'Adam'
    """
    made: Any = opt
    if callable(opt) and not is_mapping(opt):
        made = opt(model.parameters())
    for name, one in (made if is_mapping(made) else {"opt": made}).items():
        if not hasattr(one, "param_groups") or not hasattr(one, "step"):
            raise TypeError(
                f"{name} must be an optimizer, a function from parameters to one, or a dict of "
                f"them; got {one!r}. Write e.g. torch.optim.SGD(model.parameters(), lr=0.1)."
            )
    require_trained(model, made)
    return made


def as_engine(engine: Any) -> Engine:
    """The engine of a Learner; that of one process if none is given.

    Raises:
        TypeError: it is none.

    Example:
        >>> as_engine(None).world
        1
    """
    if engine is not None and not isinstance(engine, Engine):
        raise TypeError(
            f"engine must be a lehr.distributed.Distributed; got {engine!r}. Write "
            "engine=Distributed(), or leave it out to train in one process."
        )
    return ALONE if engine is None else engine


def listed(callbacks: Iterable[T]) -> list[T]:
    """The callbacks as a list.

    Raises:
        TypeError: it is one callback, or nothing that can be iterated.
    """
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list; got {callbacks!r}. Write callbacks=[...].")
    return list(callbacks)


def checked(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks as a list, after a look at each.

    Raises:
        TypeError, AttributeError: the loop cannot call one of them.
        ValueError: one of them is there twice.
    """
    callbacks = listed(callbacks)
    for callback in callbacks:
        check(callback)
    refuse_twice(callbacks)
    return callbacks


def refuse_twice(callbacks: Iterable[Any]) -> None:
    """See that no callback is attached twice: it would do everything twice.

    Raises:
        ValueError: one is.
    """
    seen: set[int] = set()
    for callback in callbacks:
        if id(callback) in seen:
            raise ValueError(
                f"this {type(callback).__name__} is attached twice, in one list, or to the Learner "
                "and to the fit: it would be called twice each time. Take it out of one place, or "
                "make another one."
            )
        seen.add(id(callback))


def check_length(epochs: Any, steps: Any, steps_per_epoch: Any) -> dict[str, int | None]:
    """The length of a fit: epochs or steps, and perhaps how many steps an epoch has.

    Raises:
        TypeError, ValueError: both or none are given, or one is no whole number.

    Example:
        >>> check_length(3, None, None)
        {'epochs': 3, 'steps': None, 'steps_per_epoch': None}
    """
    if (epochs is None) == (steps is None):
        raise ValueError(
            f"fit takes either epochs or steps; got epochs={epochs}, steps={steps}. "
            "Write fit(3) or fit(steps=1000)."
        )
    known = {"epochs": epochs, "steps": steps, "steps_per_epoch": steps_per_epoch}
    least = {"epochs": 0}
    return {
        name: None if n is None else positive_int(name, n, least=least.get(name, 1), example=3)
        for name, n in known.items()
    }


def check_interval(validate_every: Any, valid_dl: Any) -> Every:
    """How often to validate; after every epoch unless it is said.

    Raises:
        ValueError: it cannot be read, or there is nothing to validate on.

    Example:
        >>> check_interval(None, None), check_interval("500 steps", [1])
        (Every(number=1, unit='epochs'), Every(number=500, unit='steps'))
    """
    if validate_every is None:
        return EVERY_EPOCH
    if valid_dl is None:
        raise ValueError(
            f"validate_every is {validate_every!r}, but there is nothing to validate on: "
            "data.valid_dl is None. Leave it out, or give the DataBunch a validation loader."
        )
    return every(validate_every, argument="validate_every")


def refuse_one_batch(data: Any) -> None:
    """Refuse a batch where inputs or a loader are wanted; its parts would pass for two batches.

    Raises:
        TypeError: ``data`` is a tuple with a tensor in it, or an array.
    """
    if is_numpy(data):
        raise TypeError(
            f"predict takes inputs or a loader; got a numpy.{type(data).__name__} of shape "
            f"{tuple(data.shape)}. Convert it: learn.predict(torch.as_tensor(inputs))."
        )
    if isinstance(data, tuple) and isinstance(next(iter(data), None), Tensor):  # type: ignore[reportUnknownArgumentType]
        raise TypeError(
            "predict takes inputs or a loader; got a tuple with a tensor in it, which looks like "
            "one batch. Pass its inputs alone, or a list of batches: [(xb, yb)]."
        )
