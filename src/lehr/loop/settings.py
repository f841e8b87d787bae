"""What a run was asked to do, in words and numbers: for a checkpoint's manifest and to compare."""

import re
from typing import Any

from lehr.loop import inventory
from lehr.loop.order import in_phases
from lehr.loop.plan import DATA, is_driven
from lehr.loop.rests import Rest


def manifest(run: Any, rest: Rest) -> dict[str, Any]:
    """What a checkpoint's manifest tells of a run that rests here."""
    return {
        "step": run.n_steps,
        "epoch": run.epoch,
        "batch": run.batch_index,
        "stage": rest.stage,
        "at_epoch": rest.epoch,
        "began_at": run.learn.steps_done,
        "rewinds": len(run.rewinds),
        "seed": run.seed,
        "onlookers": [
            name
            for name, callback in inventory.of_callbacks(run.callbacks).items()
            if not callback.replays
        ],
        "attached": attached(run),
        "settings": settings(run, rest.epoch, within=rest.stage in ("batch", "validated")),
    }


def settings(run: Any, epoch: int | None = None, *, within: bool = False) -> dict[str, Any]:
    """What the course of a run depends on, as far as words and numbers tell it.

    Args:
        run: the run.
        epoch: whose data are meant; by default those of the epoch that the run is in.
        within: whether it is within an epoch, whose order of items goes by the size that the data
            had at its beginning.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> settings(tiny_learner().fit(2))["epochs"]
        2
    """
    epoch = run.epoch if epoch is None else epoch
    feed = run.sources.at(epoch).train
    batches, items = feed.opened if within else feed.size
    return {
        "seed": run.seed,
        "processes": run.engine.world,
        "epochs": run.epochs,
        "steps": run.steps,
        "batches": None if is_driven(DATA, run.callbacks) else batches,
        "items": items,
        "data": run.sources.said(epoch),
        "optimizer": type(run.opt).__name__,
        "callbacks": [
            _shown(callback) for callback in in_phases(run.callbacks) if callback.replays
        ],
    }


def attached(run: Any) -> dict[str, str]:
    """How each callback shows itself, by the name of its entry.

    Example:
        >>> from lehr.callbacks import EMA
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(1, callbacks=[EMA(0.9), EMA(0.99)])
        >>> attached(run)["callbacks.ema#2"]
        'EMA(0.99)'
    """
    named = inventory.of_callbacks(run.callbacks)
    return {name: _shown(callback) for name, callback in named.items()}


def _shown(callback: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(callback))
