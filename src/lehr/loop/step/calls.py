"""Calls the graphs of a run's steps with all that they take."""

from functools import partial
from operator import is_
from typing import Any, final

import torch
from torch._C._autograd import _saved_tensors_hooks_enable as allow_saved_hooks  # pyright: ignore

from lehr.base.call import arguments_of
from lehr.errors import one_line
from lehr.loop.losses import wanted_by
from lehr.loop.run import Run
from lehr.loop.step.compiled import Compiled
from lehr.loop.step.graphs import Given, Place
from lehr.loop.step.inside import Inside
from lehr.loop.step.layout import Layout
from lehr.optim import optimizers

_CHANGES = 3  # of what the graph holds: each makes another graph
_OUTSIDE = "index out of bounds"  # as compiled code says it: of a kernel, and of no layer
_KNOWN = {
    "ata-dependent": (
        "the model or the loss function decides by the value of a tensor, which a graph cannot; "
        "compute both and choose with torch.where, or leave compile out"
    ),
    "saved tensor hooks": (
        "the model recomputes or moves what it keeps for its gradient, as torch.utils.checkpoint "
        "does, and that cannot be in a graph; leave that out, or compile"
    ),
    "TensorWrapper": (
        "the model or the loss function keeps a tensor of the step in an attribute, which cannot "
        "be in a graph; let the model return it with the prediction, or leave compile out"
    ),
}
"""What torch says of models that are common, and what it means"""


