"""Drives anything that is a number along a schedule."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from lehr import optimizers
from lehr.annealing import Schedule
from lehr.callback import Callback
from lehr.errors import did_you_mean, real_number
from lehr.events import Phase
from lehr.types import is_mapping

if TYPE_CHECKING:
    from lehr.run import Run

_ROOTS = ("model", "opt", "loss_func", "callbacks")


class ParamScheduler(Callback):
    """Sets a hyper-parameter before every optimizer step to ``schedule(run.pos)``.

    The position is the share of the run's steps that are done: the first step uses
    ``schedule(0)``, the last of N ``schedule((N-1)/N)``. Within an update window nothing changes.
    When the fit ends the old values are put back, so a schedule never outlives its fit; what was
    set is in the history.

    Args:
        name: a hyper-parameter of the optimizer's groups (``"lr"``, ``"weight_decay"``,
            ``"momentum"``, which is the first beta where there are betas), or the path of any
            number: ``"model.2.p"``, ``"callbacks.mix_up.alpha"``, ``"opt.generator.lr"`` with
            several optimizers.
        schedule: a function from position in [0, 1] to a value. One of `lehr.schedules` is pure, so
            its values are had up to 256 steps ahead; any other function is asked before each step.
        group: number of the one parameter group to drive; None drives all.

    Raises:
        TypeError: ``schedule`` cannot be called.
        ValueError: at the start of a fit, if nothing of that name is there or it is no number; at
            the first batch, if the length of the fit is unknown.

    Example:
        >>> from lehr.schedules import sched_lin
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(1, callbacks=[ParamScheduler("lr", sched_lin(0.4, 0.0))])
        >>> [round(lr, 2) for lr in run.history["lr"]]
        [0.4, 0.3, 0.2, 0.1]
    """

    phase = Phase.PREPARE

    def __init__(
        self, name: str, schedule: Callable[[float], float], *, group: int | None = None
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f'name must be a string; got {name!r}. Write e.g. "lr" or "model.2.p".')
        if group is not None and (not isinstance(group, int) or isinstance(group, bool)):
            raise TypeError(f"group must be the number of a parameter group; got {group!r}.")
        if group is not None and "." in name and not name.startswith("opt."):
            raise ValueError(
                f"group={group} has no meaning for the path {name!r}. Leave it out: only the "
                "hyper-parameters of an optimizer have groups."
            )
        if not callable(schedule):
            raise TypeError(
                f"schedule must be a function of position; got {schedule!r}. "
                f'Write e.g. ParamScheduler("{name}", sched_cos(0.1, 0.001)).'
            )
        self.param = name
        self.schedule = schedule
        self.group = group
        label = name if group is None else f"{name}[{group}]"
        self._label = None if label == "lr" else label  # the recorder writes the column lr

    def begin_fit(self, run: "Run") -> None:
        """Find what to drive, and see that it is a number."""
        same = [cb for cb in run.callbacks if isinstance(cb, ParamScheduler) and cb._drives(self)]
        if len(same) > 1:
            raise ValueError(
                f"{len(same)} schedules drive {self.param!r}; the last would win. Leave one, or "
                "give each a group."
            )
        for holder, key in self._slots(run):
            old = _get(holder, key)
            number = isinstance(old, Real) or (isinstance(old, Tensor) and old.numel() == 1)
            if isinstance(old, bool) or not number:
                raise ValueError(
                    f"{self.param} is {old!r}; only a number can follow a schedule. Choose another."
                )
            run.defer(_restorer(holder, key))

    def _drives(self, other: "ParamScheduler") -> bool:
        return self.param == other.param and (
            self.group == other.group or None in (self.group, other.group)
        )

    def begin_train(self, run: "Run") -> None:
        """Look the places up anew: loading a state replaces an optimizer's groups."""
        self._setters = [_setter(holder, key) for holder, key in self._slots(run)]
        self._values: list[float] = []
        self._first = run.n_steps
        run.defer(self._setters.clear)

    def begin_batch(self, run: "Run") -> None:
        """Set the value, at the first batch of an update window."""
        if not run.training or run.window.batches:
            return
        ahead = run.n_steps - self._first
        if ahead >= len(self._values):
            self._evaluate(run)
            ahead = 0
        value = self._values[ahead]
        for set_to in self._setters:
            set_to(value)
        if self._label is not None:
            run.log(self._label, value)

    def _evaluate(self, run: "Run") -> None:
        # A Schedule is pure, so many values can be had at once, where one by one would cost a step
        # four times as much. Any other function may look at the clock.
        many = 256 if isinstance(self.schedule, Schedule) else 1
        _ = run.pos  # refuses where the length is unknown
        planned, self._first = run.planned_steps or 1, run.n_steps
        steps = range(self._first, min(self._first + many, planned))
        self._values = [real_number("schedule(pos)", self.schedule(s / planned)) for s in steps]

    def _slots(self, run: "Run") -> Iterator[tuple[Any, str]]:
        """The places of the number: (mapping or object, key)."""
        root, _, path = self.param.partition(".")
        if not path:
            yield from self._group_slots(optimizers.each(run.opt), self.param)
        elif root == "opt":
            name, _, param = path.rpartition(".")
            opts: Any = run.opt
            named: Mapping[str, Any] = opts if is_mapping(opts) else {}
            if name not in named:
                raise ValueError(
                    f"the path {self.param!r} leads nowhere: there is no optimizer named {name!r}. "
                    f"{did_you_mean(name, named) if named else 'Write the parameter alone.'}"
                )
            yield from self._group_slots([named[name]], param)
        else:
            yield _walk(self._root(run, root), path, self.param)

    def _group_slots(self, opts: list[Any], param: str) -> Iterator[tuple[Any, str]]:
        for opt in opts:
            groups: list[dict[str, Any]] = opt.param_groups
            if self.group is not None and not -len(groups) <= self.group < len(groups):
                raise ValueError(
                    f"group must be the number of a parameter group; got {self.group}, but "
                    f"{type(opt).__name__} has {len(groups)}. Count from 0."
                )
            for group in groups if self.group is None else [groups[self.group]]:
                if param in group:
                    yield group, param
                elif param == "momentum" and "betas" in group:
                    yield group, "betas"
                else:
                    names = [key for key in group if key != "params"]
                    names += ["momentum"] if "betas" in group else []
                    raise ValueError(
                        f"{type(opt).__name__} has no hyper-parameter {param!r}. "
                        f"{did_you_mean(param, names)}"
                    )

    def _root(self, run: "Run", root: str) -> Any:
        if root == "callbacks":
            return self._by_name(run)
        if root not in _ROOTS:
            raise ValueError(
                f"the path {self.param!r} starts with {root!r}. {did_you_mean(root, _ROOTS)}"
            )
        return getattr(run, root)

    def _by_name(self, run: "Run") -> dict[str, Any]:
        name = self.param.split(".")[1]
        alike = [callback for callback in run.callbacks if callback.name == name]
        if len(alike) > 1:
            raise ValueError(
                f"the path {self.param!r} is ambiguous: {len(alike)} callbacks are named {name!r}. "
                "Set the attribute name of one."
            )
        return {callback.name: callback for callback in run.callbacks}

    def __repr__(self) -> str:
        group = "" if self.group is None else f", group={self.group}"
        return f"ParamScheduler({self.param!r}, {self.schedule!r}{group})"


