"""From before `begin_fit` to after `after_fit`, whatever happens in between: three scopes.

Those in which an exception ends, or becomes another, are classes. From Python 3.12 on, such an
exception would hold the frame of a generator, which holds the frame of `contextlib`, which holds
the exception: a circle that would keep the Learner alive.
"""

from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, final

import torch

from lehr.base.modes import keep_modes
from lehr.base.whole import whole
from lehr.events import Cancel, CancelFit
from lehr.loop import blame
from lehr.loop.dispatch import Actions, Listeners, around, fire
from lehr.loop.step.eager import EagerStep
from lehr.loop.underway import under_way
from lehr.state import streams


@whole
@final
class opened(AbstractContextManager[Listeners]):  # noqa: N801 - it is read as `with opened(loop)`
    """A scope in which a loop has its tables: who hears each event, and what each action does.

    A cancel that leaves it had no meaning, and becomes an error that says so; any other error gets
    a note that says where it happened.
    """

    __slots__ = ("loop",)

    def __init__(self, loop: Any) -> None:
        self.loop = loop

    def __enter__(self) -> Listeners:
        loop, run = self.loop, self.loop.run
        loop.on = Listeners(run.callbacks)
        own = EagerStep(run).actions() | {"one_batch": loop.one_batch}
        loop.do = Actions(run.callbacks, run, own)
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
            # The tables hold bound methods: nothing may keep a Learner alive.
            run.loop, run.in_batch = None, False
            del loop.on, loop.do
        if error is None:
            run.batch = run.xb = run.yb = run.pred = run.loss = None  # frees the last graph


@whole
@contextmanager
def scoped(run: Any) -> Generator[None]:
    """The outermost scope of a run, and every `around_fit`; at its end `after_fit` is heard.

    Then modes, torch's generators and whatever was deferred are as before.
    """
    with (
        under_way(run) as outer,
        _apart(run, outer),
        torch.enable_grad(),
        run.scopes.open("fit"),
    ):
        run.defer(keep_modes(run.model))
        with around(run.callbacks, run):
            yield
            fire(run.loop.on.after_fit, run)


@whole
@final
class until_cancelled(AbstractContextManager[None]):  # noqa: N801 - read as `until_cancelled(run)`
    """A scope that `CancelFit` ends; its reason becomes the run's ``stop_reason``."""

    __slots__ = ("run",)

    def __init__(self, run: Any) -> None:
        self.run = run

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        run = self.run
        if not isinstance(error, CancelFit):
            return False
        run.rests.require_loaded()
        run.training, run.in_batch = True, False
        run.stop(error.reason or "cancelled")
        return True


@whole
@contextmanager
def evaluating(run: Any, key: int) -> Generator[None]:
    """A scope in which a run validates: evaluation mode, no gradients, random numbers of its own.

    When it ends, modes and the global generators are as before. So is the place in the training
    pass, also if it ends in a cancel; not after an error, whose note says where it was.

    Args:
        run: what validates.
        key: of the random numbers.
    """
    place = run.batch_index, run.num_batches
    with run.scopes.open("validation"), torch.no_grad(), streams.forked(key):
        run.defer(keep_modes(run.model))
        run.model.eval()
        run.training = False
        try:
            yield
        except Cancel:
            run.batch_index, run.num_batches = place
            raise
    run.batch_index, run.num_batches = place


@whole
@contextmanager
def _apart(run: Any, outer: bool) -> Generator[None]:
    """A scope after which the default generators are as they were.

    Inside another run these are NumPy's and Python's, too, from which that one may draw; they begin
    anew, for else they would give the same numbers in every run inside. The other run may have
    autocast on, which this one turns on for itself or not; and may keep weights that it has cast,
    which are not those that are trained here.
    """
    with ExitStack() as stack:
        if outer:
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
