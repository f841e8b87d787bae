"""The step as one compiled graph, where nobody watches or wraps anything inside of it."""

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, final

from lehr.base.nested import describe, tensors_in
from lehr.loop.run import Run
from lehr.loop.step.calls import Calls
from lehr.loop.step.eager import EagerStep
from lehr.loop.step.fusible import obstacles
from lehr.loop.step.graphs import BACKWARD, FINISH, LOSS, PREDICT, Place, Size
from lehr.loop.step.inside import Inside
from lehr.loop.step.layout import Layout, attributes_of, count_on_cpu
from lehr.loop.step.returned import is_plain
from lehr.loop.step.verdict import waiting_for
from lehr.optim import optimizers


class Unfused(NamedTuple):
    """What the graph does, without it: actions as callbacks wrap them, and listeners."""

    predict: Callable[[], None]
    compute_loss: Callable[[], None]
    backward: Callable[[], None]
    finish_grad: Callable[[], None]
    step: Callable[[], None]
    zero_grad: Callable[[], None]
    after_step: Sequence[Callable[[], None]]


@final
class FusedStep:
    """Does all of a training batch in `predict`, as one graph, and nothing in the other actions.

    Where that is not possible, it is the `EagerStep`. The first step of an epoch is always that
    one's: the optimizer then makes its own state, and it is seen which parameters have a gradient.
    So are validations, and batches that have another size than the first, or are without weight.
    Both kinds leave weights, state and gathered gradients where the other finds them. Which kind a
    batch is depends on its position, so that a resumed fit has the same.

    Where several batches share a step, each adds to the gradients that the parameters hold, and the
    last of them makes the step. What callbacks do within the step is in the graph, if they have a
    function for it.

    Args:
        run: which trains, and whose plan has the graphs of the Learner.
    """

    __slots__ = (
        *("_attributes", "_begun", "_calls", "_chooses", "_closes", "_eager", "_fused", "_graphs"),
        *("_inside", "_layout", "_made", "_of_window", "_seen", "_unfused", "_verdict"),
        *("_warned", "_windows", "run", "why"),
    )

    def __init__(self, run: Run) -> None:
        assert run.plan.graphs is not None
        self.run, self._eager, self._inside = run, EagerStep(run), Inside(run.callbacks)
        self._calls = Calls(run, self._inside)
        self._graphs = run.plan.graphs
        self._chooses, self._verdict = self._graphs.measures, self._graphs.verdict
        self.why: str | None = None
        """why nothing is fused any more"""
        self._fused = self._made = self._closes = self._warned = False
        self._attributes: Any = None
        """plain values of the model as the epoch began"""
        self._of_window = False
        """whether what is trained may be another in the next window"""
        self._seen = False
        """whether it was this very batch that showed what is trained"""
        self._begun = False
        """whether the graph has done what the loop has not come to yet"""
        self._layout: Layout | None = None
        self._graphs.size = None  # until the state is loaded, if there is some
        self._unfused: Unfused
        self._windows = any(callback.batches_per_step != 1 for callback in run.callbacks)
        if found := obstacles(run.model, run.opt, run.loss_func, run.callbacks, run.engine):
            self._give_up("; ".join(found))

    def actions(self) -> dict[str, Callable[[], None]]:
        """The methods by the name of their action; `one_batch` is the loop's own."""
        if self.why is not None:
            return self._eager.actions()
        own = ("step", "zero_grad")
        return self._eager.actions() | {action: getattr(self, action) for action in own}

    def embed(self, do: Any, on: Any) -> None:
        """Let what callbacks do in the graph not be done again after a fused step.

        Args:
            do: the actions, as callbacks wrap them.
            on: the listeners.
        """
        if self.why is not None:
            return
        self._unfused = Unfused(
            do.predict,
            do.compute_loss,
            do.backward,
            do.finish_grad,
            do.step,
            do.zero_grad,
            [self._on_step(listener) for listener in self._inside.heard(on.after_step)],
        )
        do.predict, do.compute_loss, do.backward = self.predict, self.compute_loss, self.backward
        if self._inside.does(FINISH):
            do.finish_grad = self.finish_grad
        on.after_step = tuple(
            self._inside.listener(listener, self._is_made) for listener in on.after_step
        )

    def _on_step(self, listener: Callable[[Any], None]) -> Callable[[], None]:
        return partial(listener, self.run)

    def _give_up(self, why: str) -> None:
        self.why, self._layout = why, None
        count_on_cpu(self.run.opt)
        warnings.warn(
            f"compile: the steps are not fused, and as fast as without: {why}.", stacklevel=2
        )

    # The actions ---------------------------------------------------------------------------------

    def predict(self) -> None:
        """All of the step, if it can be fused; else the prediction, as callbacks wrap it."""
        self._refuse_late_cancels()
        self._made = self._seen = False
        if self._chooses and self.run.training and self.why is None:
            self._choose()
        self._fused = self.run.training and self._can_fuse() and self._in_graph(self._place())
        self._begun = self._fused
        if self._fused:
            self._inside.end(PREDICT, self.run)
        else:
            self._unfused.predict()

    def compute_loss(self) -> None:
        """Nothing, after a fused step."""
        if self._fused:
            self._inside.end(LOSS, self.run)
        else:
            self._unfused.compute_loss()
            if self._calls.failed is not None:  # and this, without the graph, has not
                raise self._calls.failed

    def backward(self) -> None:
        """Nothing, after a fused step."""
        if not self._fused:
            self._unfused.backward()
        elif self.run.closes == self._closes:
            self._inside.end(BACKWARD, self.run)
            self._begun = self._made  # what closes its window is still to step
        else:
            raise RuntimeError(
                "run.closes was changed after the prediction, when the fused step was made. Set it "
                "in begin_batch, or give the Learner no compile."
            )

    def finish_grad(self) -> None:
        """What callbacks do to the gradient, unless the graph has done it."""
        self._begun = False
        if self._made:
            self._inside.end(FINISH, self.run)
        else:
            self._unfused.finish_grad()

    def step(self) -> None:
        """The step is made, or the optimizer makes it and shows what it trains."""
        self._begun = False
        if self._made:
            self.run.stepped = True
        else:
            if self._layout is None and self.why is None:
                self._lay_out()
            self._eager.step()

    def zero_grad(self) -> None:
        """A fused step leaves no gradients; the window is over."""
        self._refuse_late_cancels()
        made = self._made
        self._made = self._fused = False
        if not made:
            self._eager.zero_grad()

    def _refuse_late_cancels(self) -> None:
        if self._begun:
            raise RuntimeError(
                "a callback that looks on has cancelled the batch after the prediction, when the "
                "fused step was made. Cancel in begin_batch or after_batch, or leave looks_on out, "
                "so that nothing is fused."
            )

    def _is_made(self) -> bool:
        """Whether the graph has made the step of this window."""
        return self._made

    # Which kind of step is the faster one --------------------------------------------------------

    def _choose(self) -> None:
        """Take the kind of step that was the faster one; measure that if nobody has yet."""
        self._chooses, verdict = False, self._verdict
        what = self._measured()
        known = verdict.holds_for(what)
        if not known and (times := self._times()) is not None:
            verdict.decided(what, *times)
        if verdict.fused is False and self.why is None:
            if known:
                self.why = verdict.in_words()
                count_on_cpu(self.run.opt)
            else:
                self._give_up(f'{verdict.in_words()}; compile="always" takes the fused one')

    def _measured(self) -> Any:
        """What is measured, in a form to compare with."""
        run = self.run
        return (
            type(run.model).__qualname__,
            tuple((name, p.shape) for name, p in run.model.named_parameters()),
            [type(opt).__name__ for opt in optimizers.each(run.opt)],
            self._windows,
            self._inside.names(),
        )

    def _times(self) -> list[float] | None:
        """Seconds of an eager and of a fused step with this batch; everything is then as before.

        None if there is nothing to compare. Of a window of several batches, one is measured that
        adds to the gradient.
        """
        times = None
        if not self._can_try() or not self.run.weight:
            return None
        place: Place = "gather" if self._windows else "whole"
        with self._trying():
            self._eager_step(place)
            self._seen = True
            if (layout := self._layout) is not None and not layout.has_hooks():
                times = self._compared(place, layout)
        self._layout = None
        return times

    def _can_try(self) -> bool:
        """Whether all that a step changes can be put back: it is the Learner's."""
        run, learn = self.run, self.run.learn
        return (
            run.model is learn.model and run.opt is learn.opt and run.loss_func is learn.loss_func
        )

    @contextmanager
    def _trying(self) -> Generator[None]:
        """A scope after which all is as before."""
        run = self.run
        with run.learn.probe():
            yield
        self._made = run.stepped = False
        run.pred = run.loss = run.loss_parts = None

    def _compared(self, place: Place, layout: Layout) -> list[float] | None:
        wait, measured = waiting_for(layout.trained[0][0]), self._verdict.measured

        def eager() -> None:
            wait(self._eager_step(place))

        def fused() -> None:
            wait(self._in_graph(place))

        if not layout.captures:
            return measured(eager, fused) if self._in_graph(place) else None
        # Not in turns: once counts are on the device, an eager step waits for them.
        seconds = measured(eager)
        return seconds + measured(fused) if self._in_graph(place) else None

    def _eager_step(self, place: Place) -> None:
        self._made = False
        self.run.window.counted = self.run.weight
        unfused = self._unfused
        unfused.predict()
        unfused.compute_loss()
        unfused.backward()
        if self._layout is None and self.why is None:
            self._lay_out()
        if place == "whole":
            unfused.finish_grad()
            unfused.step()
            for listener in unfused.after_step:
                listener()
            unfused.zero_grad()

    # What is in the graph ------------------------------------------------------------------------

    def _lay_out(self) -> None:
        """Remember what is trained, and how: it holds gradients."""
        run = self.run
        if found := obstacles(run.model, run.opt, run.loss_func, run.callbacks, run.engine):
            self._give_up("; ".join(found))
            return
        if not is_plain(run.pred):
            self._give_up(
                f"the model returns {describe(run.pred)}; let it return tensors, alone or in "
                "tuples, lists and dicts"
            )
            return
        self._layout = Layout(run, self._graphs)
        self._of_window = bool(run.window.batches) and attributes_of(run) != self._attributes
        if not run.last_batch:  # which may be a short one
            self._graphs.size = self._graphs.size or _size(run)

    def _look_ahead(self) -> None:
        """Lay out what this batch trains, in the midst of an epoch, before a step of it is made."""
        self._layout = None
        if self._can_try():
            self._seen = True
            with self._trying():
                self._eager_step("gather")

    def _can_fuse(self) -> bool:
        """Whether this batch can be one graph; it is the step of its own that it makes."""
        run = self.run
        if self.why is not None or not run.weight:
            return False
        if not run.batch_index:  # callbacks may have changed the model: the step shows what it is
            self._layout = self._graphs.size = None
            self._attributes = attributes_of(run)
            if run.last_batch:
                self._warn(
                    "the first step of an epoch is not fused, and this epoch has no other. Give "
                    "smaller batches"
                )
            return False
        if self._layout is None or self._layout.epoch != run.epoch:  # entered within an epoch
            if run.window.batches:
                return False
            self._look_ahead()
        elif not self._layout.is_still(run):
            self._layout = None
            return False
        elif self._of_window and not run.window.batches:
            self._look_ahead()
        if self._layout is None:
            return False
        if run.last_batch and self._windows and not run.window.batches:
            return False  # what is left over is not worth a graph of its own
        if self._layout.has_hooks():
            self._give_up(
                "a module, a parameter or an optimizer has hooks, which watch inside; remove them, "
                "or the callback that put them there"
            )
            return False
        if (fits := self._graphs.size == _size(run)) or run.last_batch:
            return fits
        self._warn(
            "batches of another size than the first of the epoch are not fused. Give all the same, "
            "e.g. by padding"
        )
        return False

    def _warn(self, what: str) -> None:
        """Say once in a fit what is not fused, though the rest may be."""
        if not self._warned:
            self._warned = True
            warnings.warn(f"compile: {what}.", stacklevel=2)

    def _place(self) -> Place:
        """Where the batch is in its window."""
        self._closes = self.run.closes or self.run.last_batch
        if not self._closes:
            return "gather"
        return "close" if self.run.window.batches else "whole"

    def _in_graph(self, place: Place, *, again: bool = False) -> bool:
        """Do what is to be done with this batch as one graph, and say whether that was done."""
        layout = self._layout
        if layout is None:
            return False
        seen = self._seen or not self._can_try()
        done = self._calls.make(place, layout, seen=seen, again=again)
        if self._calls.asks:
            self._look_ahead()
            if self._layout is not None and layout.takes_over(self._layout):
                self._layout = layout
            self._of_window = bool(self.run.window.batches)
            return self._in_graph(place, again=True)
        if self._calls.why is not None and self.why is None:
            self._give_up(self._calls.why)
        self._made = done and place != "gather"
        return done


def _size(run: Run) -> Size:
    """Shapes and types of all tensors in a batch."""
    return [(tensor.shape, tensor.dtype) for tensor in tensors_in((run.xb, run.yb))]
