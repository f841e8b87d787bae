"""Earlier states of a run: which callbacks keep some, which is nearest, and how one is loaded."""

from collections.abc import Container, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from lehr.engine import ALONE, Engine
from lehr.errors import positive_int
from lehr.loop.blame import where
from lehr.loop.inventory import COMPILE
from lehr.loop.rests import Entry, Kept, Rest
from lehr.state.differences import first_difference
from lehr.state.snapshot import Snapshot, in_pieces, restore

_OF_CALLBACK = "callbacks."
_TRAINED = "trained"  # the entry with the model's weights, where `model` has the measured ones


class Failure(NamedTuple):
    """Where an error, or a loss that is not finite, ended a run.

    Example:
        >>> Failure(8, 1, 3).doing
        'training'
    """

    step: int
    """optimizer steps done before"""
    epoch: int
    """number of the epoch"""
    batch: int | None
    """number of the batch in its pass; None in a validation between its batches"""
    doing: Literal["training", "reading", "validating"] = "training"
    """training on that batch, reading it to train on it, or validating"""


@runtime_checkable
class Keeper(Protocol):
    """A callback that keeps states of the run, as `Checkpoint` and `Rewind` do."""

    def nearest_state(self, run: Any, step: int) -> Kept | None:
        """The last state that this run went through with at most ``step`` steps done."""
        ...


def nearest(run: Any, step: int) -> Kept:
    """The last state, of all that callbacks keep, with at most so many optimizer steps done.

    Raises:
        ValueError: no callback keeps any, or none is so old.
    """
    keepers = [callback for callback in run.callbacks if isinstance(callback, Keeper)]
    if not keepers:
        raise ValueError(
            "no callback keeps states of this run. Attach a Checkpoint or a Rewind to the fit."
        )
    states = [state for keeper in keepers if (state := keeper.nearest_state(run, step)) is not None]
    if not states:
        raise ValueError(
            f"no state from before step {step} is left, or none can be read. A Checkpoint needs "
            "its files; a Rewind keeps the newest states alone, as many as keep= says."
        )
    return max(states, key=lambda state: state.step)


def failure(run: Any, error: Exception | None) -> Failure | None:
    """Where a run was ended by an error or by a loss that is not finite.

    It is noted in ``run.history.meta["failed"]``, where `StopOnNonFinite` has noted it already if
    the loss was bad.

    Args:
        run: the run, which is ending.
        error: what it is ending with, if anything.
    """
    noted = run.history.meta.get("failed")
    if noted is not None:
        return Failure(**noted)
    raised = None if error is None else raised_at(run, error)
    if raised is not None:
        note_failure(run, raised)
    return raised


def raised_at(run: Any, error: Exception) -> Failure | None:
    """Where an error was raised that passes through a run; None if not by a batch or a validation.

    Args:
        run: one whose scopes are still open.
        error: with its traceback.
    """
    reading = where(error.__traceback__, run).at == "reading"
    if not (run.in_batch or reading or not run.training):
        return None
    batch = run.batch_index + reading if run.in_batch or reading else None
    doing = "validating" if not run.training else "reading" if reading else "training"
    return Failure(run.n_steps, run.epoch, batch, doing)


def note_failure(run: Any, failure: Failure) -> None:
    """Note in the history what ends the run."""
    run.history.meta["failed"] = failure._asdict()


def failed_step(run: Any) -> int:
    """The optimizer step that ended a run, or that was to come when it ended.

    Raises:
        ValueError: none did, as far as the history says.
    """
    if (noted := run.history.meta.get("failed")) is None:
        raise ValueError(
            "no step of this run is known to have failed: only a Checkpoint or a StopOnNonFinite "
            "notes it. Say which step is meant, e.g. run.replay(0)."
        )
    return noted["step"]


def entry_before(run: Any, steps: int) -> Entry:
    """Where the run is to be entered to be at least so many optimizer steps earlier."""
    if positive_int("steps", steps, example=10) > run.n_steps:
        raise ValueError(
            f"steps must be at most {run.n_steps}, as many as this run has done; got {steps}."
            " Go back less."
        )
    return entry_at(nearest(run, run.n_steps - steps))


def entry_at(state: Kept) -> Entry:
    """Where a run is to be entered to go on from a state that was kept of it."""
    load = partial(bring, snapshot=state.snapshot, onlookers=state.onlookers)
    return Entry(state.stage, state.epoch, load)


