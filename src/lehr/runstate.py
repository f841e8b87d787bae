"""Where a run stands, and what callbacks may ask of it. The loop itself is in `lehr.run`."""

import re
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lehr import entries, optimizers, streams, table
from lehr.callback import Callback
from lehr.dispatch import Actions, Listeners, annotate, around, describe, fire, in_phases, misplaced
from lehr.events import ACTIONS, Cancel, CancelFit
from lehr.history import History, column
from lehr.past import Past
from lehr.plan import Plan
from lehr.rests import Entry, Rest, Visitor
from lehr.scopes import Scopes, keep_modes
from lehr.state import AttributeState
from lehr.types import RECORDED, Stateful
from lehr.window import Window

if TYPE_CHECKING:
    from lehr.learner import Learner

COUNTERS = (
    *("epoch", "batch_index", "n_iter", "n_steps", "stepped", "stop_reason"),
    *("_epoch_start", "_window_start", "rewinds"),
)
"""Where a run stands, as far as numbers and words tell it."""


class RunState(Past):
    """The fields of a `Run`, slotted: a misspelt assignment is an error.

    Attributes:
        model, opt, loss_func, data: the Learner's; assigning here lasts for this run.
        epoch, epochs: number of this epoch, and how many are planned (None where ``steps`` rules).
        steps, steps_per_epoch: length in optimizer steps, as far as it was given or is known.
        batch_index, num_batches: number of this batch in its pass, and how many there are if known.
        n_iter, n_steps: training batches and optimizer steps done.
        training, stepped: whether this is a training pass; whether this batch made a step.
        batch, xb, yb, pred, loss: this batch, its input and target, their prediction and loss.
        weight: the number of items that ``loss`` stands for; known from `after_pred` on.
        window, closes: the update window; whether this batch closes it (set it in `begin_batch`).
        history, recorder: what was recorded, and the callback that draws it.
        callbacks, seed: everyone attached; the seed of all streams.
        valid_name: which validation loader this is, if they have names.
        stop_reason: why the run was asked to stop or was cancelled, if it was.
        rewinds: each time that the run went back: the step that it left, and that it went to.
        interrupted: by what the run was interrupted, if it was; it can be resumed where it was.
    """

    __slots__ = (
        *("model", "opt", "loss_func", "data", "epoch", "epochs", "steps", "steps_per_epoch"),
        *("batch_index", "num_batches", "n_iter", "n_steps", "training", "stepped"),
        *("batch", "xb", "yb", "pred", "loss", "weight", "window", "closes", "history", "recorder"),
        *("callbacks", "seed", "valid_name", "stop_reason", "_learn", "_plan", "_streams"),
        *("_scopes", "_on", "_do", "_last", "_in_batch", "_epoch_start", "_window_start"),
        *("_replaying", "_entry", "_visitors", "interrupted", "rewinds", "__weakref__"),
    )
    batch: Any
    xb: Any
    yb: Any
    pred: Any
    loss: Any
    weight: Any
    recorder: Any
    epoch: int
    batch_index: int
    n_iter: int
    n_steps: int
    epochs: int | None
    steps: int | None
    steps_per_epoch: int | None
    num_batches: int | None
    stop_reason: str | None
    _on: Listeners
    _do: Actions

    def __init__(self, learn: "Learner", plan: Plan, callbacks: Sequence[Callback]) -> None:
        self.model, self.opt, self.loss_func = learn.model, learn.opt, learn.loss_func
        self.data, self.epochs, self.steps = plan.data, plan.epochs, plan.steps
        self.steps_per_epoch, self.num_batches = plan.steps_per_epoch, plan.train.len_or_none
        self.epoch = self.batch_index = self.n_iter = self.n_steps = self._epoch_start = 0
        self._window_start, self._replaying = 0, False
        self.training = self.closes = True
        self.stepped = self._last = self._in_batch = False
        self.batch = self.xb = self.yb = self.pred = self.loss = self.weight = None
        keeps = any(callback.regrads for callback in callbacks)
        self.window = Window(keeps=keeps, loss_is_mean=plan.loss_is_mean)
        self.history, self.recorder, self.callbacks = History(), None, tuple(callbacks)
        self.seed, self.valid_name, self.stop_reason = plan.seed, "", None
        self._learn, self._plan = weakref.ref(learn), plan
        self._streams, self._scopes = streams.Streams(plan.seed), Scopes()
        self.interrupted: str | None = None
        self.rewinds: list[tuple[int, int]] = []
        self._entry: Entry | None = None
        self._visitors: list[Visitor] = []

    @property
    def learn(self) -> "Learner":
        """The Learner. A run does not keep it alive."""
        if (learn := self._learn()) is None:
            raise ReferenceError(
                "run.learn is gone: nothing holds that Learner any more. Keep a name for it, e.g. "
                "learn = Learner(…); run = learn.fit(1)."
            )
        return learn

    @property
    def valid_names(self) -> list[str]:
        """The names of the validation loaders; a single one's name is empty."""
        return list(self._plan.valid)

    @property
    def planned_steps(self) -> int | None:
        """Optimizer steps in the whole run, as far as that is known."""
        if self.steps is None and self.epochs is not None and self.steps_per_epoch is not None:
            return self.epochs * self.steps_per_epoch
        return self.steps

    @property
    def pos(self) -> float:
        """The share of the run's steps that are done; in a training batch that is below 1.

        It stays the same from the first batch of an update window to the end of the last.
        """
        if not (planned := self.planned_steps):
            raise ValueError(
                "run.pos needs the length of the run, but the training loader has no len(). "
                "Give fit(…, steps_per_epoch=…) or fit(steps=…)."
            )
        done = self._window_start if self._in_batch else self.n_steps
        if done >= planned and self._in_batch and self.training:
            raise ValueError(
                f"run.pos must stay below 1, but {done} steps of {planned} are done and another is "
                "under way: the loader gives more batches than steps_per_epoch says. Correct it."
            )
        return done / planned

    @property
    def n_epochs(self) -> float:
        """Epochs done, with the fraction of this one: epoch + k/m after k of m batches."""
        batches = self._plan.train.len_or_none
        return self.epoch + ((self.n_iter - self._epoch_start) / batches if batches else 0.0)

    @property
    def mean_loss(self) -> Tensor:
        """The loss as a mean over the batch's items, whatever the loss function returns."""
        return self.loss if self._plan.loss_is_mean else self.loss / self.weight

    def log(self, name: str, value: float | Tensor) -> None:
        """Publish a number.

        In a training batch it joins the series ``name``; in a validation batch it is averaged, by
        items, into the column ``valid_name``; elsewhere it goes into the current row. A tensor
        stays on its device until somebody reads the history.

        Raises:
            TypeError: ``value`` is no number.
            ValueError: ``name`` is a column of the recorder's.
        """
        if self._replaying:
            return  # regrad counts nothing
        if name in RECORDED:
            raise ValueError(
                f"run.log cannot write {name!r}: the recorder does. Choose another name."
            )
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.detach().clone().reshape(())
        elif not isinstance(value, Real):
            raise TypeError(
                f"run.log({name!r}, …) takes one number; got {describe(value)}. "
                "Reduce it first, e.g. with .mean()."
            )
        if not self._in_batch:
            self.history.log_row(name, value)
        elif self.training:
            self.history.log_step(name, value, batch=self._epoch_start + self.batch_index)
        else:
            self.history.log_mean(column(f"valid_{name}", self.valid_name), value, self.weight or 0)

    def stop(self, reason: str) -> None:
        """End the run when the window closes, or between validation batches; never raises."""
        self.stop_reason = self.stop_reason or reason

    def interrupt(self, reason: str) -> None:
        """End the run as `stop` does, but as one that is to go on: a resumed run does not end."""
        self.interrupted = self.interrupted or reason

    def state_entries(self) -> dict[str, Stateful]:
        """Everything that can change while this run trains, by name, each with its ``state_dict``.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> run = tiny_learner().fit(1)
            >>> list(run.state_entries())[:4]
            ['model', 'modes', 'random', 'opt']
        """
        return {
            **entries.of_training(
                self.model, self.opt, self.loss_func, self._plan.train, self._plan.valid
            ),
            "run": AttributeState(self, COUNTERS),
            "streams": self._streams,
            "history": self.history,
            **entries.of_callbacks(self.callbacks),
        }

    def about(self, rest: Rest) -> dict[str, Any]:
        """What a checkpoint's manifest tells of this run at a rest."""
        return {
            "step": self.n_steps,
            "epoch": self.epoch,
            "batch": self.batch_index,
            "stage": rest.stage,
            "at_epoch": rest.epoch,
            "began_at": self.learn.steps_done,
            "rewinds": len(self.rewinds),
            "seed": self.seed,
            "onlookers": [
                name
                for name, callback in entries.of_callbacks(self.callbacks).items()
                if not entries.takes_part(callback)
            ],
            "settings": self.settings(),
        }

    def settings(self) -> dict[str, Any]:
        """What the course of the run depends on, as far as words and numbers tell it."""
        return {
            "seed": self.seed,
            "epochs": self.epochs,
            "steps": self.steps,
            "batches": self._plan.train.len_or_none,
            "optimizer": type(self.opt).__name__,
            "callbacks": [
                re.sub(r" at 0x[0-9a-f]+", "", repr(callback))
                for callback in in_phases(self.callbacks)
                if entries.takes_part(callback)
            ],
        }

    def validates_now(self, rest: Rest) -> bool:
        """Whether a validation in the middle of an epoch follows this rest."""
        between = self._plan.steps_between_validations
        at_step = rest.stage == "batch" and self.stepped
        return bool(between and at_step and self.n_steps % between == 0)

    def defer(self, undo: Callable[[], Any]) -> None:
        """Call ``undo`` when the innermost scope (fit, epoch, pass, batch) ends, in any way."""
        self._scopes.defer(undo)

    def stream(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """The random generator ``name``: what it draws depends on seed, name and position alone.

        The position is the epoch, the batch and the pass. A name belongs to one callback: two that
        draw from one stream share its numbers.
        """
        here = self.batch_index if self._in_batch else -1
        half = -1 if self.training else streams.name_key(self.valid_name)
        at = (self._plan.first_epoch + self.epoch, here, half)
        return self._streams.at(name, *at, device=device)

    def random_state(self) -> tuple[Any, Any]:
        """What a prediction may draw from: torch's default generators and the streams."""
        return streams.default_state(), self._streams.state_dict()

    def set_random_state(self, state: tuple[Any, Any]) -> None:
        """Put both back to what `random_state` returned."""
        streams.set_default_state(state[0])
        self._streams.load_state_dict(state[1])

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters that the optimizers hold, each once."""
        return optimizers.held_parameters(self.opt)

    def __repr__(self) -> str:
        row = self.history.rows[-1] if len(self.history) else {}
        told = [f"{name} {table.cell(name, row[name])}" for name in table.columns(row)[1:]]
        done = f"epoch {row['epoch']}" if "epoch" in row else "no epoch"
        stopped = [] if self.stop_reason is None else [f"stopped: {self.stop_reason}"]
        return f"Run({', '.join([done, f'{self.n_steps} steps', *told, *stopped])})"

    def _repr_html_(self) -> str:
        stopped = "" if self.stop_reason is None else f"; stopped: {self.stop_reason}"
        head = f"{self.n_steps} steps, seed {self.seed}{stopped}"
        return f"<small>{table.escaped([head])[0]}</small>{table.html(self.history.rows)}"

    def regrad(self) -> Tensor:
        """Take the open window's gradient anew, at the weights as they are now.

        Clears the gradients, replays the window's batches with the same random numbers through
        predict, compute_loss and backward, and finishes the gradient. No event is fired and nothing
        is counted. Closures (LBFGS) and methods that look twice (SAM) are built on it.

        Returns:
            The window's mean loss, detached.

        Raises:
            RuntimeError: no batch was kept, because no callback declares ``regrads = True``.
        """
        self.window.require_kept()
        do, self._replaying = self._do, True
        try:
            do.zero_grad()
            loss = self.window.replay(self, do.predict, do.compute_loss, do.backward)
            self.window.finish(self)
            do.finish_grad()
        finally:
            self._replaying = False
        return loss

    # From begin_fit to after_fit, whatever happens -----------------------------------------------

    @contextmanager
    def _opened(self) -> Generator[Listeners]:
        on = self._on = Listeners(self.callbacks)
        self._do = Actions(self.callbacks, self, {a: getattr(self, f"_{a}") for a in ACTIONS})
        try:
            with self._scopes.open():
                self.defer(keep_modes(self.model))
                self.defer(partial(streams.set_default_state, streams.default_state()))
                with around(self.callbacks, self):
                    try:
                        yield on
                    except CancelFit as cancel:
                        self._require_loaded()
                        self.training, self._in_batch = True, False
                        self.stop(cancel.reason or "cancelled")
                    fire(on.after_fit, self)
        except Cancel as cancel:
            raise misplaced(cancel, self) from cancel
        except Exception as error:
            annotate(error, self)
            raise
        finally:
            # The tables hold bound methods: nothing may keep a Learner alive.
            del self._on, self._do
        self.batch = self.xb = self.yb = self.pred = self.loss = None  # frees the last graph
