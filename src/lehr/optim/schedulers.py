"""Schedulers that others wrote: how each wants to be stepped, what it changes, and its state."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

from lehr.base.nested import without_entries
from lehr.base.signatures import variables_of
from lehr.errors import add_note
from lehr.optim.driven import Driven
from lehr.optim.slots import Slot
from lehr.types import is_mapping, is_sequence

_METRICS = ("metrics", "metric")
_COUNTS = ("epoch", "num_updates")
_ANY = "*"  # a metric without a name


class Scheduler:
    """A scheduler of one optimizer, made for one fit.

    It is anything with ``step``, ``state_dict`` and ``load_state_dict``. What its constructor did
    to the optimizer (values, new keys in the groups, a wrapped ``step``) is undone by `close`.

    Args:
        make: ``optimizer -> scheduler``.
        opt: the optimizer.
        every: ``"step"`` or ``"epoch"``.
        monitor: whether a value is handed to it whenever it steps.

    Attributes:
        made: what ``make`` returned; None after `close`.
        driven: the places of the numbers that it changes.

    Raises:
        TypeError, ValueError: it cannot be stepped like this; the optimizer is as it was.

    Example:
        >>> import torch
        >>> opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> scheduler = Scheduler(
        ...     lambda opt: torch.optim.lr_scheduler.ExponentialLR(opt, 0.5), opt, "step"
        ... )
        >>> opt.step(); scheduler.step(1); opt.param_groups[0]["lr"]
        0.05
        >>> scheduler.close(); opt.param_groups[0]["lr"]
        0.1
    """

    def __init__(
        self, make: Callable[[Any], Any], opt: Any, every: str, *, monitor: bool = False
    ) -> None:
        self.made: Any = None
        self._opt: Any = opt
        self._size = len(opt.param_groups)
        self._step: Any = None
        self._undo, self._state = _undo(opt), dict[str, Any]()
        self.driven = Driven(_numbers(opt), kept=True)
        try:
            known = variables_of(make)
            made = make(opt)
            _check(made, opt)
            _refuse_older(made, known)
            self._step = _how(made, every, monitor=monitor)
        except BaseException:
            self.close()
            raise
        self.made = made
        self.driven.keep_only(_driven_keys(made, self.driven))

    @property
    def names(self) -> list[str]:
        """The hyper-parameters that it changes, as `lehr.optim.slots.Slots` calls them."""
        keys = dict.fromkeys(slot.key for slot in self.driven.slots)
        return ["momentum" if key == "betas" else key for key in keys]

    def step(self, count: int, value: float | None = None) -> None:
        """Step, after an optimizer step or at the end of an epoch.

        Args:
            count: how many of these there were, this one included.
            value: of the column that it monitors, if it does.
        """
        grown = len(self._opt.param_groups) != self._size
        if grown:
            keys = {slot.key for slot in self.driven.slots}
            self.driven.follow([slot for slot in _numbers(self._opt) if slot.key in keys])
        if "step" in (own := self._opt.__dict__):
            own["_opt_called"] = True  # torch's would warn: the steps before a resume are not seen
        try:
            self._step(count, value)
        except Exception as error:
            if grown:
                add_note(
                    error,
                    f"A parameter group was added after {type(self.made).__name__} was made, which "
                    "knows only the groups of then. Make the group before the fit (its parameters "
                    "may be frozen), or use ParamScheduler, which takes new groups along.",
                )
            raise

    def close(self) -> None:
        """Put back what was there before, and let go of the optimizer; the state stays."""
        if self.made is not None:
            self._state = self.state_dict()
        self.driven.put_back()
        self._undo()
        self.made = self._opt = self._step = None
        self._undo = _nothing

    def state_dict(self) -> dict[str, Any]:
        """Its own state without functions, and the numbers of before."""
        if self.made is None:
            return self._state
        state = self.made.state_dict()  # some hold functions, as SWALR once did
        own = without_entries(state, lambda key, value: inspect.isroutine(value))
        return {"scheduler": own, "driven": self.driven.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there; containers keep their types, such as the Counter of a MultiStepLR."""
        if self.made is None:
            self._state = dict(state_dict)
            return
        now = self.made.state_dict()
        self.made.load_state_dict(_typed(now, state_dict["scheduler"]))
        self.driven.load_state_dict(state_dict["driven"])


