"""The update window: the training batches between two optimizer steps."""

from typing import Any, final

import torch
from torch import Tensor

from lehr.base.nested import floats_in
from lehr.base.sharing import own_part
from lehr.record.means import exact

_FIELDS = ("batch_index", "batch", "xb", "yb", "weight", "pred", "loss", "loss_parts")


@final
class Window:
    """What the open window has gathered: the gradient of the one big batch that its batches make.

    Each batch adds its `share` to the gradients, and `finish` makes them those of the mean loss. A
    window of one batch takes the mean loss itself, so it costs nothing and equals the plain loop
    bit for bit; otherwise the shares are sums over items, to be divided by the total weight.

    Args:
        keeps: whether batches are kept for `replay`.
        loss_is_mean: whether the loss function returns a mean over the batch's items or their sum.
        shared: whether other processes have a part in it. Then shares are always sums, and a batch
            without weight has one: of 0.
    """

    __slots__ = (
        *("_kept", "_random", "batches", "closed", "counted", "keeps", "loss_is_mean"),
        *("marks", "on_device", "shared", "sums", "weight"),
    )

    def __init__(self, *, keeps: bool, loss_is_mean: bool, shared: bool = False) -> None:
        self.keeps, self.loss_is_mean, self.shared = keeps, loss_is_mean, shared
        self.marks = keeps or shared
        """Whether there is anything to do before a batch is predicted."""
        self.batches, self.weight, self.sums = 0, 0.0, shared
        self.closed = False
        """Whether the gradients are those of the mean loss: all batches of the window are there"""
        self.on_device: Tensor | None = None
        """The weight, a tensor without dimensions, where many processes do not wait to read it;
        ``weight`` is 1 then"""
        self._kept: list[tuple[list[Any], Any]] = []
        self._random: Any = None
        self.counted = 0.0
        """The weight with which the batch was counted whose gradient is taken"""

    def clear(self) -> None:
        """Forget everything gathered."""
        self.batches, self.weight, self.sums = 0, 0.0, self.shared
        self.closed, self.on_device = False, None
        if self.keeps:
            self._kept.clear()

    def mark(self, run: Any) -> None:
        """Before a prediction: remember the random state that it draws from; tell the others."""
        if self.shared:
            run.engine.exchange(run)
        if self.keeps:
            self._random = run.random_state()

    def add(self, run: Any) -> None:
        """Count a batch whose gradient is about to be taken."""
        self.batches += 1
        self.counted = run.weight
        self.weight += run.weight
        if self.shared:
            run.engine.announce(run)
        if self.batches > 1 or not run.closes:
            if run.counts_a_step_a_batch and not run.closes:
                raise _undeclared(run)
            self.sums = True
        if self.keeps:
            self._kept.append(([getattr(run, name) for name in _FIELDS[:5]], self._random))

    def share(self, run: Any) -> Tensor:
        """What this batch adds to the loss of the window."""
        if run.weight != self.counted:
            raise _weighed_late(run, self.counted)
        if self.sums:
            if not run.weight:
                return _nothing(run)
            return run.loss * run.weight if self.loss_is_mean else run.loss
        return run.loss if self.loss_is_mean else run.mean_loss

    def finish(self, run: Any) -> None:
        """Make the gradients those of the window's mean loss."""
        self.closed = True
        if self.sums:
            with torch.no_grad():
                for p in run.trained_parameters():
                    if p.grad is None:
                        continue
                    if self.on_device is None:
                        p.grad.div_(self.weight)
                    else:
                        own_part(p.grad).div_(self.on_device.to(p.grad.device))

    def regrad(self, run: Any) -> Tensor:
        """See `lehr.loop.run.Run.regrad`."""
        if not self._kept:
            raise RuntimeError(
                "run.regrad() has no batches to replay. Set regrads = True on the callback that "
                "calls it, and call it while an update window is open, e.g. in the step action."
            )
        if not self.closed:
            raise RuntimeError(
                "run.regrad() was called before the window had closed: what it leaves would be "
                "taken for one batch's part of the gradient, and be divided again. Call it in the "
                "action finish_grad or step."
            )
        run.replaying = True
        try:
            run.loop.do.zero_grad()
            loss = self._replay(run)
            if self.shared:
                run.engine.replayed(run)
            self.finish(run)
            run.loop.do.finish_grad()
        finally:
            run.replaying = False
        return loss

    def _replay(self, run: Any) -> Tensor:
        """Run the kept batches through the actions again; returns the window's mean loss."""
        before, random_state = [getattr(run, name) for name in _FIELDS], run.random_state()
        total = torch.zeros((), dtype=torch.float64)
        with torch.enable_grad():
            for number, (kept, at_prediction) in enumerate(self._kept, 1):
                for name, value in zip(_FIELDS, kept, strict=False):
                    setattr(run, name, value)
                self.counted = run.weight
                if self.shared:
                    run.engine.replay(run, last=number == len(self._kept))
                run.set_random_state(at_prediction)
                run.loop.do.predict()
                run.loop.do.compute_loss()
                if run.weight or self.shared:
                    run.loop.do.backward()
                if run.weight:
                    mean = exact(run.mean_loss.detach())
                    total = total.to(mean) + mean * run.weight
        run.set_random_state(random_state)
        for name, value in zip(_FIELDS, before, strict=True):
            setattr(run, name, value)
        weight = self.weight if self.on_device is None else float(self.on_device)
        return run.engine.sum(total) / run.engine.world / weight


def _nothing(run: Any) -> Tensor:
    """A loss of 0 that depends on every tensor predicted, though on none of its values."""
    tensors = [t for t in floats_in(run.pred) if t.requires_grad] or run.trained_parameters()
    return torch.stack([tensor.flatten()[:0].sum() for tensor in tensors]).sum()


def _weighed_late(run: Any, counted: float) -> RuntimeError:
    return RuntimeError(
        f"run.weight was {counted} when the batch was counted, and a callback has made it "
        f"{run.weight} since: the batch's part of the gradient would be of another weight than its "
        "part of the window. Give the Learner weight=, or set run.weight before the backward "
        "action."
    )


def _undeclared(run: Any) -> RuntimeError:
    return RuntimeError(
        "run.closes was set to False, so that batches share a step, but the run was planned for "
        f"{run.planned_steps} steps, one a batch: schedules would end half-way. Declare it on the "
        "callback that sets it: batches_per_step = 4, say, or None if that cannot be known "
        "beforehand."
    )
