"""The step as one compiled graph, where nobody watches or wraps anything inside of it."""

import warnings
from collections.abc import Callable
from typing import Any, cast, final

import torch
from torch import Tensor

from lehr.base.call import arguments_of
from lehr.base.nested import describe, inside, tensors_in
from lehr.errors import one_line
from lehr.loop.losses import wanted_by
from lehr.loop.run import Run
from lehr.loop.step.eager import EagerStep
from lehr.loop.step.fusible import hook_places, obstacles
from lehr.loop.step.graphs import Part
from lehr.optim import optimizers
from lehr.optim.functional import form_of

_CHANGES = 3  # of numbers that the graph holds: each makes another graph


@final
class FusedStep:
    """Does all of a training batch in `predict`, as one graph, and nothing in the other actions.

    Where that is not possible, it is the `EagerStep`. The first step of an epoch is always that
    one's: the optimizer then makes its own state, and it is seen which parameters have a gradient.
    So are validations, and steps of batches that have another size than the first, that are without
    weight, or that are to share a step. Both kinds of step leave weights and state where the other
    finds them. Which kind a step is depends on its position, so that a resumed fit has the same.

    Args:
        run: which trains, and whose plan has the graphs of the Learner.
    """

    __slots__ = (
        *("_eager", "_epoch", "_flags", "_fused", "_graph", "_graphs", "_hooks", "_layout"),
        *("_changes", "_held", "_others", "_size", "_tensors", "_warned", "_weight", "run", "why"),
    )

    def __init__(self, run: Run) -> None:
        assert run.plan.graphs is not None
        self.run, self._graphs, self._eager = run, run.plan.graphs, EagerStep(run)
        self.why: str | None = None
        """why nothing is fused any more"""
        self._fused = False
        self._graph: Callable[..., Any] | None = None
        self._layout: list[tuple[Any, Any, list[Tensor], Part]] = []
        self._epoch, self._flags = -1, list[bool]()
        self._size: list[Any] | None = None
        self._hooks: list[Any] = []
        self._others: dict[str, Tensor] = {}
        self._tensors: list[dict[str, _Number]] = []
        self._weight = _Number()
        self._held: list[dict[str, Any]] = []
        self._changes, self._warned = 0, False
        if found := obstacles(run.model, run.opt, run.loss_func, run.callbacks, run.engine):
            self._give_up("; ".join(found))

    def actions(self) -> dict[str, Callable[[], None]]:
        """The methods by the name of their action; `one_batch` is the loop's own."""
        if self.why is not None:
            return self._eager.actions()
        own = ("predict", "compute_loss", "backward", "step", "zero_grad")
        return self._eager.actions() | {action: getattr(self, action) for action in own}

    def _give_up(self, why: str) -> None:
        self.why, self._graph = why, None
        warnings.warn(
            f"compile: the steps are not fused, and as fast as without: {why}.", stacklevel=2
        )

    # The actions ---------------------------------------------------------------------------------

    def predict(self) -> None:
        """All of the step, if it can be fused; else the prediction."""
        self._fused = self.run.training and self._can_fuse() and self._whole_step()
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

    def step(self) -> None:
        """The step is made, or the optimizer makes it and shows what it trains."""
        if self._fused:
            self.run.stepped = True
        else:
            if self._graph is None and self.why is None:
                self._lay_out(_has_gradient)
            self._eager.step()

    def zero_grad(self) -> None:
        """A fused step leaves no gradients."""
        if not self._fused:
            self._eager.zero_grad()

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
        names = {id(p): name for name, p in run.model.named_parameters()}
        self._layout, self._tensors, self._held = [], [], []
        for opt in optimizers.each(run.opt):
            form = form_of(opt)
            for group in opt.param_groups:
                params = [p for p in group["params"] if trains(p)]
                if form is not None and params:
                    part = Part(form, tuple(names[id(p)] for p in params))
                    self._layout.append((opt, group, params, part))
                    self._tensors.append({name: _Number() for name in form.tensors})
        parts = [part for *_, part in self._layout]
        trained = {name for part in parts for name in part.names}
        every = {**dict(run.model.named_parameters()), **dict(run.model.named_buffers())}
        self._others = {name: value for name, value in every.items() if name not in trained}
        self._hooks = hook_places(run.model, run.loss_func)
        self._epoch, self._flags = run.epoch, self._flags_now()
        if not run.last_batch:  # which may be a short one
            self._size = self._size or _size(run)
        self._graph = self._graphs.of(
            run.model,
            run.loss_func,
            parts,
            target=run.yb is not None and wanted_by(run.loss_func).target,
            sums=not run.plan.loss_is_mean,
        )

    def _flags_now(self) -> list[bool]:
        opts = optimizers.each(self.run.opt)
        return [p.requires_grad for o in opts for group in o.param_groups for p in group["params"]]

    def _can_fuse(self) -> bool:
        """Whether this batch can be one graph; it is the step of its own that it makes."""
        run = self.run
        if self.why is not None or run.window.batches or not run.closes or not run.weight:
            return False
        if not run.batch_index:  # callbacks may have changed the model: the step shows what it is
            self._graph = self._size = None
            return False
        if self._graph is None or self._epoch != run.epoch:  # entered in the middle of an epoch
            if not self._has_all_states():
                return False
            self._lay_out(_requires_grad)
        elif self._flags != self._flags_now():
            self._graph = None
            return False
        if any(self._hooks):
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

    def _has_all_states(self) -> bool:
        """Whether everything that requires a gradient has the state that a step leaves."""
        return all(
            form.state_of(opt, group, [p for p in group["params"] if p.requires_grad]) is not None
            for opt in optimizers.each(self.run.opt)
            for group in opt.param_groups
            if (form := form_of(opt)) is not None
        )

    def _numbers(self) -> list[dict[str, Any]]:
        """The hyper-parameters of all parts; those that may change are in tensors."""
        numbers = [part.form.numbers_of(group) for _, group, _, part in self._layout]
        for own, tensors in zip(numbers, self._tensors, strict=True):
            for name, tensor in tensors.items():
                own[name] = tensor.of(own[name])
        return numbers

    def _keeps_changing(self, numbers: list[dict[str, Any]]) -> bool:
        """Whether a number that the graph holds has changed too often; then nothing is fused."""
        before, self._held = self._held, numbers
        if not before or before == numbers:
            return False
        for old, new, (opt, *_, part) in zip(before, numbers, self._layout, strict=True):
            movable = (*part.form.tensors, *part.form.free)
            for name in new:
                if name not in movable and new[name] != old[name]:
                    self._changes += 1
                    if self._changes > _CHANGES:
                        self._give_up(
                            f"{name} of {type(opt).__name__} keeps changing, and the graph "
                            "holds it as a number; leave its schedule out"
                        )
                        return True
        return False

    def _whole_step(self) -> bool:
        """Make the step, and say whether it was made."""
        run, graph = self.run, self._graph
        states = [
            part.form.state_of(opt, group, params) for opt, group, params, part in self._layout
        ]
        if graph is None or any(state is None for state in states):
            return False  # the optimizer makes its state in its next step
        numbers = self._numbers()
        if self._keeps_changing(numbers):
            return False
        args, named = arguments_of(run.xb)
        try:
            with torch.no_grad():
                loss, pred, parts = graph(
                    [params for _, _, params, _ in self._layout],
                    states,
                    numbers,
                    self._others,
                    args,
                    named,
                    run.yb,
                    None if run.plan.loss_is_mean else self._weight.of(run.weight),
                )
        except RuntimeError as error:
            if not _says_cannot_compile(error):
                raise
            self._give_up(_in_words(error, self._graphs.backend))
            return False
        run.loss, run.pred, run.loss_parts = loss, pred, parts or None
        return True


@final
class _Number:
    """A number in a tensor, so that another value needs no other graph."""

    __slots__ = ("_tensor", "_value")

    def __init__(self) -> None:
        self._tensor, self._value = torch.zeros((), dtype=torch.float64), 0.0

    def of(self, value: Any) -> Tensor:
        """The tensor, with this value; a tensor stays as it is."""
        if isinstance(value, Tensor):
            return value
        if value != self._value:
            self._value = value
            self._tensor.fill_(value)
        return self._tensor


def _has_gradient(parameter: Tensor) -> bool:
    return parameter.grad is not None


def _requires_grad(parameter: Tensor) -> bool:
    return parameter.requires_grad


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
