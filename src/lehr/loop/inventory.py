"""Which state entries there are: those of a Learner and of a run, by name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import ismethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lehr.base.reach import attributes_of, reached
from lehr.base.weak import Weak
from lehr.callback import Callback
from lehr.data.loading.feed import Feed
from lehr.loop.position import COUNTERS
from lehr.optim import optimizers
from lehr.state.entries import AttributeState, ModelState, ModeState, RandomState, modules
from lehr.state.epochs import epoch_entries
from lehr.state.structure import keep_bound
from lehr.types import Stateful

COMPILE = "compile"
"""The entry of the choice between fused and eager steps, of a run that has to choose"""


def of_training(
    model: Any,
    opt: Any,
    loss_func: Any,
    train: Feed,
    valid: Mapping[str, Feed],
    *,
    callbacks: Iterable[Callback] = (),
    position: bool = True,
) -> dict[str, Stateful]:
    """What every training has: model, modes, global generators, optimizers, and stateful parts.

    Parameters that only an optimizer holds are an entry too, if there are any: neither the model
    nor the loss function has them, nor a module that a callback declares as its state. ``position``
    is as in `of_data`.
    """
    entries: dict[str, Stateful] = {
        "model": ModelState(model),
        "modes": ModeState(model),
        "random": RandomState(),
    }
    opts = optimizers.by_name(opt).items()
    others: dict[str, Any] = {f"opt.{name}".rstrip("."): opt for name, opt in opts}
    others["loss_func"] = ModelState(loss_func) if isinstance(loss_func, nn.Module) else loss_func
    if (alone := held_alone(model, opt, loss_func, callbacks)) is not None:
        entries |= {"parameters": ModelState(alone), "parameters.modes": ModeState(alone)}
    entries |= {name: thing for name, thing in others.items() if isinstance(thing, Stateful)}
    return {**entries, **of_data(train, valid, position=position)}


def of_data(
    train: Feed, valid: Mapping[str, Feed], *, position: bool = True
) -> dict[str, Stateful]:
    """What the loaders have.

    No run rests in the middle of a validation, so the place of a loader that says where it is
    counts for training alone.

    Args:
        train: the training feed.
        valid: the validation feeds.
        position: whether that place is wanted, to go on from it. A probe wants none: it keeps the
            generators, and the number of the epoch that each loader was told.
    """
    entries = train.entries("train_dl", position=position)
    named = {f"valid_dl.{name}".rstrip("."): feed for name, feed in valid.items()}
    for name, feed in named.items():
        entries |= feed.entries(name, position=False)
    if not position:
        for name, feed in {"train_dl": train, **named}.items():
            entries |= epoch_entries(name, feed.loader)
    return entries


def held_alone(
    model: nn.Module, opt: Any, loss_func: Any, callbacks: Iterable[Callback]
) -> nn.ParameterList | None:
    """The parameters that nothing but an optimizer holds, in its order; None if there are none."""
    own = (vars(callback).get(name) for callback in callbacks for name in callback.state)
    homes = [home for home in (model, loss_func, *own) if isinstance(home, nn.Module)]
    known = {id(p) for home in homes for p in home.parameters()}
    alone = [p for p in optimizers.held_parameters(opt) if id(p) not in known]
    return nn.ParameterList(alone) if alone else None


def of_run(run: Any) -> dict[str, Stateful]:
    """See `lehr.loop.run.Run.state_entries`."""
    source = run.sources.at(run.epoch)
    parts = run.model, run.opt, run.loss_func, source.train, source.valid
    graphs = run.plan.graphs
    compiled = {} if graphs is None else {COMPILE: graphs}
    return {**of_training(*parts, callbacks=run.callbacks), **of_course(run), **compiled}


def of_course(run: Any) -> dict[str, Stateful]:
    """What a run has of its own: its position, streams, history and callbacks."""
    return {
        "run": AttributeState(run, COUNTERS),
        "streams": run.streams,
        "history": run.history,
        **of_callbacks(run.callbacks),
    }


def evaluates(callback: Any) -> bool:
    """Whether a callback takes part where the model is only looked at: validate, predict, probes.

    Example:
        >>> from lehr.callbacks import CSVLog, Device
        >>> evaluates(Device("cpu")), evaluates(CSVLog("log.csv"))
        (True, False)
    """
    if callback.evaluates is not None:
        return callback.evaluates
    wraps = any(hasattr(callback, action) for action in ("predict", "compute_loss", "one_batch"))
    return wraps or bool(callback.moves)


def entry_name(callback: Callback, callbacks: Iterable[Callback]) -> str:
    """The name of a callback's entry among those of all callbacks of a run.

    Example:
        >>> from lehr.callback import Callback
        >>> one, two = Callback(), Callback()
        >>> entry_name(two, [one, two])
        'callbacks.callback#2'
    """
    named = of_callbacks(callbacks)
    return next(name for name, other in named.items() if other is callback)


def rehearses(callback: Any) -> bool:
    """Whether a callback takes part in a rehearsal: there, those do that change how it trains, too.

    Example:
        >>> from lehr import Callback
        >>> class Clips(Callback):
        ...     def finish_grad(self, run, proceed): ...
        >>> evaluates(Clips()), rehearses(Clips())
        (False, True)
    """
    if callback.evaluates is not None:
        return callback.evaluates
    training = ("backward", "finish_grad", "step", "zero_grad")
    changes = callback.regrads or any(hasattr(callback, action) for action in training)
    return evaluates(callback) or changes


@dataclass(frozen=True, slots=True)
class MadeOf:
    """What model and loss function are made of: modules, and the shapes of what is in them."""

    modules: tuple[Weak[Any], ...]
    shapes: tuple[tuple[str, torch.Size, torch.dtype], ...]

    def is_still(self, model: Any, loss_func: Any) -> bool:
        """Whether these are made of the same modules now, with parameters of the same shapes."""
        now = made_of(model, loss_func)
        pairs = zip(self.modules, now.modules, strict=False)
        same = all(then() is there() for then, there in pairs)
        return same and len(self.modules) == len(now.modules) and self.shapes == now.shapes


def made_of(model: Any, loss_func: Any) -> MadeOf:
    """What is compared to see whether another model is in the place of the one that was.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2))
        >>> before = made_of(model, None)
        >>> model[0] = nn.Linear(2, 2)
        >>> before.is_still(model, None), made_of(model, None).is_still(model, None)
        (False, True)
    """
    roots = [root for root in (model, loss_func) if isinstance(root, nn.Module)]
    tensors = [
        (n, p) for root in roots for n, p in (*root.named_parameters(), *root.named_buffers())
    ]
    return MadeOf(
        modules=tuple(Weak(module) for root in roots for _, module in modules(root)),
        shapes=tuple((n, _shape(p), p.dtype) for n, p in tensors),
    )


def _shape(tensor: Tensor) -> torch.Size:
    return torch.Size() if is_lazy(tensor) else tensor.shape


def parts(
    opt: Any, loss_func: Any, callbacks: Iterable[Callback]
) -> tuple[dict[str, Callable[[], None]], dict[str, Any]]:
    """What only an optimizer, a loss function or a callback holds, for `lehr.state.probe.probe`.

    Those are parameters of the loss function, say, and the modules, optimizers, tensors and random
    generators in the attributes of callbacks, declared or not; and those of a loss function that is
    no module, with the modules that it can reach, as a function around one can.

    Returns:
        Functions that bind those attributes to the objects of now; and what is put back in place.
    """
    named = of_callbacks({id(callback): callback for callback in callbacks}.values())
    bound = {f"what {name} is bound to": keep_bound(callback) for name, callback in named.items()}
    held = {name: {"modules": cb.modules, **vars(cb)} for name, cb in named.items()}
    owner = loss_func.__self__ if ismethod(loss_func) else loss_func
    if not isinstance(owner, nn.Module) and hasattr(owner, "__dict__"):
        bound["what loss_func is bound to"] = keep_bound(owner)
    if not isinstance(loss_func, nn.Module):
        around = [thing for _, thing in reached(loss_func) if isinstance(thing, nn.Module)]
        held["loss_func"] = {"modules": around, **attributes_of(owner)}
    return bound, {"opt": optimizers.held_parameters(opt), **held}


def of_callbacks(callbacks: Iterable[Callback]) -> dict[str, Callback]:
    """Each callback under its name; the second of a name with its number.

    Example:
        >>> from lehr.callback import Callback
        >>> list(of_callbacks([Callback(), Callback()]))
        ['callbacks.callback', 'callbacks.callback#2']
    """
    named: dict[str, Callback] = {}
    for callback in callbacks:
        name, number = f"callbacks.{callback.name}", 2
        while name in named:
            name, number = f"callbacks.{callback.name}#{number}", number + 1
        named[name] = callback
    return named
