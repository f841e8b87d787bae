"""Cuts batches into smaller pieces where memory runs out."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lehr.base.nested import item_count
from lehr.base.recompute import forward_replaced
from lehr.callback import Callback
from lehr.callbacks.loops.pieces import Gradient, check_cut, in_pieces, warn_of_coupling
from lehr.errors import add_note, positive_int
from lehr.events import Layer, Phase

if TYPE_CHECKING:
    from lehr.loop.run import Run


_NOTHING = object()  # was made: memory ran out


class MicroBatches(Callback):
    """Takes batches through the model in pieces, and halves these when the memory runs out.

    When a forward or a backward pass runs out of the device's memory, what it did is taken back:
    gradients, random numbers and the model's buffers, such as the statistics of BatchNorm, are as
    before the batch. It is done again with pieces of half the
    size, and so are all later batches. The loss is computed for the whole batch, so any loss will
    do, and the gradient is that of the whole batch but for rounding. Callbacks see the whole batch,
    and no event happens twice. A piece costs one forward pass more, for none of it is kept until
    its gradient is taken. As long as memory suffices, nothing changes; the buffers are copied
    before each batch.

    Not covered: what couples items within the model, as BatchNorm does in training, of which a
    warning tells; and the memory of an optimizer's own step. Random numbers are drawn by pieces. To
    let several batches share a step, attach `Accumulate`; the two go together.

    Of several processes, all take smaller pieces if one runs out of memory, and gradients are
    averaged after the backward pass. Where the model is sharded, pieces are not halved.

    Args:
        size: of the first pieces, in items, at least 1; None begins with whole batches.

    Attributes:
        size: of the pieces now; None as long as batches are whole. It is recorded as
            ``micro_batch``.

    Raises:
        TypeError, ValueError: ``size`` cannot be used; or, in a fit, an input has no tensor to cut,
            or an output does not count items in its first dimension.
        torch.OutOfMemoryError: there is no memory for one item; or an event has changed the
            prediction or the loss of the very batch that is to be done again.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> plain, pieces = tiny_learner(), tiny_learner([MicroBatches(3)])
        >>> losses = [learn.fit(1).history["train_loss"][0] for learn in (plain, pieces)]
        >>> abs(losses[0] - losses[1]) < 1e-6
        True

    Reference:
        Gao et al. 2021, arXiv:2101.06983, section 3, for a loss over the whole batch whose gradient
        goes through the model in pieces.
    """

    phase = Phase.PREPARE
    layer = Layer.WINDOW
    state = ("size",)
    by_length = False

    def __init__(self, size: int | None = None) -> None:
        self.first = None if size is None else positive_int("size", size, example=16)
        self.size = self.first

    def begin_fit(self, run: "Run") -> None:
        """Begin with the first size."""
        self.size, self._warned = self.first, False
        modules = [one for one in (run.model, run.loss_func) if isinstance(one, nn.Module)]
        self._holders = [part for module in modules for part in module.modules() if _buffers(part)]
        self._forget()

    def _forget(self) -> None:
        self._random: Any = None
        self._before: list[tuple[Tensor, Tensor]] = []
        self._pred = self._loss = (None, 0)

    def predict(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Predict in pieces, as small as need be."""
        self._apart = run.engine.apart(run)
        self._random = run.random_state()
        held = [b for part in self._holders if run.training for b in _buffers(part)]
        self._before = [(buffer, buffer.clone()) for buffer in held]
        while not self._is_done(run, partial(self._predict, run, proceed)):
            self._halve(run)
        self._pred = _version(run.pred)

    def compute_loss(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Compute the loss; where memory runs out, predict in smaller pieces before."""
        changed = not _is_same(self._pred, run.pred)
        while not self._is_done(run, proceed, changed=changed):
            self._halve(run)
            _again(run, "predict")
        self._loss = _version(run.loss)
        if not run.training:
            self._forget()

    def backward(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Take the gradient; where memory runs out, do the batch again in smaller pieces."""
        changed = not _is_same(self._loss, run.loss)
        while not self._is_done(run, partial(Gradient, run, proceed), changed=changed):
            self._halve(run)
            _again(run, "predict", "compute_loss")
        self._forget()

    def after_backward(self, run: "Run") -> None:
        """Record the size."""
        if self.size is not None:
            run.log("micro_batch", self._now(run))

    def _now(self, run: "Run") -> int:
        items = item_count(run.xb)
        return items if self.size is None else min(self.size, items)

    def _predict(self, run: "Run", proceed: Callable[[], None]) -> None:
        items, size = item_count(run.xb), self._now(run)
        if size == items:
            proceed()
            return
        check_cut(run.xb, items)
        if run.training and not self._warned:
            self._warned = True
            warn_of_coupling(run.model, size)
        model: Any = run.model
        with forward_replaced(model, partial(in_pieces, model, model.forward, items, size)):
            proceed()

    def _is_done(
        self, run: "Run", act: Callable[[], Gradient | None], *, changed: bool = False
    ) -> bool:
        """Whether there was memory enough, in all processes.

        Afterwards no traceback holds what was under way.
        """
        made = self._made(run, act, changed=changed)
        done = made is not _NOTHING
        if run.engine.world > 1 and self._apart:
            done_everywhere = not run.engine.sum(torch.tensor(float(not done)))
            if done and changed and not done_everywhere:
                raise RuntimeError(
                    "MicroBatches cannot do this batch again, for which another process has not "
                    "had the memory: a callback has changed its prediction or its loss in an "
                    "event. Begin with smaller pieces, e.g. MicroBatches(8)."
                )
            if isinstance(made, Gradient) and not done_everywhere:
                made.drop()
            done = done_everywhere
        if isinstance(made, Gradient) and done:
            made.add()
        return done

    def _made(self, run: "Run", act: Callable[[], Gradient | None], *, changed: bool) -> Any:
        """What the action makes; `_NOTHING`, if there was not the memory."""
        try:
            return act()
        except torch.OutOfMemoryError as error:
            size = self._now(run)
            if changed:
                add_note(
                    error,
                    "MicroBatches cannot do this batch again: a callback has changed its "
                    "prediction or its loss in an event. Begin with smaller pieces, e.g. "
                    f"MicroBatches({max(1, size // 2)}).",
                )
            elif size == 1:
                add_note(error, "MicroBatches has no smaller piece to try: it is of one item.")
            elif not self._apart:
                add_note(
                    error,
                    "MicroBatches cannot do a batch again whose model is sharded: the other "
                    "processes wait for this one in the middle of it. Begin with smaller pieces, "
                    f"e.g. MicroBatches({max(1, size // 2)}).",
                )
            else:
                return _NOTHING
            raise

    def _halve(self, run: "Run") -> None:
        size = -(-self._now(run) // 2)
        self.size = max(1, *run.engine.gather(size)) if run.engine.world > 1 else size
        run.pred = run.loss = run.loss_parts = None  # with what was kept, they free the graph
        self._pred = self._loss = (None, 0)
        run.set_random_state(self._random)
        with torch.no_grad():
            for buffer, values in self._before:
                buffer.copy_(values)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def __repr__(self) -> str:
        return f"MicroBatches({'' if self.first is None else self.first})"


def _buffers(module: nn.Module) -> list[Tensor]:
    return list(module.buffers(recurse=False))


def _version(value: Any) -> tuple[Any, int]:
    """A prediction or a loss, and how often it was written to."""
    return value, getattr(value, "_version", 0)


def _is_same(made: tuple[Any, int], value: Any) -> bool:
    return made[0] is value and made[1] == _version(value)[1]


def _again(run: "Run", *actions: str) -> None:
    """Do actions of the batch again, as `Run.regrad` does: nothing is counted or logged."""
    replaying, run.replaying = run.replaying, True
    try:
        for action in actions:
            getattr(run.loop.do, action)()
    finally:
        run.replaying = replaying
