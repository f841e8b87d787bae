"""``--lr auto``: the search for a learning rate before a training."""

import time

from lehr import Learner
from lehr.callbacks import Progress
from lehr.cli.app import say
from lehr.cli.job import Job
from lehr.cli.recipes import OPTIMIZERS
from lehr.report.sweep import Sweep

_MOST, _LEAST = 100, 30  # batches; fewer do not tell a rate from chance (LOG.md)
_SHARE = 3  # the search is at most the third part of what it is for


def settle_lr(job: Job) -> Sweep | None:
    """Decide the learning rate of a job, where that was left open, and so its schedule.

    The search trains at most a third of the batches that were asked for. If that is too little to
    tell anything, the optimizer's usual rate is taken.

    Args:
        job: as `open_job` returns it; its settings are completed.

    Returns:
        What the search saw; None if there was none.

    Raises:
        ValueError: the loss fell at no rate.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM.
    """
    settings, learn = job.settings, job.learn
    if settings["lr"] != "auto":
        return None
    batches, sweep = settings["epochs"] * len(learn.data.train_dl), None
    if (steps := min(_MOST, batches // _SHARE)) < _LEAST:
        many = f"{batches:,} batch{'es' * (batches != 1)}"
        why = f"the training has {many}, too few to search for a learning rate first"
        lr = _usual(settings["opt"], why)
    elif (sweep := _sweep(learn, steps)).curve.suggestion is not None:
        lr = settings["lr_found"] = float(f"{sweep.curve.suggestion:.3g}")
    elif steps < _MOST:
        why = f"{steps} batches showed no learning rate at which the loss falls"
        lr = _usual(settings["opt"], why)
    else:
        raise ValueError(
            f"lr auto found no learning rate between {sweep.curve.lrs[0]:g} and "
            f"{sweep.curve.lrs[-1]:g} at which the loss falls. Look at the data and the model, or "
            "give --lr."
        )
    job.take_lr(lr)
    return sweep


def _sweep(learn: Learner, steps: int) -> Sweep:
    begin = time.perf_counter()
    curve = learn.find_lr(steps=steps, callbacks=sweep_progress(learn, steps))
    return Sweep(curve, time.perf_counter() - begin)


def sweep_progress(learn: Learner, steps: int) -> list[Progress]:
    """What shows how far a sweep is, for a Learner that shows progress."""
    title = f"looking for a learning rate: {steps} batches"
    return [Progress(title=title)] if learn.progress else []


def _usual(opt: str, why: str) -> float:
    lr = OPTIMIZERS[opt].lr
    say(f"{why}: lr is {lr:g}, which is usual for {opt}")
    return lr
