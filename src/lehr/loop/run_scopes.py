"""The scopes that a run opens: around a whole fit, and around each pass.

A scope that swallows an exception, or replaces it by another, is a class. As a generator it would
keep the Learner alive: from Python 3.12 on, the exception holds the frame of the generator, which
holds the frame of `contextlib`, which holds the exception.
"""

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, final

import torch
from torch import nn

from lehr.base.gradients import put_aside_gradients
from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.modes import keep_modes
from lehr.events import Cancel, CancelFit
from lehr.loop import blame
from lehr.loop.dispatch import Actions, Listeners, around, fire
from lehr.loop.fork_guard import no_fit_in_forks
from lehr.loop.step.eager import EagerStep
from lehr.loop.step.releasing import releasing
from lehr.loop.underway import under_way
from lehr.optim import optimizers
from lehr.state import streams

if TYPE_CHECKING:
    from lehr.loop.run import Run
    from lehr.loop.step.fused import FusedStep


@interrupts_wait_at_both_ends
@final
class opened(AbstractContextManager[Listeners]):  # noqa: N801 - it is read as `with opened(loop)`
    """A scope in which a loop knows the listeners of each event, and what each action does.

    A cancel that reaches the end of it had no meaning where it was raised, and becomes an error
    that says so. Any other error gets a note that says where it happened.
    """

    __slots__ = ("loop",)

    def __init__(self, loop: Any) -> None:
        self.loop = loop

    def __enter__(self) -> Listeners:
        loop, run = self.loop, self.loop.run
        loop.on = Listeners(run.callbacks)
        step = _step(run)
        own = step.actions() | {"one_batch": loop.one_batch}
        if run.plan.valid_grad:
            own["compute_loss"] = releasing(run, own["compute_loss"])
        loop.do = Actions(run.callbacks, run, run.engine.actions(run, own))
        if not isinstance(step, EagerStep):
            step.embed(loop.do, loop.on)
        run.loop = loop
        return loop.on

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        loop, run = self.loop, self.loop.run
        try:
            if isinstance(error, Cancel):
                raise blame.misplaced(error, run) from error
            if isinstance(error, Exception):
                blame.annotate(error, run)
        finally:
            # These hold bound methods, which would keep the Learner alive.
            run.loop, run.in_batch = None, False
            del loop.on, loop.do
        if error is None:
            run.batch = run.xb = run.yb = run.pred = None
            run.loss = run.loss_parts = None  # frees the last graph


@interrupts_wait_at_both_ends
@contextmanager
def scoped(run: Any) -> Generator[None]:
    """The outermost scope of a run, with every `around_fit` inside it. It ends with `after_fit`.

    Afterwards, the modes and torch's generators are as before, and what was deferred was called.
    """
    with (
        under_way(run) as inside,
        no_fit_in_forks(run.loop.do),
        _apart(run, inside),
        torch.enable_grad(),
        run.engine.opened(run),
        run.scopes.open("fit"),
    ):
        for module in _with_modes(run):
            run.defer(keep_modes(module))
        with around(run.callbacks, run):
            yield
            fire(run.loop.on.after_fit, run)


@interrupts_wait_at_both_ends
@final
class until_cancelled(AbstractContextManager[None]):  # noqa: N801 - read as `until_cancelled(run)`
    """A scope that a cancel ends. The reason of a `CancelFit` becomes the run's ``stop_reason``.

    Args:
        run: the run.
        kind: `CancelEpoch` or `CancelFit`; other cancels pass.
    """

    __slots__ = ("kind", "run")

    def __init__(self, run: Any, kind: type[Cancel]) -> None:
        self.run, self.kind = run, kind

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        run = self.run
        if not isinstance(error, self.kind):
            return False
        run.rests.require_loaded()
        run.training, run.in_batch = True, False
        if isinstance(error, CancelFit):
            run.stop_reason = run.stop_reason or error.reason or "cancelled"
        return True


@interrupts_wait_at_both_ends
@contextmanager
def training(run: Any) -> Generator[None]:
    """A scope in which a run trains. An update window that is open at its end is forgotten."""
    with run.scopes.open("training"):
        run.defer(partial(_forget_window, run))
        for module in _with_modes(run):
            if not module.training:
                module.train()
        yield


def _forget_window(run: Any) -> None:
    if run.window.batches:  # the pass ended in the middle of one
        run.window.clear()
        optimizers.clear_gradients(run.opt)


@interrupts_wait_at_both_ends
@contextmanager
def evaluating(run: Any, key: int) -> Generator[None]:
    """A scope in which a run validates: evaluation mode, no gradients, random numbers of its own.

    When it ends, modes and the global generators are as before; so are the gradients of parameters,
    if the plan has gradients on. The place in the training pass is
    as before too, also after a cancel; but not after an error, for its note needs the place.

    Args:
        run: the run that validates.
        key: of the random numbers.
    """
    place = run.batch_index, run.num_batches
    grad = torch.enable_grad() if run.plan.valid_grad else torch.no_grad()
    with run.scopes.open("validation"), grad, streams.forked(key):
        if run.plan.valid_grad:
            run.defer(put_aside_gradients(_parameters(run)))
        for module in _with_modes(run):
            run.defer(keep_modes(module))
            module.eval()
        run.training = False
        run.engine.exchange(run)
        try:
            yield
        except Cancel:
            run.batch_index, run.num_batches = place
            raise
    run.batch_index, run.num_batches = place


def _with_modes(run: Any) -> list[Any]:
    """The model, and the loss function if it is a module."""
    return [run.model, *([run.loss_func] if isinstance(run.loss_func, nn.Module) else [])]


def _parameters(run: Any) -> Iterator[nn.Parameter]:
    """Everything that a backward pass may leave a gradient in."""
    for module in _with_modes(run):
        yield from module.parameters()
    yield from run.trained_parameters()


@interrupts_wait_at_both_ends
@contextmanager
def _apart(run: Any, inside: bool) -> Generator[None]:
    """A scope after which the default generators are as they were.

    Inside another run, the generators of NumPy and Python are put back too, because the outer run
    may draw from them. All are seeded anew: else every inner run would get the same numbers. An
    autocast of the outer run is off inside, and so is its cache of cast weights, which are not the
    inner run's. The inner run may turn autocast on for itself.
    """
    with ExitStack() as stack:
        if inside:
            stack.enter_context(streams.forked(run.streams.key("fit", run.plan.first_epoch)))
            for device in _devices():
                stack.enter_context(torch.autocast(device, enabled=False, cache_enabled=False))
        else:
            stack.enter_context(streams.kept())
        yield


def _devices() -> list[str]:
    accelerator = (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    )
    return ["cpu"] if accelerator is None else ["cpu", accelerator.type]


def _step(run: "Run") -> "EagerStep | FusedStep":
    if run.plan.graphs is None or not run.plan.trains:
        return EagerStep(run)
    from lehr.loop.step.fused import FusedStep  # most runs do without all that belongs to it

    return FusedStep(run)