class Schedulers:
    """The schedulers of a fit, by the name of their optimizer.

    Example:
        >>> Schedulers().state_dict()
        {}
    """

    def __init__(self) -> None:
        self.by_name: dict[str, Scheduler] = {}

    def step(self, count: int, value: float | None = None) -> None:
        """Let each of them step; see `Scheduler.step`."""
        for scheduler in self.by_name.values():
            scheduler.step(count, value)

    def close(self) -> None:
        """Put back what they changed."""
        for scheduler in reversed(self.by_name.values()):
            scheduler.close()

    def state_dict(self) -> dict[str, Any]:
        """That of each."""
        return {name: scheduler.state_dict() for name, scheduler in self.by_name.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load that of each."""
        for name, scheduler in self.by_name.items():
            scheduler.load_state_dict(state_dict[name])


def _undo(opt: Any) -> Callable[[], None]:
    """A function that takes out of an optimizer what a scheduler's constructor puts there."""
    keys: list[tuple[dict[str, Any], set[str]]] = [(g, set(g)) for g in opt.param_groups]
    own: dict[str, Any] = opt.__dict__
    before = dict(own)

    def undo() -> None:
        for group, known in keys:
            for key in set(group) - known:
                del group[key]
        for name in ("step", "_opt_called"):  # torch's schedulers look there whether it stepped
            own.pop(name, None)
            own.update({name: before[name]} if name in before else {})

    return undo


def _nothing() -> None: ...


def _numbers(opt: Any) -> list[Slot]:
    """The places of all numbers in the groups of an optimizer."""
    held = [(group, key, value) for group in opt.param_groups for key, value in group.items()]
    single = [
        Slot(group, key) for group, key, value in held if key != "betas" or is_sequence(value)
    ]
    return [slot for slot in single if slot.is_number]


def _driven_keys(made: Any, before: Driven) -> set[str]:
    """The keys of what a scheduler changes: what it has changed already, and what it says."""
    keys = {"lr", str(getattr(made, "param_group_field", "lr"))}
    if any(getattr(part, "cycle_momentum", False) for part in _parts(made)):
        keys |= {"momentum", "betas"}
    moved = {slot.key for slot in before.slots if float(slot.get()) != float(before.before(slot))}
    return keys | moved


def _parts(made: Any) -> list[Any]:
    """A scheduler and those inside of it."""
    inner: Any = getattr(made, "_schedulers", ())
    return [made, *(part for one in inner for part in _parts(one))]


def _check(made: Any, opt: Any) -> None:
    lacks = [n for n in ("step", "state_dict", "load_state_dict") if not hasattr(made, n)]
    if isinstance(made, type) or lacks:
        raise TypeError(
            f"make must return a scheduler, with step, state_dict and load_state_dict; got "
            f'{made!r}. Write e.g. TorchScheduler(lambda opt: StepLR(opt, 30), "epoch").'
        )
    others = [other for other in _optimizers_in(made) if other is not opt]
    if others and not any(_share(other, opt) for other in others):
        raise ValueError(
            f"make returned a {type(made).__name__} of another optimizer. Make it from the "
            "function's argument: lambda opt: StepLR(opt, 30)."
        )


def _optimizers_in(made: Any, levels: int = 3) -> list[Any]:
    """What has parameter groups among the attributes of a scheduler, and of those inside of it."""
    if levels == 0 or isinstance(made, type) or inspect.isroutine(made):
        return []
    held = [*getattr(made, "__dict__", {}).values()]
    held += [inner for value in held if is_sequence(value) for inner in value[:16]]
    found = [value for value in held if hasattr(value, "param_groups")]
    inside = [value for value in held if hasattr(value, "step") and value not in found]
    return [*found, *(opt for value in inside for opt in _optimizers_in(value, levels - 1))]


def _share(one: Any, other: Any) -> bool:
    """Whether two optimizers have a parameter in common, as one and what wraps it have."""
    parameters = [
        {id(p) for group in opt.param_groups for p in group["params"]} for opt in (one, other)
    ]
    return not parameters[0].isdisjoint(parameters[1])


def _refuse_older(made: Any, known: Mapping[Any, Any]) -> None:
    """Refuse a scheduler that was there before ``make`` was called, among its variables."""
    name = next((name for name, value in known.items() if value is made), None)
    if name is not None:
        raise ValueError(
            f"make returned {name!r}, a {type(made).__name__} that was made before: what it did to "
            "the optimizer could not be undone, and the next fit would go on with it. Make a new "
            "one in the function: lambda opt: StepLR(opt, 30)."
        )


def _how(made: Any, every: str, *, monitor: bool) -> Callable[[int, float | None], Any]:
    """How to step a scheduler; it is found out once."""
    kind = type(made).__name__
    by_update = every == "step" and hasattr(made, "step_update")
    counted_in: Any = getattr(made, "t_in_epochs", None)
    if isinstance(counted_in, bool) and hasattr(made, "step_update"):
        wanted = "epoch" if counted_in else "step"
        if wanted != every:
            raise ValueError(
                f"every must be {wanted!r} for this {kind}, which was made with "
                f"t_in_epochs={counted_in}; got {every!r}. It would never change anything."
            )
    name = "step_update" if by_update else "step"
    step: Callable[..., Any] = made.step_update if by_update else made.step
    parameters = _parameters(made, name)
    required = [p.name for p in parameters.values() if p.default is p.empty and p.kind < 2]
    unknown = [n for n in required if n not in (*_METRICS, *_COUNTS)]
    metric = next((n for n in _METRICS if n in parameters), None)
    if monitor and metric is None:
        if not unknown and not _tells_nothing(parameters):
            raise ValueError(f"{kind}.{name} takes no metric. Leave monitor out.")
        metric = unknown.pop(0) if unknown else _ANY
    if not monitor and metric in required:
        raise ValueError(
            f"{kind}.{name} needs a metric. Say which column of the history it is, e.g. "
            'monitor="valid_loss".'
        )
    if unknown:
        raise TypeError(
            f"{kind}.{name} needs {unknown[0]!r}, which is no count ({', '.join(_COUNTS)}). If it "
            'is a value of the history, name the column, e.g. monitor="valid_loss"; else wrap it '
            "in a class whose step() takes none."
        )
    count = next((n for n in required if n in _COUNTS), None)
    first = metric == _ANY or metric == next(iter(parameters), None)
    return _call(step, count, metric if monitor else None, first=first)


def _parameters(made: Any, name: str) -> Mapping[str, inspect.Parameter]:
    """Those of a scheduler's method; where it takes anything, those of the one it hands it on to.

    That is the method of a class that it is derived from, or of the scheduler that it wraps.
    """
    kinds = cast("tuple[Any, ...]", type(made).__mro__)
    parents: list[Any] = [super(kind, made) for kind in kinds]
    holders = [made, *parents, getattr(made, "scheduler", None)]
    methods = [method for holder in holders if (method := getattr(holder, name, None)) is not None]
    every = [inspect.signature(method).parameters for method in methods]
    return next((known for known in every if not _tells_nothing(known)), every[0])


def _tells_nothing(parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Whether they are ``*args``, perhaps with ``**kwargs``, and nothing else."""
    kinds = [p.kind for p in parameters.values()]
    return kinds[:1] == [inspect.Parameter.VAR_POSITIONAL] and all(kind in (2, 4) for kind in kinds)


def _call(
    step: Callable[..., Any], count: str | None, metric: str | None, *, first: bool
) -> Callable[[int, float | None], Any]:
    if count is None and metric is None:
        return lambda number, value: step()
    if metric is None:
        return lambda number, value: step(number)
    if first:
        after = () if count is None else (count,)
        return lambda number, value: step(value, **dict.fromkeys(after, number))
    if count is None:
        return lambda number, value: step(**{metric: value})
    return lambda number, value: step(number, **{metric: value})


def _typed(now: Any, saved: Any) -> Any:
    """``saved`` with the functions, and in the kinds of mapping, that ``now`` has."""
    if is_mapping(now) and is_mapping(saved):
        functions = {k: v for k, v in now.items() if inspect.isroutine(v)}
        values = {k: _typed(now.get(k), v) for k, v in saved.items()}
        return cast("Any", type(now))({**functions, **values})
    if is_sequence(now) and is_sequence(saved) and len(now) == len(saved):
        return type(saved)(_typed(a, b) for a, b in zip(now, saved, strict=True))
    return saved
