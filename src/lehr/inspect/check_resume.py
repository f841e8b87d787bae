"""Does a stopped run go on as if it had never stopped? Tried out, with one's own parts."""

import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from copy import copy, deepcopy
from dataclasses import dataclass
from functools import partial
from inspect import isfunction, ismethod
from itertools import islice
from typing import TYPE_CHECKING, Any

from torch import nn

from lehr.base.nested import without_entries
from lehr.base.reach import attributes_of
from lehr.callback import Callback
from lehr.callbacks.decide.checkpoint import Checkpoint
from lehr.engine import refuse_several
from lehr.errors import ResumeWarning, positive_int
from lehr.events import Phase
from lehr.inspect.twin import twin
from lehr.learner import Learner
from lehr.loop.inventory import of_data
from lehr.loop.plan import feeds
from lehr.loop.underway import refuse_open
from lehr.loop.undisturbed import same_attributes
from lehr.state.differences import first_difference
from lehr.state.disk.plain import flatten
from lehr.state.entries import AttributeState, loader_entries, tells_state
from lehr.state.snapshot import Snapshot, capture, restore
from lehr.types import Stateful, is_mapping, is_seekable, is_sequence

if TYPE_CHECKING:
    from lehr.loop.run import Run


@dataclass(frozen=True)
class ResumeCheck:
    """What came out.

    Attributes:
        points: where a run was stopped, and the first thing that was different at the end of the
            run that went on from there; None if nothing was.
        repeats: how two runs that were not stopped at all differ; None if they are the same.
        onlookers: callbacks that were left out, as nothing depends on them.

    Example:
        >>> ResumeCheck({"after the first step": None}, None, []).ok
        True
    """

    points: dict[str, str | None]
    repeats: str | None
    onlookers: list[str]

    @property
    def ok(self) -> bool:
        """Whether every run that went on ended in the same bits."""
        return self.repeats is None and not any(self.points.values())

    def __repr__(self) -> str:
        lines = [
            f"stopped {point}: {difference or 'the same'}"
            for point, difference in self.points.items()
        ]
        if self.repeats is not None:
            lines.append(
                f"two runs without a stop are not the same: {self.repeats}. Something draws random "
                "numbers that no seed governs, or depends on time."
            )
        if self.onlookers:
            lines.append(f"left out, as nothing depends on them: {', '.join(self.onlookers)}")
        return "\n".join(lines)


def check_resume(
    learn: Learner, callbacks: Iterable[Callback] = (), *, epochs: int = 2, batches: int = 6
) -> ResumeCheck:
    """Compare resumed fits with one that was not stopped. See `lehr.Learner.check_resume`."""
    refuse_several(learn.engine, "check_resume")
    everybody = learn.everybody(callbacks, rehearsal=False)
    positive_int("epochs", epochs, example=2)
    positive_int("batches", batches, example=6)
    refuse_open(feeds(learn.data)[:1])
    parts = [callback for callback in everybody if callback.replays]
    onlookers = [callback.name for callback in everybody if not callback.replays]

    loaders = of_data(*feeds(learn.data), position=False)
    at_first = capture(loaders)

    def fit(*more: Callback, resume: bool = False) -> Snapshot:
        restore(loaders, at_first)  # each training finds their generators as they are now
        other, own = twin(learn, parts, _shortened(learn.data, batches))
        other.metrics, other.progress = [], False  # they are among the callbacks
        other.rehearsal = False
        run = other.fit(epochs, [*own, *more], resume="auto" if resume else None)
        return _outcome(run, own)

    def stopped(event: str, number: int) -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            saver = partial(Checkpoint, folder, every=f"{epochs + 1} epochs")  # only where it ends
            fit(saver(), _StopAt(event, number))
            return first_difference(straight, fit(saver(), resume=True))

    with learn.probe(), same_attributes(learn), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResumeWarning)  # it is what is found out here
        _ = learn.seed  # all of them train with it
        stops = _StopPoints()
        straight = fit(stops)
        if repeats := first_difference(straight, fit()):
            return ResumeCheck({}, repeats, onlookers)
        differences = {point: stopped(*where) for point, where in stops.points().items()}
    return ResumeCheck(differences, None, onlookers)


def _outcome(run: "Run", callbacks: list[Callback]) -> Snapshot:
    """The state of a run that ended, but for the time it took, and what callbacks did not tell."""
    names = {id(cb): name for name, cb in run.state_entries().items()}
    states = without_entries(capture(run.state_entries()), lambda key, value: key == "seconds")
    for callback in run.callbacks:
        if not callback.replays:
            del states[names[id(callback)]]
    for callback in callbacks:
        for name in vars(callback):
            if not name.startswith("_") and name not in callback.state:
                path = f"{names[id(callback)]}.{name} (which `state` does not declare)"
                states |= _plain(path, AttributeState(callback, (name,)))
    return {**_of_loss(run.loss_func), **states}


def _of_loss(loss_func: Any) -> Snapshot:
    """What a loss function has that no checkpoint keeps; of a function, nothing is known."""
    if isinstance(loss_func, (nn.Module, Stateful)):
        return {}
    owner = loss_func
    while isinstance(owner, partial) or ismethod(owner):
        owner = owner.func if isinstance(owner, partial) else owner.__self__
    if isinstance(owner, nn.Module) or isfunction(owner):
        return {}
    states: Snapshot = {}
    for name in attributes_of(owner):
        path = f"loss_func.{name} (no checkpoint keeps it, without state_dict and load_state_dict)"
        states |= _plain(path, AttributeState(owner, (name,)))
    return states


