"""What a run can do with its past: begin where another was left, go back, look at a step again."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from lehr.callback import Callback
from lehr.history import History
from lehr.rests import Entry, GoBack, Rest, Stage, Visitor

if TYPE_CHECKING:
    from lehr.inspect.replay import Replay
    from lehr.run import Run


class Past:
    """The part of `lehr.runstate.RunState` that has to do with rests."""

    __slots__ = ()
    n_steps: int
    history: History
    rewinds: list[tuple[int, int]]
    _entry: Entry | None
    _visitors: list[Visitor]

    @property
    def resuming(self) -> bool:
        """Whether the run enters where another was left, and has not loaded its state yet."""
        return self._entry is not None

    def at_rest(self, visit: Visitor) -> None:
        """Call ``visit(run, rest)`` wherever the run rests, as long as it goes on.

        There, between training batches whose window is closed, before and after a validation in
        the middle of an epoch, before the one at its end, and between epochs, all of a run's state
        is in its `state_entries`: no gradient, no batch, no half-done pass.
        """
        self._visitors.append(visit)

    def enter(self, entry: Entry) -> None:
        """Begin, when the run is started, where ``entry`` says."""
        self._entry = entry

    def go_back(self, entry: Entry) -> None:
        """Leave everything as it is and enter the run once more, where ``entry`` says.

        To be called at rest. The begin events down to there are heard again.
        """
        left, rewinds = self.n_steps, self.rewinds

        def load(run: Any) -> None:
            entry.load(run)
            self.rewinds = [*rewinds, (left, self.n_steps)]
            self.history.meta["rewinds"] = [list(pair) for pair in self.rewinds]

        self._entry = entry._replace(load=load)
        raise GoBack

    def replay(self, step: int, callbacks: Iterable[Callback] = ()) -> "Replay":
        """Make a past optimizer step again, bit for bit, and see all of it.

        Copies of the Learner and the callbacks go back to the nearest state that a `Checkpoint` of
        this run kept, and train from there. This run and its Learner stay as they
        are.

        Args:
            step: its number, from 0: the one that was made when ``run.n_steps`` was ``step``.
            callbacks: attached to the copy, to look at what happens from that state on.

        Raises:
            TypeError, ValueError: there is no such step, or no state from before it.

        Example:
            >>> import tempfile
            >>> from lehr.callbacks import Checkpoint
            >>> from lehr.testing import tiny_learner
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     learn = tiny_learner()
            ...     replay = learn.fit(2, callbacks=[Checkpoint(folder)]).replay(5)
            >>> replay.losses == learn.run.history["loss"][5:6], sorted(replay.grads)[:1]
            (True, ['0.bias'])
        """
        from lehr.inspect.replay import replay_of

        return replay_of(cast("Run", self), step, list(callbacks))

    def _require_loaded(self) -> None:
        """See that nobody cancelled what was to lead to the place where the run goes on."""
        if self._entry is not None:
            raise RuntimeError(
                f"epoch {self._entry.epoch} was left before the state to go on from was loaded: a "
                "callback raised a cancel in begin_fit, begin_epoch or begin_train, with what it "
                "knew at the start of a fit. Resume without it, or let it decide in begin_batch."
            )

    def _rest(self, stage: Stage, epoch: int) -> None:
        if self._visitors:
            rest = Rest(stage, epoch)
            for visit in tuple(self._visitors):
                visit(self, rest)

    def _arrive(self, *stages: Stage) -> Stage | None:
        """Load what is to be resumed, if it rested at one of these stages, and return which."""
        entry = self._entry
        if entry is None or entry.stage not in stages:
            return None
        entry.load(self)
        self._entry = None
        return entry.stage