@final
class Calls:
    """Makes a step, or a batch's part of one, as one graph.

    Args:
        run: which trains.
        inside: the callbacks that have a part in it.

    Attributes:
        why: why there are no more graphs, in words; None as long as there are.
        failed: an error of the graph in this batch, which the eager step has in its own words.
        asks: whether nothing was done because torch would have to make a graph, for which it must
            be seen first what this batch trains: it need not be what the batch before has trained.
    """

    __slots__ = (
        *("_changes", "_compiled", "_graphs", "_held", "_inside", "_layout", "_made_of"),
        *("_no_grad", "_run", "_shapes", "asks", "failed", "why"),
    )

    def __init__(self, run: Run, inside: Inside) -> None:
        assert run.plan.graphs is not None
        self._run, self._graphs, self._inside = run, run.plan.graphs, inside
        self.why: str | None = None
        self.asks = False
        self.failed: Exception | None = None
        self._layout: Layout | None = None
        self._compiled: dict[Place, Compiled] = {}
        self._held: list[dict[str, Any]] = []
        self._made_of = run.model, run.loss_func
        self._no_grad = torch.no_grad()
        self._changes, self._shapes = 0, dict[Place, tuple[Any, ...]]()

    def _begin(self, layout: Layout) -> None:
        """There is a new layout, for which other graphs may be needed."""
        self._layout, self._held = layout, []
        self._compiled.clear()
        before, self._made_of = self._made_of, (self._run.model, self._run.loss_func)
        self._changes += not all(map(is_, before, self._made_of))
        if self._changes > _CHANGES:
            self.why = (
                "the model or the loss function keeps being replaced, and each needs another "
                "graph; change a tensor within it instead"
            )

    def make(
        self, place: Place, layout: Layout, *, seen: bool = False, again: bool = False
    ) -> bool:
        """Do what is to be done with this batch, and say whether that was done.

        If it was not, nothing was.

        Args:
            place: of the batch in its window.
            layout: what is trained.
            seen: whether it was this very batch that showed what is trained.
            again: whether it `asks` no more, and takes what callbacks gave it then: they may have
                drawn that, and would draw something else.
        """
        run, self.asks, self.failed = self._run, False, None
        if layout is not self._layout:
            self._begin(layout)
        if self.why is not None or (given := self._given(place, layout, again)) is None:
            return False
        graph = self._compiled.get(place) or self._graph_for(place, layout, given)
        try:
            with self._no_grad:
                call = graph.made_for(given)
                if call is None and not seen:
                    self.asks = True
                    self._forget_zeros()
                    return False
                loss, pred, parts, logs = (call or graph)(*given)
        except Exception as error:
            allow_saved_hooks()  # torch forbids them for good where it could not trace a gradient
            self.why = _why_not(error, self._graphs.backend)
            if self.why is None and _OUTSIDE not in str(error):
                raise
            self.failed = error if self.why is None else None
            return False
        run.loss, run.pred, run.loss_parts = loss, pred, parts or None
        self._inside.made(logs)
        if place == "close":
            optimizers.clear_gradients(run.opt)
        return True

    def _forget_zeros(self) -> None:
        """Let the gradients be as they were before something was to be added to them."""
        if not self._run.window.batches:
            optimizers.clear_gradients(self._run.opt)

    def _graph_for(self, place: Place, layout: Layout, given: Given) -> Compiled:
        run = self._run
        self._inside.check(layout.trained_by_name(), layout.others)
        if layout.captures:
            from lehr.loop.step.capture import keep_in_place

            keep_in_place(given._replace(args=(), named={}, yb=None))  # all but the batch
        self._compiled[place] = graph = self._graphs.of(
            run.model,
            run.loss_func,
            layout.parts,
            target=run.yb is not None and wanted_by(run.loss_func).target,
            sums=not run.plan.loss_is_mean,
            place=place,
            inside=self._inside.functions(),
            held=self._shapes[place],
            captures=layout.captures,
            making=partial(run.tell, "compiling the training step"),
        )
        return graph

    def _given(self, place: Place, layout: Layout, again: bool) -> Given | None:
        """What the graph is called with; None if it cannot be."""
        run = self._run
        states, numbers, gathered, total, weight = (), (), (), None, None
        if place != "gather":
            states = layout.states()
            if states is None:
                return None  # the optimizer makes its state in its next step
            numbers = layout.hyperparameters()
            if self._keeps_changing(layout, numbers):
                return None
        if not again and self._is_reshaped(place, self._inside.ask(run, place)):
            return None
        if place == "close":
            total = layout.numbers["total"].of(run.window.weight + run.weight)
        if place != "whole":
            gathered = layout.gathered()
        if place != "whole" or not run.plan.loss_is_mean:
            weight = layout.numbers["weight"].of(run.weight)
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
            self._inside.given(layout.numbers),
            gathered,
            total,
        )

    def _is_reshaped(self, place: Place, shape: tuple[Any, ...]) -> bool:
        """Whether what the graph holds of callbacks has changed too often."""
        before = self._shapes.get(place)
        self._shapes[place] = shape
        if before == shape:
            return False
        self._compiled.pop(place, None)
        self._changes += before is not None
        if self._changes > _CHANGES:
            self.why = self._inside.why_another(before or (), shape)
        return self.why is not None

    def _keeps_changing(self, layout: Layout, numbers: list[dict[str, Any]]) -> bool:
        """Whether a number that the graph holds has changed too often; then nothing is fused."""
        before, self._held = self._held, numbers
        if not before or before == numbers:
            return False
        changed = layout.changed(before, numbers)
        self._changes += len(changed)
        if changed and self._changes > _CHANGES:
            self.why = (
                f"{changed[0]} keeps changing, and the graph holds it as a number; leave its "
                "schedule out"
            )
        return self.why is not None


def _why_not(error: BaseException, backend: str) -> str | None:
    """Why torch could not make a graph, so that nothing was computed; None for any other error."""
    from torch._dynamo import exc

    if isinstance(error, getattr(exc, "FailOnRecompileLimitHit", ())):
        return (
            "the graph holds something that keeps changing, and each value needs another graph: a "
            "number or a text in the batch, or an attribute of the model or of the loss function. "
            "Let it be a tensor, and an attribute a buffer"
        )
    return _in_words(error, backend) if isinstance(error, exc.TorchDynamoException) else None


def _in_words(error: BaseException, backend: str) -> str:
    text = str(error)
    if "C++ compiler" in text or "InvalidCxxCompiler" in text:
        return (
            f"the backend {backend!r} needs a C++ compiler, and there is none; install one, such "
            "as g++, or set the environment variable CXX"
        )
    for said, meaning in _KNOWN.items():
        if said in text:
            return meaning
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((line for line in lines if not line.endswith(":")), one_line(error))
    return f"torch.compile cannot make one graph of it ({first}); change that, or leave compile out"
