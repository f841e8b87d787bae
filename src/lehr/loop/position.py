"""Where a run stands: the counters and flags that callbacks read and the loop writes."""

from typing import Any

COUNTERS = (
    "epoch",
    "batch_index",
    "n_iter",
    "n_steps",
    "stepped",
    "stop_reason",
    "epoch_start",
    "epoch_steps",
    "window_start",
    "validated_at",
    "rewinds",
)
"""Those that must survive a stop."""


class Position:
    """The part of `lehr.loop.run.Run` that is numbers, words and flags.

    Attributes:
        epoch, epochs: number of this epoch, and how many are planned (None where ``steps`` rules).
        steps, steps_per_epoch: length in optimizer steps, as far as it was given or is known.
        batch_index, num_batches: number of this batch in its pass, and how many there are if known.
        n_iter, n_steps: training batches and optimizer steps done.
        training, stepped: whether this is a training pass; whether this batch made a step.
        in_batch: whether a batch is under way.
        last_batch: whether the loader has said that this batch is the last of its pass.
        epoch_start, epoch_steps: ``n_iter`` and ``n_steps`` when the epoch began.
        window_start: ``n_steps`` when the update window began.
        validated_at: ``n_steps`` at the last whole validation; -1 before the first.
        train_batches: how many training batches an epoch has, if known.
        valid_name: which validation loader this is, if they have names.
        replaying: whether `Run.regrad` is taking the window's gradient anew.
        stop_reason: why the run was asked to stop or was cancelled, if it was.
        interrupted: by what the run was interrupted, if it was; it can be resumed where it was.
        rewinds: each time that the run went back: the step that it left, and that it went to.
    """

    __slots__ = (
        *COUNTERS,
        "_epochs",
        "_steps",
        "steps_per_epoch",
        "num_batches",
        "train_batches",
        "training",
        "in_batch",
        "last_batch",
        "valid_name",
        "replaying",
        "interrupted",
    )

    def __init__(
        self,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        steps_per_epoch: int | None = None,
        train_batches: int | None = None,
    ) -> None:
        self._epochs, self._steps, self.steps_per_epoch = epochs, steps, steps_per_epoch
        self.train_batches = self.num_batches = train_batches
        self.epoch = self.batch_index = self.n_iter = self.n_steps = 0
        self.epoch_start = self.epoch_steps = self.window_start = 0
        self.validated_at = -1
        self.training, self.stepped = True, False
        self.in_batch = self.last_batch = self.replaying = False
        self.valid_name = ""
        self.stop_reason: str | None = None
        self.interrupted: str | None = None
        self.rewinds: list[Any] = []

    @property
    def epochs(self) -> int | None:
        """How many epochs are planned; None where `steps` rules."""
        return self._epochs

    @epochs.setter
    def epochs(self, epochs: int | None) -> None:
        raise _settled("epochs")

    @property
    def steps(self) -> int | None:
        """How many optimizer steps are planned; None where `epochs` rules."""
        return self._steps

    @steps.setter
    def steps(self, steps: int | None) -> None:
        raise _settled("steps")

    @property
    def planned_steps(self) -> int | None:
        """Optimizer steps in the whole run, as far as that is known."""
        if self.steps is None and self.epochs is not None and self.steps_per_epoch is not None:
            return self.epochs * self.steps_per_epoch
        return self.steps

    @property
    def counts_a_step_a_batch(self) -> bool:
        """Whether the run's length in steps holds only if every training batch makes one."""
        planned = self.steps is None and self.epochs is not None
        return (
            planned
            and self.steps_per_epoch is not None
            and self.steps_per_epoch == self.train_batches
        )

    @property
    def pos(self) -> float:
        """The share of the run's steps that are done; in a training batch that is below 1.

        It stays the same from the first batch of an update window to the end of the last.
        """
        if not (planned := self.planned_steps):
            raise ValueError(
                "run.pos needs the length of the run, but the training loader has no len(), or a "
                "callback cannot say how many batches make a step, or changes that number or the "
                "batch size. Give fit(…, steps_per_epoch=…) or fit(steps=…)."
            )
        done = self.window_start if self.in_batch else self.n_steps
        if done >= planned and self.in_batch and self.training:
            raise ValueError(
                f"run.pos must stay below 1, but {done} steps of {planned} are done and another is "
                "under way: the loader gives more batches than steps_per_epoch says. Correct it."
            )
        return done / planned

    @property
    def n_epochs(self) -> float:
        """Epochs done, with the fraction of this one: epoch + k/m after k of m batches."""
        batches = self.train_batches
        return self.epoch + ((self.n_iter - self.epoch_start) / batches if batches else 0.0)


def _settled(name: str) -> AttributeError:
    return AttributeError(
        f"run.{name} cannot be assigned: schedules and callbacks go by it from the beginning. "
        "To end earlier, call run.stop(reason); to train longer, call fit again."
    )
