"""From before `begin_fit` to after `after_fit`, whatever happens in between."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

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
@contextmanager
def opened(loop: Any) -> Generator[Listeners]:
    """A scope in which a loop has its tables: who hears each event, and what each action does.

    When it ends, modes, torch's generators and whatever was deferred are as before; a cancel that
    has a meaning has become the run's ``stop_reason``; and an error has a note that says where it
    happened.
    """
    run = loop.run
    loop.on = Listeners(run.callbacks)
    own = EagerStep(run).actions() | {"one_batch": loop.one_batch}
    loop.do = Actions(run.callbacks, run, own)
    run.loop = loop
    try:
        with (
            under_way(run) as outer,
            _apart(run, outer),
            torch.enable_grad(),
            run.scopes.open("fit"),
        ):
            run.defer(keep_modes(run.model))
            with around(run.callbacks, run):
                try:
                    yield loop.on
                except CancelFit as cancel:
                    run.rests.require_loaded()
                    run.training, run.in_batch = True, False
                    run.stop(cancel.reason or "cancelled")
                fire(loop.on.after_fit, run)
    except Cancel as cancel:
        raise blame.misplaced(cancel, run) from cancel
    except Exception as error:
        blame.annotate(error, run)
        raise
    finally:
        # The tables hold bound methods: nothing may keep a Learner alive.
        run.loop, run.in_batch = None, False
        del loop.on, loop.do
    run.batch = run.xb = run.yb = run.pred = run.loss = None  # frees the last graph


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
