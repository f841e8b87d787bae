"""Saves everything that a run needs to go on bit for bit."""

import os
import uuid
import warnings
from collections.abc import Generator, Iterable, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lehr.base.intervals import every as interval
from lehr.base.nested import describe
from lehr.base.paths import path_of
from lehr.callback import Callback
from lehr.callbacks.decide.measured import Measured
from lehr.errors import ResumeWarning, add_note, one_line, positive_int
from lehr.events import Phase
from lehr.loop.blame import where
from lehr.loop.past import failure, with_measured
from lehr.loop.rests import Kept, Rest
from lehr.loop.settings import manifest, settings
from lehr.record.monitor import Mode, Monitor
from lehr.state.snapshot import Snapshot, capture, look
from lehr.types import is_sequence

if TYPE_CHECKING:
    from lehr.loop.run import Run
    from lehr.state.disk.checkpoint_folder import Saved

_FEW = 20  # items of a list that are looked at one by one


class Checkpoint(Callback):
    """Saves everything that a run needs to go on, to a folder, again and again.

    A checkpoint is saved at the beginning, whenever ``every`` says so, when the run is stopped or
    interrupted, and at the end. ``learn.fit(…, resume="auto")`` goes on from the newest. Inside an
    update window nothing is saved: what is due there is saved when the window closes. A fit that is
    interrupted during a validation, or before the first batch of an epoch, is saved as it was just
    before, and the resumed run repeats that validation. For this, a copy of the state is kept in
    memory during a validation.

    Of several processes, the first one writes, or each its part: see ``sharded``. The state of the
    first one's callbacks is everybody's when the run is resumed, which may be with another number
    of processes.

    A warning names each callback that changes its attributes but declares no ``state``, unless it
    declares ``replays = False``: its attributes are not saved.

    Args:
        folder: for the checkpoints of this run; it is made if it does not exist.
        every: ``"25 steps"``, ``"1 epoch"`` or ``"10 minutes"``.
        keep: how many of the newest are kept, at least 2. The first and the best are kept, too, and
            the last one before the run was made longer: every step can be made again from these.
        monitor: a column of the history: a checkpoint is also saved whenever it is better than ever
            before, and the best one is kept. Its file of weights holds those that were measured,
            also if a callback swaps others in for validations; a run that goes on from it has
            those that train.
        mode: whether ``"min"`` or ``"max"`` is better; None decides by the name.
        sharded: of a model that several processes share out, ``Distributed(shard=…)``, each one
            writes its own parts, and none ever has more of it. They must all see the folder. Any
            number of processes goes on from there; `lehr.export.weights` makes one plain file of
            it. Where nothing is shared out, the checkpoint is like any other. Without, the first
            process gathers all of the model in its CPU memory, and writes it.
        background: write in a thread, so that the step waits only for a copy in memory. There is
            one write at a time; its error is raised at the next save or at the end of the fit. If
            the fit ends with another error, a note of that one tells of it.
        capsule: where an error ends the fit, raised in a training batch, in reading one, or in a
            validation, or where the loss is nan or infinite, write a small file, ``failed.json``,
            with the step, the batch, and the error's text. `run.replay() <lehr.Run.replay>` and
            ``lehr replay RUN`` make again what led to it.

    Attributes:
        newest: path of the last checkpoint that this object saved; None before the first.

    Raises:
        TypeError, ValueError: an argument cannot be used.
        FileExistsError: at the start of a fit, if the folder holds another run's checkpoints.
        OSError: something cannot be written; the older checkpoints are as they were.

    Example:
        >>> import tempfile
        >>> from lehr.testing import tiny_learner
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = tiny_learner().fit(2, callbacks=[Checkpoint(folder, every="3 steps")])
        ...     sorted(path.name for path in Path(folder).glob("step-*"))
        ['step-00000000', 'step-00000003', 'step-00000006', 'step-00000008']
    """

    phase = Phase.DECIDE
    replays = False
    state = ("run_id", "best", "judged")

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: str = "1 epoch",
        keep: int = 3,
        monitor: str | None = None,
        mode: Mode | None = None,
        sharded: bool = False,
        background: bool = False,
        capsule: bool = True,
    ) -> None:
        if not isinstance(folder, (str, os.PathLike)):
            raise TypeError(
                f"folder must be the path of a folder; got {folder!r}. "
                'Write e.g. Checkpoint("checkpoints").'
            )
        self.folder = path_of(folder)
        self.every = interval(every, units=("steps", "epochs", "minutes", "seconds"))
        self.keep = positive_int("keep", keep, least=2, example=3)
        self.monitor = None if monitor is None else Monitor(monitor, mode)
        self.monitors = () if monitor is None else (monitor,)
        self._measured = None if self.monitor is None else Measured(self.monitor)
        if sharded and background:
            raise ValueError(
                "sharded and background cannot both be True: the processes wait for each other "
                "when they save together. Leave one of them out."
            )
        self.sharded, self.background, self.capsule = sharded, background, capsule
        self.newest: Path | None = None
        self.run_id = ""
        self._pending: Future[Saved] | None = None
        self._own: set[str] = set()

    @property
    def checkpoint_folder(self) -> Path:
        """The folder of the checkpoints of this run."""
        return self.folder

    @contextmanager
    def around_fit(self, run: "Run") -> Generator[None]:
        """Keep the folder to ourselves as long as the fit lasts."""
        from lehr.state.disk.checkpoint_folder import CheckpointFolder

        self._store, self._writes = CheckpointFolder(self.folder), run.engine.rank == 0
        if (
            self._writes
            and not run.resuming
            and (others := {s.run for s in self._store.all()} - self._own)
        ):
            raise FileExistsError(
                f"{self.folder} holds checkpoints of another run ({len(others)} in all). Go on "
                'from them with fit(…, resume="auto"), or give another folder.'
            )
        self.run_id = run.engine.same(uuid.uuid4().hex)
        if self._writes:
            self._store.open(self.run_id)
        self._pending = None
        self._held: tuple[Snapshot, dict[str, Any]] | None = None
        self._last_time: float | None = run.engine.clock(run)
        self._seen: dict[int, dict[str, Any]] | None = None
        self._pool = ThreadPoolExecutor(1) if self.background else None
        try:
            yield
        except BaseException as error:
            self._settle_beside(error)
            if isinstance(error, Exception):
                self._note_failure(run, error)
            raise
        else:
            try:
                self._settle()
            finally:
                self._note_failure(run, None)
        finally:
            self._own.add(self.run_id)
            if self._pool is not None:
                self._pool.shutdown(wait=True)
            self._store.close()

    def begin_fit(self, run: "Run") -> None:
        """Know of no value yet, and be there wherever the run rests."""
        self.best, self.judged = None, 0
        run.at_rest(self._visit)

    def begin_validate(self, run: "Run") -> None:
        """Look out for the monitored value."""
        if self._measured is not None:
            self._measured.begin(run)

    def after_validate(self, run: "Run") -> None:
        """Keep what was measured, if it is better."""
        if self._measured is not None:
            self._measured.end(run, self.best)

    def after_fit(self, run: "Run") -> None:
        """Save what was kept before a validation, or an epoch, that was interrupted."""
        if run.interrupted is not None and self._held is not None:
            self._write(run, *self._held)

    def nearest_state(self, run: "Run", step: int) -> Kept | None:
        """The last state that this run kept before it made an optimizer step."""
        from lehr.state.disk.checkpoint_folder import CheckpointFolder

        self._settle()
        found = CheckpointFolder(self.folder).nearest(self.run_id, step, run.rewinds, run.engine)
        if found is None:
            return None
        said = found.manifest
        return Kept(
            said["step"], said["stage"], said["at_epoch"], found.snapshot, said["onlookers"]
        )

    def _note_failure(self, run: "Run", error: Exception | None) -> None:
        """Write a capsule, if it is known what has ended the fit; no error is hidden by that."""
        place = failure(run, error)
        if place is None or not self.capsule or not self._writes:
            return
        try:
            from lehr.state.disk import capsule
            from lehr.state.disk.environment import environment

            saved = self._store.past(self.run_id, place.step, run.rewinds)
            capsule.write(
                self.folder,
                run=self.run_id,
                **place._asdict(),
                error=f"{type(error).__name__}: {error}" if error else str(run.stop_reason),
                where=_at_work(run, error),
                checkpoint=saved[-1].path.name if saved else None,
                settings=settings(run),
                environment=environment(),
            )
        except Exception as problem:
            text = f"failed.json could not be written: {one_line(problem)}"
            if error is None:
                warnings.warn(text, stacklevel=2)
            else:
                add_note(error, text)

    def _visit(self, run: "Run", rest: Rest) -> None:
        self._settle(wait=False)
        if self._seen is None:
            self._seen = {id(cb): _undeclared(cb) for cb in run.callbacks if cb.replays}
        ending = run.stop_reason is not None or run.interrupted is not None
        improved = rest.stage != "batch" and self._improved(run)  # no row ends there
        due = improved or ending or self._due(run, rest)
        if run.engine.world > 1 and (due or _is_before_validation(run, rest)):
            run.history.merge()
        if due:
            self._held = None
            self._warn_of_undeclared(run.callbacks)
            states = capture if self.background else look  # nothing changes while the step waits
            snapshot = self._to_save(run, states(run.state_entries()))
            measured = self._measured.take() if self._measured is not None else None
            if improved and measured is not None:
                snapshot = with_measured(snapshot, self._to_save(run, measured), run.engine)
            self._write(run, snapshot, self._about(run, rest))
            self._last_time = None  # the time that it took does not count
        elif _is_before_validation(run, rest):
            snapshot = self._to_save(run, capture(run.state_entries()))
            self._held = snapshot, self._about(run, rest)
        else:
            self._held = None

    def _to_save(self, run: "Run", snapshot: Snapshot) -> Snapshot:
        return run.engine.own(snapshot) if self.sharded else run.engine.whole(snapshot)

    def saves_at(self, run: "Run", rest: Rest) -> bool:
        """Whether the position alone says that it saves here."""
        number, unit = self.every
        if rest.stage == "epoch":
            first = not run.n_iter and rest.epoch == 0
            at_the_end = rest.epoch == run.epochs or run.n_steps == run.steps
            return first or at_the_end or (unit == "epochs" and rest.epoch % number == 0)
        by_steps = unit == "steps" and rest.stage == "batch" and run.stepped
        return by_steps and run.n_steps % number == 0

    def _due(self, run: "Run", rest: Rest) -> bool:
        number, unit = self.every
        seconds = {"seconds": 1, "minutes": 60}.get(unit)
        if seconds is None or self.saves_at(run, rest):
            return self.saves_at(run, rest)
        now = run.engine.clock(run)
        if self._last_time is None:
            self._last_time = now
        return now - self._last_time >= number * seconds

    def _improved(self, run: "Run") -> bool:
        if self.monitor is None:
            return False
        self.judged, values = self.monitor.judge(run, self.judged)
        before = self.best
        for _, value in values:
            if self.monitor.better(value, self.best):
                self.best = value
        return self.best is not before

    def _about(self, run: "Run", rest: Rest) -> dict[str, Any]:
        from lehr.state.disk.environment import environment

        said = manifest(run, rest) | {"run": self.run_id, "environment": environment()}
        if self.monitor is not None and rest.stage in ("epoch", "validated"):
            rows = run.history.rows[-1:]  # of these very weights, at such a rest
            said["value"] = rows[0].get(self.monitor.name) if rows else None
        return said

    def _warn_of_undeclared(self, callbacks: Iterable[Callback]) -> None:
        seen = self._seen or {}
        for callback in [callback for callback in callbacks if id(callback) in seen]:
            before, now = seen[id(callback)], _undeclared(callback)
            changed = sorted(name for name in now if before.get(name) != now[name])
            if changed:
                del seen[id(callback)]  # once is enough
                kind, names = type(callback).__name__, ", ".join(changed)
                listed = "".join(f'"{name}", ' for name in changed)
                warnings.warn(
                    f"{kind} changes {names} in the course of a fit, but declares no state: a "
                    f"resumed run will begin without. Write state = ({listed.rstrip()}) in the "
                    "class, or state = () if none of it must survive a stop.",
                    ResumeWarning,
                    stacklevel=2,
                )

    def _write(self, run: "Run", snapshot: Snapshot, about: dict[str, Any]) -> None:
        if self.sharded and run.engine.world > 1:
            from lehr.state.disk.joint_save import save_together

            saved = save_together(self._store, snapshot, about, run.engine)
            self.newest = saved.path
            if self._writes:
                self._prune(saved)
            return
        if not self._writes:
            return
        self._settle()
        if self._pool is not None:
            self._pending = self._pool.submit(self._save, snapshot, about)
        else:
            self.newest = self._save(snapshot, about).path

    def _save(self, snapshot: Snapshot, about: dict[str, Any]) -> "Saved":
        saved = self._store.save(snapshot, about)
        self._prune(saved)
        return saved

    def _prune(self, saved: "Saved") -> None:
        from lehr.state.disk.checkpoint_folder import best

        of_this_run = [one for one in self._store.all() if one.run == saved.run]
        top = best(of_this_run, self.monitor.mode or "min") if self.monitor else None
        protected = [*_before_changes(of_this_run), *([top] if top else [])]
        self._store.prune(self.keep, run=saved.run, protect=[one.path for one in protected])

    def _settle(self, *, wait: bool = True) -> None:
        """Take the result of a write in the background, or its error."""
        pending = self._pending
        if pending is not None and (wait or pending.done()):
            self._pending = None
            self.newest = pending.result().path

    def _settle_beside(self, error: BaseException) -> None:
        """Wait for the write under way where the fit ends with an error, which tells of another."""
        try:
            self._settle()
        except Exception as problem:
            add_note(error, f"A checkpoint could not be saved, either: {one_line(problem)}.")

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.folder)!r}, every={str(self.every)!r}, keep={self.keep})"


