"""Gathers what the model predicts."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lehr.base.copies import copied_to_cpu
from lehr.base.joining import join, sizes_of
from lehr.callback import Callback
from lehr.events import Layer, Phase

if TYPE_CHECKING:
    from lehr.loop.run import Run


class Predictions(Callback):
    """Keeps the predictions of the last validation pass on the CPU; `Learner.predict` is made of
    it.

    Args:
        instead_of_loss: leave the loss out, so that no targets are needed.
        select: ``prediction -> part of it``; only what it returns is kept. None keeps everything.
        targets: keep the targets, too.

    Raises:
        TypeError: ``select`` cannot be called.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> gather = Predictions()
        >>> _ = tiny_learner().fit(1, callbacks=[gather])
        >>> gather.joined().shape
        torch.Size([16, 2])
    """

    phase = Phase.REPORT
    replays = False
    layer = Layer.CAPTURE
    state = ()

    def __init__(
        self,
        *,
        instead_of_loss: bool = False,
        select: Callable[[Any], Any] | None = None,
        targets: bool = False,
    ) -> None:
        if select is not None and not callable(select):
            raise TypeError(
                "select must be a function of what the model returns, e.g. "
                f"lambda out: out.logits; got {select!r}."
            )
        self.instead_of_loss, self.select, self.targets = instead_of_loss, select, targets
        self._forget()

    @property
    def missing(self) -> int:
        """How many batches of the pass were begun and have no prediction: they were cancelled."""
        return self.begun - self._predicted

    def _forget(self) -> None:
        self.begun = 0
        """batches of the pass so far"""
        self._predicted = 0
        self._batches: list[Any] = []
        self._targets: list[Any] = []
        self._sizes: list[set[int]] = []

    def begin_validate(self, run: "Run") -> None:
        """Forget the pass before."""
        self._forget()

    def begin_batch(self, run: "Run") -> None:
        """Count it."""
        self.begun += not run.training

    def after_pred(self, run: "Run") -> None:
        """Keep a copy on the CPU."""
        if run.training:
            return
        self._predicted += 1
        if self.targets and run.yb is None:
            raise ValueError(
                f"batch {run.batch_index} has no targets to return. Leave targets=True out, or "
                "give a loader, or a list, of batches (xb, yb)."
            )
        chosen = run.pred if self.select is None else self.select(run.pred)
        try:
            kept = copied_to_cpu(chosen)
        except TypeError as error:
            raise TypeError(
                f"no copy can be kept of what the model returns: {error}. Pick what can be kept "
                "with select=, e.g. lambda out: out['logits']."
            ) from error
        target = copied_to_cpu(run.yb) if self.targets else None
        parts = run.engine.gather((kept, target, sizes_of(run.xb, run.yb), run.weight))
        for kept, target, sizes, items in parts:
            if items or len(parts) == 1:  # else it is a share without items
                self._batches.append(kept)
                self._targets.append(target)
                self._sizes.append(sizes)

    def compute_loss(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Compute the loss only where it is wanted."""
        if run.training or not self.instead_of_loss:
            proceed()

    def joined(self) -> Any:
        """All predictions, batch after batch: ``(items, ...)`` in the model's own nesting.

        How the batches are joined is described at `lehr.Learner.predict`.

        Raises:
            ValueError: there are none, or the batches have different structures.
            TypeError: tensors of their layout cannot be joined.
        """
        return self._joined(self._batches, "the prediction")

    def joined_targets(self) -> Any:
        """The targets of `joined`, joined likewise; None if they were not wanted.

        Raises:
            ValueError: there are none, or the batches have different structures.
        """
        return self._joined(self._targets, "the target")

    def _joined(self, batches: list[Any], name: str) -> Any:
        if not batches:
            raise ValueError(
                "there are no predictions: the pass was cut short before its first, or has not "
                "taken place."
            )
        return join(batches, self._sizes, name)
