"""The step as one compiled graph, where nobody watches or wraps anything inside of it."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, cast, final

import torch
from torch import Tensor

from lehr.base.call import arguments_of
from lehr.base.nested import describe, inside, tensors_in
from lehr.errors import one_line
from lehr.loop.losses import wanted_by
from lehr.loop.run import Run
from lehr.loop.step.eager import EagerStep
from lehr.loop.step.fusible import obstacles
from lehr.loop.step.graphs import Given, Place
from lehr.loop.step.inside import Inside
from lehr.loop.step.layout import Layout, has_all_states, has_gradient, requires_grad
from lehr.loop.step.number import Number
from lehr.optim import optimizers

_CHANGES = 3  # of numbers that the graph holds: each makes another graph


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
        *("_changes", "_closes", "_compiled", "_eager", "_fused", "_graphs", "_held", "_inside"),
        *("_layout", "_made", "_shape", "_size", "_warned", "_total", "_weight", "_windows"),
        *("run", "why"),
    )

    def __init__(self, run: Run) -> None:
        assert run.plan.graphs is not None
        self.run, self._graphs, self._eager = run, run.plan.graphs, EagerStep(run)
        self.why: str | None = None
        """why nothing is fused any more"""
        self._fused = self._made = self._closes = False
        self._compiled: dict[Place, Callable[..., Any]] = {}
        self._layout: Layout | None = None
        self._size: list[Any] | None = None
        self._weight, self._total = Number(), Number()
        self._held: list[dict[str, Any]] = []
        self._changes, self._warned = 0, False
        self._inside, self._shape = Inside(run.callbacks), None
        self._windows = any(callback.batches_per_step != 1 for callback in run.callbacks)
        if found := obstacles(run.model, run.opt, run.loss_func, run.callbacks, run.engine):
            self._give_up("; ".join(found))

    def actions(self) -> dict[str, Callable[[], None]]:
        """The methods by the name of their action; `one_batch` is the loop's own."""
        if self.why is not None:
            return self._eager.actions()
        own = ("predict", "compute_loss", "backward", "step", "zero_grad")
        return self._eager.actions() | {action: getattr(self, action) for action in own}

    def embed(self, do: Any, on: Any) -> None:
        """Let what callbacks do in the graph not be done again after a fused step.

        Args:
            do: the actions, as callbacks wrap them.
            on: the listeners.
        """
        if self.why is None:
            do.finish_grad = partial(self._finish_grad, do.finish_grad)
            on.after_step = tuple(
                self._inside.listener(listener, self._is_made) for listener in on.after_step
            )

    def _give_up(self, why: str) -> None:
        self.why, self._layout = why, None
        warnings.warn(
            f"compile: the steps are not fused, and as fast as without: {why}.", stacklevel=2
        )

    # The actions ---------------------------------------------------------------------------------

    def predict(self) -> None:
        """All of the step, if it can be fused; else the prediction."""
        self._made = False
        self._fused = self.run.training and self._can_fuse() and self._in_graph()
        if not self._fused:
            self._eager.predict()

    def compute_loss(self) -> None:
        """Nothing, after a fused step."""
        if not self._fused:
            self._eager.compute_loss()

    def backward(self) -> None:
        """Nothing, after a fused step."""
        if not self._fused:
            self._eager.backward()
        elif self.run.closes != self._closes:
            raise RuntimeError(
                "run.closes was changed after the prediction, when the fused step was made. Set it "
                "in begin_batch, or give the Learner no compile."
            )

    def _finish_grad(self, wrapped: Callable[[], None]) -> None:
        if self._made:
            self._inside.finish(self.run)
        else:
            wrapped()

    def step(self) -> None:
        """The step is made, or the optimizer makes it and shows what it trains."""
        if self._made:
            self.run.stepped = True
        else:
            if self._layout is None and self.why is None:
                self._lay_out(has_gradient)
            self._eager.step()

    def zero_grad(self) -> None:
        """A fused step leaves no gradients; the window is over."""
        made = self._made
        self._made = self._fused = False
        if not made:
            self._eager.zero_grad()

    def _is_made(self) -> bool:
        """Whether the graph has made the step of this window."""
        return self._made

    # What is in the graph ------------------------------------------------------------------------

    def _lay_out(self, trains: Callable[[Tensor], bool]) -> None:
        """Remember what is trained, and how."""
        run = self.run
        if not _is_plain(run.pred):
            self._give_up(
                f"the model returns {describe(run.pred)}; let it return tensors, alone or in "
                "tuples, lists and dicts"
            )
            return
        self._layout, self._held = Layout(run, trains), []
        if not run.last_batch:  # which may be a short one
            self._size = self._size or _size(run)
        self._compiled.clear()

    def _can_fuse(self) -> bool:
        """Whether this batch can be one graph; it is the step of its own that it makes."""
        run = self.run
        if self.why is not None or not run.weight:
            return False
        if not run.batch_index:  # callbacks may have changed the model: the step shows what it is
            self._layout = self._size = None
            return False
        if self._layout is None or self._layout.epoch != run.epoch:  # entered within an epoch
            if run.window.batches or not has_all_states(run.opt):
                return False
            self._lay_out(requires_grad)
        elif not self._layout.is_still(run):
            self._layout = None
            return False
        if self._layout is None:
            return False
        if run.last_batch and self._windows and not run.window.batches:
            return False  # what is left over is not worth a graph of its own
        if self._layout.has_hooks():
            self._give_up(
                "a module or the loss function has hooks, which watch inside; remove them, or the "
                "callback that put them there"
            )
            return False
        if (fits := self._size == _size(run)) or run.last_batch:
            return fits
        if not self._warned:
            self._warned = True
            warnings.warn(
                "compile: batches of another size than the first of the epoch are not fused. Give "
                "all the same, e.g. by padding.",
                stacklevel=2,
            )
        return False

    def _keeps_changing(self, layout: Layout, numbers: list[dict[str, Any]]) -> bool:
        """Whether a number that the graph holds has changed too often; then nothing is fused."""
        before, self._held = self._held, numbers
        if not before or before == numbers:
            return False
        changed = layout.changed(before, numbers)
        self._changes += len(changed)
        if changed and self._changes > _CHANGES:
            self._give_up(
                f"{changed[0]} keeps changing, and the graph holds it as a number; leave its "
                "schedule out"
            )
        return self.why is not None

    def _in_graph(self) -> bool:
        """Do what is to be done with this batch as one graph, and say whether that was done."""
        run, window = self.run, self.run.window
        self._closes = run.closes or run.last_batch
        place: Place = "gather"
        if self._closes:
            place = "close" if window.batches else "whole"
        layout = self._layout
        if layout is None or (given := self._given(place, layout)) is None:
            return False
        graph = self._compiled.get(place) or self._graph_for(place, layout)
        try:
            with torch.no_grad():
                loss, pred, parts, logs = graph(*given)
        except RuntimeError as error:
            if not _says_cannot_compile(error):
                raise
            self._give_up(_in_words(error, self._graphs.backend))
            return False
        run.loss, run.pred, run.loss_parts = loss, pred, parts or None
        if self._closes:
            self._made = True
            self._inside.made(logs)
            if place == "close":
                optimizers.clear_gradients(run.opt)
        return True

    def _graph_for(self, place: Place, layout: Layout) -> Callable[..., Any]:
        run = self.run
        self._compiled[place] = graph = self._graphs.of(
            run.model,
            run.loss_func,
            layout.parts,
            target=run.yb is not None and wanted_by(run.loss_func).target,
            sums=not run.plan.loss_is_mean,
            place=place,
            inside=self._inside.functions() if self._closes else (),
            held=self._shape if self._closes else (),
        )
        return graph

    def _given(self, place: Place, layout: Layout) -> Given | None:
        """What the graph is called with; None if it cannot be."""
        run = self.run
        states, numbers, offered, gathered, total, weight = (), (), (), (), None, None
        if place != "gather":
            states = layout.states()
            if states is None:
                return None  # the optimizer makes its state in its next step
            numbers, shape = layout.numbers(), self._inside.ask(run)
            if self._keeps_changing(layout, numbers) or self._is_reshaped(shape):
                return None
            offered = self._inside.given()
        if place == "close":
            total = self._total.of(run.window.weight + run.weight)
        if place != "whole":
            gathered = layout.gathered()
        if place != "whole" or not run.plan.loss_is_mean:
            weight = self._weight.of(run.weight)
        args, named = arguments_of(run.xb)
        return Given(
            layout.trained,
            layout.others,
            args,
            named,
            run.yb,
            weight,
            states,
            numbers,
            offered,
            gathered,
            total,
        )

    def _is_reshaped(self, shape: tuple[Any, ...]) -> bool:
        """Whether what the graph holds of callbacks has changed too often."""
        before, self._shape = self._shape, shape
        if before == shape:
            return False
        self._compiled.clear()
        self._changes += before is not None
        if self._changes > _CHANGES:
            self._give_up(
                "what callbacks do within the step keeps changing; leave their schedules out"
            )
        return self.why is not None


def _is_plain(pred: Any) -> bool:
    """Whether a prediction is made of what a graph can return as it is."""
    if pred is None or isinstance(pred, Tensor):  # None: there is none yet
        return True
    kind = cast("type[Any]", type(pred))
    if kind not in (tuple, list, dict):
        return False
    return all(inner is not None and _is_plain(inner) for inner in inside(pred) or ())


def _size(run: Run) -> list[Any]:
    """Shapes and types of all tensors in a batch."""
    return [(tensor.shape, tensor.dtype) for tensor in tensors_in((run.xb, run.yb))]


def _says_cannot_compile(error: BaseException) -> bool:
    """Whether torch could not make a graph; nothing has been computed then."""
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def _in_words(error: BaseException, backend: str) -> str:
    text = str(error)
    if "C++ compiler" in text or "InvalidCxxCompiler" in text:
        return (
            f"the backend {backend!r} needs a C++ compiler, and there is none; install one, such "
            "as g++, or set the environment variable CXX"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((line for line in lines if not line.endswith(":")), one_line(error))
    return f"torch.compile cannot make one graph of it ({first}); change that, or leave compile out"
