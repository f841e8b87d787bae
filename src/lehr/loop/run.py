"""Run: what callbacks read, write and call. The loop itself is in `lehr.loop.loop`."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast, final

import torch
from torch import Tensor, nn

from lehr.base.html import fill
from lehr.base.nested import map_tensors
from lehr.base.rows import cell, columns, html_rows
from lehr.base.weak import Weak
from lehr.callback import Callback
from lehr.errors import words
from lehr.loop import inventory, past
from lehr.loop.plan import Plan
from lehr.loop.position import Position
from lehr.loop.publish import publish
from lehr.loop.rests import Entry, Rests, Visitor
from lehr.loop.scopes import Scopes
from lehr.loop.sources import Sources
from lehr.loop.window import Window
from lehr.optim import optimizers
from lehr.record.history import History
from lehr.state import streams
from lehr.types import Stateful

if TYPE_CHECKING:
    from lehr.inspect.replay import Replay
    from lehr.learner import Learner


@final
class Run(Position):
    """One training: what callbacks read, write and call. `Learner.fit` makes and returns it.

    To assign to a field that does not exist is an error, so a misspelt name is noticed. Counters
    and flags are described in `lehr.loop.position.Position`.

    Attributes:
        model, opt, loss_func, data: the Learner's; assigning here lasts for this run. Other data
            are read from the next epoch on; those assigned in `begin_epoch`, in that epoch. So with
            a loader that is assigned to ``run.data.train_dl`` or ``valid_dl``.
        batch, xb, yb, pred, loss: this batch, its input and target, their prediction and loss.
        loss_parts: the parts of ``loss`` by name, if the loss function returned such; else None.
        weight: the number of items that ``loss`` stands for; known from `after_pred` on.
        window, closes: the update window; whether this batch closes it (set it in `begin_batch`).
        history, recorder: what was recorded, and the callback that records and plots it.
        callbacks, seed: all callbacks of this run; the seed of all streams.
        plan, sources, streams, scopes, rests: what the run shall do, what its epochs are read from,
            its random streams, its clean-ups, and the places where it can be entered.
        loop: the `lehr.loop.loop.Loop` that trains, while it does.
        made_of: the `lehr.loop.inventory.MadeOf` of model and loss function, once it is over.
        notices: functions that are told, in words, what the run is about to spend seconds on.
        engine: the `lehr.engine.Engine`: which process this is, and of how many.
        wishes: why this process wants the run to end, until all processes have heard of it.
    """

    __slots__ = (
        "__weakref__",
        "_learn",
        "batch",
        "callbacks",
        "closes",
        "engine",
        "history",
        "loop",
        "loss",
        "loss_func",
        "loss_parts",
        "made_of",
        "model",
        "notices",
        "opt",
        "plan",
        "pred",
        "recorder",
        "rests",
        "scopes",
        "seed",
        "sources",
        "streams",
        "weight",
        "window",
        "wishes",
        "xb",
        "yb",
    )
    batch: Any
    xb: Any
    yb: Any
    pred: Any
    loss: Any
    loss_parts: Any
    weight: Any
    recorder: Any
    loop: Any
    made_of: inventory.MadeOf | None

    def __init__(self, learn: "Learner", plan: Plan, callbacks: Sequence[Callback]) -> None:
        super().__init__(
            epochs=plan.epochs,
            steps=plan.steps,
            steps_per_epoch=plan.steps_per_epoch,
            train_batches=plan.train.len_or_none,
        )
        self.model, self.opt, self.loss_func = learn.model, learn.opt, learn.loss_func
        self.engine = learn.engine
        self.wishes: dict[str, str] = {}
        self.plan, self.seed, self.sources = plan, plan.seed, Sources(plan)
        self.batch = self.xb = self.yb = self.pred = self.loss = self.weight = None
        self.loss_parts = None
        keeps = any(callback.regrads for callback in callbacks)
        self.window = Window(
            keeps=keeps, loss_is_mean=plan.loss_is_mean, shared=self.engine.world > 1
        )
        self.closes = True
        self.history, self.recorder, self.callbacks = History(), None, tuple(callbacks)
        self.streams, self.scopes, self.rests = streams.Streams(plan.seed), Scopes(), Rests()
        self.loop = self.made_of = None
        self.notices: list[Callable[[str], None]] = []
        self._learn = Weak(learn)

    @property
    def learn(self) -> "Learner":
        """The Learner. A run does not keep it alive."""
        if (learn := self._learn()) is None:
            raise ReferenceError(
                "run.learn is gone: nothing holds that Learner any more. Keep a name for it, e.g. "
                "learn = Learner(…); run = learn.fit(1)."
            )
        return learn

    def is_of(self, learn: "Learner") -> bool:
        """Whether it is a run of this Learner."""
        return self._learn() is learn

    # To read -------------------------------------------------------------------------------------

    @property
    def data(self) -> Any:
        """The DataBunch; the last that was assigned, also if it is read from the next epoch on."""
        return self.sources.latest

    @data.setter
    def data(self, data: Any) -> None:
        within = self.scopes.depth > 2  # in a pass, not only in a fit or an epoch
        self.sources.assign(data, self.epoch + within)

    @property
    def valid_names(self) -> list[str]:
        """The names of the validation loaders; a single one's name is empty."""
        return list(self.plan.valid)

    @property
    def mean_loss(self) -> Tensor:
        """The loss as a mean over the batch's items, whatever the loss function returns."""
        return self.loss if self.plan.loss_is_mean else self.loss / self.weight

    @property
    def resuming(self) -> bool:
        """Whether the run enters where another was left, and has not loaded its state yet."""
        return self.rests.entry is not None

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters that the optimizers hold, each once."""
        return optimizers.held_parameters(self.opt)

    def state_entries(self) -> dict[str, Stateful]:
        """Everything that can change while this run trains, by name, each with its ``state_dict``.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> run = tiny_learner().fit(1)
            >>> list(run.state_entries())[:4]
            ['model', 'modes', 'random', 'opt']
        """
        return inventory.of_run(self)

    # To ask --------------------------------------------------------------------------------------

    def log(self, name: str, value: float | Tensor) -> None:
        """Record a number in the history.

        In a training batch it is added to the series ``name``. In a validation batch it is averaged
        by items into the column ``valid_<name>``. Elsewhere it goes into the current row. A tensor
        stays on its device until the history is read.

        Raises:
            TypeError: ``value`` is no number, or ``name`` no text.
            ValueError: ``name`` is empty, or a column of the recorder's.
            RuntimeError: the run is over, or has not begun.
        """
        publish(self, name, value)

    def tell(self, what: str) -> None:
        """Tell all that are in `notices` what the run is about to spend seconds on."""
        for notice in self.notices:
            notice(what)

    def stop(self, reason: str) -> None:
        """End the run when the update window closes, or between validation batches.

        It is over then: resuming it makes no more steps. `interrupt` is for one that is to go on.

        Several processes end it together, even if only one of them asks: when the next step is
        made, or the validation is over.

        Raises:
            TypeError, ValueError: ``reason`` is no text, or an empty one.
        """
        self.engine.ask(self, "stop_reason", words("reason", reason))

    def interrupt(self, reason: str) -> None:
        """End the run as `stop` does, but so that it can be resumed and then goes on."""
        self.engine.ask(self, "interrupted", words("reason", reason))

    def defer(self, undo: Callable[[], Any]) -> None:
        """Call ``undo`` when the innermost scope (fit, epoch, pass, batch) ends, in any way."""
        self.scopes.defer(undo)

    def stream(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """The random generator ``name``: what it draws depends only on seed, name and position.

        The position is the epoch, the batch and the pass. Use a name of its own for each callback:
        two that draw from one stream share its numbers.
        """
        here = self.batch_index if self.in_batch else -1
        half = -1 if self.training else streams.name_key(self.valid_name)
        return self.streams.at(name, self.plan.first_epoch + self.epoch, here, half, device=device)

    def random_state(self) -> tuple[Any, Any]:
        """What a prediction may draw from: torch's default generators and the streams."""
        return streams.default_state(), self.streams.state_dict()

    def set_random_state(self, state: tuple[Any, Any]) -> None:
        """Put both back to what `random_state` returned."""
        streams.set_default_state(state[0])
        self.streams.load_state_dict(state[1])

    def regrad(self) -> Tensor:
        """Compute the gradient of the open update window again, at the weights as they are now.

        The gradients are cleared. The batches of the window pass through predict, compute_loss and
        backward again, with the same random numbers, then through finish_grad. No event happens and
        nothing is counted. Use it for closures (LBFGS) and for methods that need two gradients for
        a step (SAM).

        Returns:
            The window's mean loss, detached.

        Raises:
            RuntimeError: no batch was kept, because no callback declares ``regrads = True``; or the
                window has not closed yet.
        """
        return self.window.regrad(self)

    # The past ------------------------------------------------------------------------------------

    def at_rest(self, visit: Visitor) -> None:
        """Call ``visit(run, rest)`` wherever the run rests, as long as it goes on.

        A run rests between training batches whose window is closed, before and after a validation
        in the middle of an epoch, before the validation at the end of an epoch, and between epochs.
        There, all of its state is in its `state_entries`: no gradient, no batch and no unfinished
        pass is left.
        """
        self.rests.visitors.append(visit)

    def enter(self, entry: Entry) -> None:
        """Begin, when the run is started, where ``entry`` says."""
        self.rests.entry = entry

    def go_back(self, entry: Entry) -> None:
        """Leave everything as it is and enter the run once more, where ``entry`` says.

        To be called at rest. The begin events that lead there happen again.
        """
        self.rests.go_back(self, entry)

    def rewind(self, steps: int) -> None:
        """Go back, as soon as the run rests, to a state that is at least so many steps older.

        It is the newest such state that a `Rewind` or a `Checkpoint` of this fit keeps. All of the
        run is put back: weights, optimizer, random generators, counters, history. From there it
        takes the same course again, unless something is changed.

        Args:
            steps: optimizer steps; at least 1.

        Raises:
            TypeError, ValueError: ``steps`` cannot be used, or no state is old enough.

        Example:
            >>> from lehr.callbacks import Rewind
            >>> from lehr.testing import tiny_learner
            >>> class Once(Callback):
            ...     def after_step(self, run):
            ...         if run.n_steps == 6 and not run.rewinds:
            ...             run.rewind(3)
            >>> tiny_learner().fit(2, callbacks=[Rewind(every="1 steps", keep=9), Once()]).rewinds
            [(6, 3)]
        """
        past.go_back_at_rest(self, past.entry_before(self, steps))

    def replay(self, step: int | None = None, callbacks: Iterable[Callback] = ()) -> "Replay":
        """Make a past optimizer step again, bit for bit, with its batch and its gradients.

        A copy of the Learner and the callbacks goes back to the nearest state that a `Checkpoint`
        of this run kept, and trains from there to the step. This run and its Learner stay as they
        are.

        Args:
            step: its number, from 0: the step that was made when ``run.n_steps`` was ``step``. None
                for what has ended this run: the step with that error, or loss, or as far as the
                batch that could not be read, or the validation that raised.
            callbacks: attached to the copy, to look at what happens from that state on.

        Returns:
            The step: its batches, predictions, losses and gradients.

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

        return replay_of(self, step, list(callbacks))

    def __getstate__(self) -> Any:
        """For copies: of a batch that an error has left they have the numbers, and no graph."""
        nothing, fields = cast("tuple[None, dict[str, Any]]", super().__getstate__())
        computed = ("xb", "pred", "loss", "loss_parts")
        return nothing, fields | {n: map_tensors(Tensor.detach, fields[n]) for n in computed}

    def __repr__(self) -> str:
        row = next((row for row in reversed(self.history.rows) if "epoch" in row), None) or {}
        values = [f"{name} {cell(name, row[name])}" for name in columns(row)[1:]]
        done = f"epoch {row['epoch']}" if "epoch" in row else "no epoch"
        stopped = [] if self.stop_reason is None else [f"stopped: {self.stop_reason}"]
        return f"Run({', '.join([done, f'{self.n_steps} steps', *values, *stopped])})"

    def _repr_html_(self) -> str:
        stopped = "" if self.stop_reason is None else f"; stopped: {self.stop_reason}"
        head = f"{self.n_steps} steps, seed {self.seed}{stopped}"
        rows = html_rows(self.history.rows)
        return fill("<small>{{ head }}</small>{{ rows }}", head=head, rows=rows)