def _walk(owner: Any, path: str, whole: str) -> tuple[Any, str]:
    *parents, last = path.split(".")
    for name in parents:
        owner = _child(owner, name, whole)
    _child(owner, last, whole)
    return owner, last


def _child(owner: Any, name: str, whole: str) -> Any:
    if is_mapping(owner):
        names, found = list(owner), name in owner
    else:
        public = {n: getattr(owner, n, None) for n in dir(owner) if n[0] != "_"}
        numbers = [n for n, v in public.items() if isinstance(v, Real) and not isinstance(v, bool)]
        names = [*getattr(owner, "_modules", ()), *numbers]
        found = hasattr(owner, name)
    if not found:
        hint = did_you_mean(name, names) if names else "It has no numbers."
        raise ValueError(
            f"the path {whole!r} leads nowhere: {type(owner).__name__} has no {name!r}. {hint}"
        )
    return owner[name] if is_mapping(owner) else getattr(owner, name)


def _get(holder: Any, key: str) -> Any:
    value = holder[key] if is_mapping(holder) else getattr(holder, key)
    return value[0] if key == "betas" else value


def _setter(holder: Any, key: str) -> Callable[[float], Any]:
    old = _get(holder, key)
    if isinstance(old, Tensor):
        return old.fill_  # in place: whoever holds the tensor sees it
    if key == "betas":
        return lambda value: holder.update(betas=(value, *holder["betas"][1:]))
    if is_mapping(holder):
        return partial(cast("dict[str, Any]", holder).__setitem__, key)
    return partial(setattr, holder, key)


def _restorer(holder: Any, key: str) -> Callable[[], Any]:
    """A function that puts back the very value that is there now."""
    old = _get(holder, key)
    if isinstance(old, Tensor):
        return partial(old.copy_, old.detach().clone())
    if is_mapping(holder):
        return partial(cast("dict[str, Any]", holder).__setitem__, key, holder[key])
    inherited = isinstance(getattr(type(holder), key, None), Real)  # type: ignore[reportUnknownArgumentType]
    if inherited and key not in getattr(holder, "__dict__", {key: old}):
        return lambda: delattr(holder, key)  # what is there now is the class's
    return partial(setattr, holder, key, old)