def _at_work(run: "Run", error: Exception | None) -> str:
    """Who was at work, and the shapes of the batch, if one was under way."""
    place = where(error.__traceback__, run) if error else None
    who = "" if place is None else place.text or place.at.replace("reading", "reading a batch")
    return f"{who}; xb: {describe(run.xb)}; yb: {describe(run.yb)}" if run.in_batch else who


def _is_before_validation(run: "Run", rest: Rest) -> bool:
    """Whether an epoch, or a validation in the middle of one, follows this rest, or may do so."""
    if rest.stage in ("epoch", "trained"):
        return True
    return rest.stage == "batch" and run.stepped and run.plan.validates_at(run.n_steps)


def _before_changes(saved: Iterable["Saved"]) -> list["Saved"]:
    """The last checkpoint before each change of the run's length, on which its schedules depend."""
    return [one for one, after in pairwise(saved) if _length(one) != _length(after)]


def _length(saved: "Saved") -> tuple[Any, Any]:
    said = saved.manifest.get("settings", {})
    return said.get("epochs"), said.get("steps")


def _undeclared(callback: Callback) -> dict[str, Any]:
    """A mark of each attribute, to see later which changed; none for a callback with a `state`."""
    own = takewhile(lambda kind: kind is not Callback, type(callback).__mro__)
    if any(name in vars(kind) for kind in own for name in ("state", "state_dict")):
        return {}
    return {name: _mark(value) for name, value in vars(callback).items()}


def _mark(value: Any) -> Any:
    """Something to compare: it differs if the value has changed, as far as a quick look tells."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, Tensor):
        return id(value), value._version  # type: ignore[reportPrivateUsage]
    if is_sequence(value) and len(value) <= _FEW:
        return [_mark(inner) for inner in value]
    return id(value), len(value) if isinstance(value, Sized) else None