def _plain(path: str, entry: AttributeState) -> Snapshot:
    try:
        [value] = capture({path: entry})[path].values()
        flatten(value)
    except (TypeError, ValueError):
        return {}  # no state, but a function or an object
    return {path: value}


class _StopPoints(Callback):
    """Finds out where a run can be stopped."""

    phase = Phase.REPORT
    replays = False

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.open: int | None = None
        self.validates = False

    def begin_train(self, run: "Run") -> None:
        """Another epoch."""
        self.batches.append(0)

    def after_batch(self, run: "Run") -> None:
        """Another batch, perhaps in the middle of a window."""
        self.validates = self.validates or not run.training
        if run.training:
            self.batches[-1] += 1
            if run.window.batches and self.open is None:
                self.open = sum(self.batches)

    def points(self) -> dict[str, tuple[str, int]]:
        """The event to stop at and which of its kind, by what messages call it."""
        n = self.batches[0]
        points = {
            "after the first batch": ("batch", 1),
            "in the middle of an epoch": ("batch", (n + 1) // 2),
            "at the last batch of an epoch": ("batch", n),
            "at the end of an epoch": ("epoch", 1),
        }
        if len(self.batches) > 1:
            points["at the first batch of the next epoch"] = ("batch", n + 1)
        if len(self.batches) > 2:
            before = sum(self.batches[:-1])
            points["in the last epoch"] = ("batch", before + (self.batches[-1] + 1) // 2)
        if self.open is not None:
            points["in the middle of an update window"] = ("batch", self.open)
        if self.validates:
            points["during a validation"] = ("validation batch", 1)
        return points


class _StopAt(Callback):
    """Interrupts the run at the n-th event of a kind."""

    phase = Phase.REPORT
    replays = False

    def __init__(self, event: str, number: int) -> None:
        self.event, self.left = event, number

    def _count(self, run: "Run", event: str) -> None:
        if event == self.event:
            self.left -= 1
            if self.left == 0:
                run.interrupt("check_resume")

    def after_batch(self, run: "Run") -> None:
        """Count it."""
        self._count(run, "batch" if run.training else "validation batch")

    def after_epoch(self, run: "Run") -> None:
        """Count it."""
        self._count(run, "epoch")


def _shortened(data: Any, batches: int) -> Any:
    short = copy(data)
    valid = data.valid_dl
    halves = {
        "train_dl": _short(data.train_dl, batches),
        "valid_dl": (
            {name: _short(loader, batches) for name, loader in valid.items()}
            if is_mapping(valid)
            else _short(valid, batches)
        ),
    }
    for name, half in halves.items():
        object.__setattr__(short, name, half)
    return short


def _short(loader: Any, batches: int) -> Any:
    if loader is None or is_sequence(loader):
        return None if loader is None else loader[:batches]
    if is_seekable(loader):
        return _ShortSeekable(loader, batches)
    # To ask for a state may begin a pass, so another copy is asked than the one that is read.
    if isinstance(loader, Stateful) and tells_state(_apart(loader)):
        return _ShortPositioned(_apart(loader), batches)
    return _Short(loader, batches)


def _apart(loader: Any) -> Any:
    """A loader where a state can be loaded: it may stay there, for every epoch of that number.

    The data are shared. An iterator of a pass that was made before is left out, if it cannot be
    copied. What cannot be copied without it is used as it is.
    """
    dataset = getattr(loader, "dataset", None)
    shared = {} if isinstance(dataset, Stateful) else {id(dataset): dataset}
    held: list[Any] = list(getattr(loader, "__dict__", {}).values())
    passes = {id(value): None for value in held if issubclass(type(value), Iterator)}
    for left_out in ({}, passes):
        with suppress(Exception):
            return deepcopy(loader, {**shared, **left_out})
    return loader


class _Short:
    """The first batches of each epoch of a loader; in all else, the loader."""

    def __init__(self, loader: Any, batches: int) -> None:
        self._loader, self._batches = loader, batches

    def __iter__(self) -> Iterator[Any]:
        loader: Any = self._loader
        return islice(iter(loader if hasattr(loader, "__iter__") else loader()), self._batches)

    def __len__(self) -> int:
        return min(len(self._loader), self._batches)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loader, name)


class _ShortPositioned(_Short):
    """Goes on where the loader does, and ends where the others end."""

    def __init__(self, loader: Any, batches: int) -> None:
        super().__init__(loader, batches)
        self._given = 0

    def __iter__(self) -> Iterator[Any]:
        left = self._batches - self._given
        for batch in islice(super().__iter__(), left) if left else ():
            self._given += 1
            yield batch
        self._given = 0

    def state_dict(self) -> dict[str, Any]:
        """How much was given, the loader's generators, and its place if it is within a pass."""
        place = loader_entries("loader", self._loader) if self._given else {}
        return {"given": self._given, **capture({**self._generators(), **place})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there.

        At the end of a short pass the loader itself may be in the middle of one, and does not go on
        from there.
        """
        self._given = state_dict["given"]
        within = 0 < self._given < self._batches
        inner = loader_entries("loader", self._loader) if within else self._generators()
        restore(inner, {name: state_dict[name] for name in inner})

    def _generators(self) -> dict[str, Stateful]:
        return loader_entries("loader", self._loader, position=False)


class _ShortSeekable(_Short):
    def batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Any]:
        """As those of the loader."""
        return islice(self._loader.batches(seed, epoch, start), self._batches - start)
