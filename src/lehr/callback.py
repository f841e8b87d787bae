"""Callback: the class that you extend to watch or change the loop."""

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from lehr.base.graph_part import GraphPart
from lehr.base.names import snake_case
from lehr.events import Layer, Phase
from lehr.types import is_mapping, is_stateful


class Callback:
    """Watches or changes the loop: its methods are named after events and actions.

    ``def after_loss(self, run)`` watches an event: it reads and writes ``run`` and returns nothing.
    ``def backward(self, run, proceed)`` wraps an action: ``proceed()`` does what would have
    happened without this callback. If you do not call it, your code replaces the action; you may
    also call it twice. ``def around_fit(self, run)`` returns a context manager that is open for
    the whole fit. All names are in `lehr.events`. A method with a name that is almost one of them
    is an error when the callback is attached.

    Attributes:
        phase: when this callback is called for an event, among the others.
        layer: how far out this callback wraps an action, among the others.
        before, after: names of classes. This callback is called before, or after, callbacks of
            these classes; it wraps actions outside, or inside, of them. The order of lehr's own
            callbacks is published in `lehr.loop.order`.
        evaluates: whether this callback takes part in `Learner.validate`, `Learner.predict` and
            rehearsals, too. With None it does if it ``moves`` something or wraps predict,
            compute_loss or one_batch, so that the objective is the same everywhere; and in
            rehearsals, such as `Learner.find_lr`, also if it wraps another action or ``regrads``.
        moves: what this callback moves to a device, or changes: ``"model"``, ``"batches"``.
        drives: the numbers that this callback sets during a fit, by name: ``("lr",)``, or a path
            such as ``"model.2.p"``. Where two callbacks drive one number, a `ParamScheduler` or
            `ReduceOnPlateau` among them refuses.
        freezes: the parts of the model that it keeps from being trained, each with the time until
            when, as `lehr.callbacks.Freeze` takes them; None stands for the whole fit. An optimizer
            need not hold what is never trained.
        monitors: names of columns of the history that this callback waits for, such as
            ``("valid_loss",)``. One that nothing of the fit would write is then an error before
            anything is trained, if all callbacks are lehr's; any other may log it.
        batches_per_step: how many training batches make an optimizer step with this callback; None
            if that cannot be known beforehand.
        state: names of the attributes that must be saved; ``()`` says that none must. An attribute
            that has a ``state_dict`` of its own, such as a module, is saved by it and loaded in
            place: make it in `begin_fit` or before. What is declared is also there in a
            `Learner.validate` or `Learner.predict` after the fit, though `begin_fit` is called; so
            are the values of modules, optimizers and tensors, declared or not.
        replays: whether the course of a run may depend on this callback. False for one that only
            watches, such as a log: it is left out when past steps are made again, and when a
            resumed run is compared with the one that was stopped.
        by_length: whether what this callback does to the training may depend on how long the fit is
            planned: on ``run.pos``, ``run.epochs``, ``run.steps`` or ``run.planned_steps``. A run
            that is resumed with more epochs is then no exact one. False for one that never does; a
            subclass inherits that.
        keeps: the epoch whose weights this callback leaves in the model when the fit ends, and the
            column by which it chose; None if it chooses none.
        everywhere: whether this callback takes part in every process, if several train together;
            False for one that writes or shows something outside of the run: the first process has
            it alone, and `Learner.profile` leaves it out.
        measures: what this callback measures in validations, such as metrics. With new ones, the
            next fit tries the validation before it trains.
        modules: modules of its own, such as a teacher, that go to the device of the model; or other
            objects with a method ``to`` that moves them in place.
        looks_on: whether what it does in after_pred, after_loss and after_backward can be done when
            the step is made: it reads predictions, loss and numbers of the run there, but neither
            weights nor gradients, and it changes and cancels nothing. Any other that watches these
            events keeps a step from being fused (``compile`` of `lehr.Learner`).
        in_graph: names of the methods that `graph_part` has a function for, of ``"predict"``,
            ``"compute_loss"``, ``"backward"``, ``"finish_grad"`` and ``"after_step"``: the graph
            of a fused step then includes what they do, and they are not called. One that wraps
            ``"step"`` or ``"zero_grad"`` may be named, too: it is called as ever, around nothing.
            A subclass that changes one of them must change `graph_part` as well.
        regrads: whether this callback calls `run.regrad()`; batches are kept only if one does.
        plans: whether this callback takes part in `Learner.plan`: True for one whose doings depend
            on the position of the run alone. There is no batch, prediction or loss then. What it
            drives, and which parameters it freezes, is what the plan shows. See `saves_at`, too.
        checkpoint_folder: the folder of the checkpoints that this callback saves, from which
            ``fit(…, resume="auto")`` goes on; None if it saves none.

    Example:
        >>> class CountSteps(Callback):
        ...     state = ("steps",)
        ...     def begin_fit(self, run):
        ...         self.steps = 0
        ...     def after_step(self, run):
        ...         self.steps += 1
        >>> CountSteps().name
        'count_steps'
    """

    phase: ClassVar[Phase] = Phase.MEASURE
    layer: ClassVar[Layer] = Layer.TRANSFORM
    before: ClassVar[tuple[str, ...]] = ()
    after: ClassVar[tuple[str, ...]] = ()
    evaluates: ClassVar[bool | None] = None
    everywhere: ClassVar[bool] = True
    moves: ClassVar[tuple[str, ...]] = ()
    state: ClassVar[tuple[str, ...]] = ()
    regrads: ClassVar[bool] = False
    replays: ClassVar[bool] = True
    in_graph: tuple[str, ...] = ()
    drives: Sequence[Any] = ()
    freezes: Mapping[Any, Any] = MappingProxyType({})
    modules: Sequence[Any] = ()
    monitors: Sequence[str] = ()
    measures: Sequence[Any] = ()
    batches_per_step: int | None = 1
    plans: bool = False
    by_length: bool = True
    looks_on: bool = False

    @property
    def checkpoint_folder(self) -> str | os.PathLike[str] | None:
        """See the class."""
        return None

    @property
    def keeps(self) -> tuple[int, str] | None:
        """See the class."""
        return None

    def saves_at(self, run: Any, rest: Any) -> bool:
        """Whether it saves a checkpoint where a run rests, as far as the position alone tells.

        `Learner.plan` shows it; by default never.

        Args:
            run: the `lehr.Run`.
            rest: the `lehr.loop.rests.Rest`.
        """
        return False

    def graph_part(self, method: str, run: Any) -> GraphPart:
        """What one of the methods named in `in_graph` does in the next step, for its graph.

        It is asked before every fused step; in ``predict``, ``compute_loss`` and ``backward``,
        before every fused batch. In ``finish_grad``, callbacks come in the order in which their
        work before ``proceed()`` would.

        Args:
            method: ``"predict"``, ``"compute_loss"``, ``"backward"``, ``"finish_grad"`` or
                ``"after_step"``.
            run: the `lehr.Run`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has {method!r} in in_graph; write its graph_part, which "
            "returns a lehr.GraphPart."
        )

    @property
    def name(self) -> str:
        """Its name in messages and paths; by default its class in snake case without Callback."""
        default = snake_case(type(self).__name__.removesuffix("Callback") or "callback")
        return str(vars(self).get("_name", default))

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    def state_dict(self) -> dict[str, Any]:
        """The attributes named in `state`; one that was never set is left out."""
        values = {name: getattr(self, name) for name in self.state if hasattr(self, name)}
        return {
            name: value.state_dict() if is_stateful(value) else value
            for name, value in values.items()
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Set the attributes named in `state`, and unset those that were left out.

        Raises:
            KeyError: ``state_dict`` holds a name that `state` does not; nothing is changed then.
        """
        for name in state_dict:
            if name not in self.state:
                raise KeyError(
                    f"{type(self).__name__} has no state named {name!r}; it declares {self.state}. "
                    "Was it saved by another version of this callback?"
                )
        for name in self.state:
            if name in state_dict:
                value, saved = getattr(self, name, None), state_dict[name]
                if is_stateful(value) and is_mapping(saved):
                    value.load_state_dict(saved)
                else:  # None, say, from before there was one
                    setattr(self, name, saved)
            elif name in vars(self):
                delattr(self, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