def with_measured(
    snapshot: Snapshot, measured: Mapping[str, Any], engine: Engine = ALONE
) -> Snapshot:
    """A snapshot of a run whose ``model`` has the weights that a validation measured.

    Those that train are beside it, if they are others, and `bring` takes them.

    Args:
        snapshot: taken after the validation.
        measured: the state of the model, taken during the validation.
        engine: the processes that have it, which do the same.

    Example:
        >>> with_measured({"model": {"w": 1.0}}, {"w": 2.0})
        {'model': {'w': 2.0}, 'trained': {'w': 1.0}}
        >>> with_measured({"model": {"w": 1.0}}, {"w": 1.0})
        {'model': {'w': 1.0}}
    """
    differs = first_difference(snapshot["model"], measured) is not None
    if not any(engine.gather(differs)):
        return snapshot
    return {**snapshot, "model": dict(measured), _TRAINED: snapshot["model"]}


def bring(
    run: Any,
    snapshot: Mapping[str, Any],
    onlookers: Container[str],
    *,
    other_data: bool = False,
) -> None:
    """Load a snapshot into a run.

    A callback that only looks on, and one without state, may have come or gone since; and where
    `Run.data` was assigned, so may have what the loaders hold.

    Args:
        run: one in which the begin events that lead to that place were called.
        snapshot: what was captured of another run.
        onlookers: the entries of callbacks whose state is not the run's, in it or not.
        other_data: whether it is of a run that read other data there.

    What is still in files is read as it is loaded, and what was there is not kept for the case that
    this fails.

    Raises:
        KeyError: another entry is missing on either side; nothing is changed then.
    """
    entries, saved = run.state_entries(), dict(snapshot)
    if _TRAINED in saved:
        saved["model"] = saved.pop(_TRAINED)
    if other_data or run.sources.changed:
        for name in {*entries} ^ {*saved}:
            if name.startswith(("train_dl", "valid_dl")):
                entries.pop(name, None)
                saved.pop(name, None)
    if (COMPILE in entries) != (COMPILE in saved):  # both kinds of step go on from each other
        entries.pop(COMPILE, None)
        saved.pop(COMPILE, None)
    gone = [name for name in saved if name.startswith(_OF_CALLBACK) and name not in entries]
    for name in gone:
        if name in onlookers or not saved[name]:
            del saved[name]
    come = [name for name in entries if name.startswith(_OF_CALLBACK) and name not in saved]
    for name in come:
        callback: Any = entries[name]
        if name in onlookers or not callback.replays or not callback.state_dict():
            del entries[name]
    parts, todo = run.engine.parts(entries, saved), _todo(entries, saved)
    restore(entries, parts, todo, keeps=not in_pieces(saved))


def _todo(entries: Mapping[str, Any], saved: Mapping[str, Any]) -> str:
    """What to do about entries that only one of the two has."""
    gone, come = ([n for n in a if n not in b] for a, b in ((saved, entries), (entries, saved)))
    lacking = [name.removeprefix(_OF_CALLBACK) for name in gone if name.startswith(_OF_CALLBACK)]
    more: list[Any] = [entries[name] for name in come if name.startswith(_OF_CALLBACK)]
    attached = (("with ", lacking), ("without ", [type(callback).__name__ for callback in more]))
    todo = " and ".join(word + ", ".join(names) for word, names in attached if names)
    todo = f"Give fit the callbacks of the fit that was saved: {todo}." if todo else ""
    if len(lacking) + len(more) < len(gone) + len(come):
        todo = f"Make the Learner and its data as for the fit that was saved. {todo}".strip()
    if own := [type(x).__name__ for x in more if not type(x).__module__.startswith("lehr.")]:
        todo += f" If no number of the run depends on {own[0]}, declare replays = False in it."
    return f"{todo} To take only the weights, make a fresh Learner and call learn.load(…)."


def go_back_at_rest(run: Any, entry: Entry) -> None:
    """Let the run go back as soon as it rests, before anybody else sees it rest there."""
    waiting = [visit for visit in run.rests.visitors if isinstance(visit, _Leave)]
    for visit in waiting:  # the last to ask decides
        run.rests.visitors.remove(visit)
    run.rests.visitors.insert(0, _Leave(entry))


class _Leave:
    """Goes back, once."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def __call__(self, run: Any, rest: Rest) -> None:
        run.rests.visitors.remove(self)
        run.go_back(self.entry)
