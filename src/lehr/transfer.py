"""Training that begins with a model which was trained for something else."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from lehr.callback import Callback
from lehr.callbacks.drive.param_scheduler import ParamScheduler
from lehr.callbacks.transfer.freeze import Freeze
from lehr.errors import positive_int
from lehr.learner import Learner
from lehr.loop.run import Run
from lehr.optim import optimizers
from lehr.schedules import Schedule, combine_scheds, one_cycle


def fine_tune(
    learn: Learner,
    epochs: int,
    freeze_epochs: int = 1,
    *,
    head: str | list[str] | None = None,
    schedule: Callable[[float], float] | None = None,
    batch_norm: str = "fixed",
    callbacks: Iterable[Callback] = (),
    validate_every: str | None = None,
    resume: str | os.PathLike[str] | None = None,
    exact: bool = False,
) -> Run:
    """Train the head alone for some epochs, then everything, in one fit.

    Each group keeps a learning rate of its own, times the schedule. So let the optimizer have
    groups with rates that fall towards the input:
    ``AdamW(layer_groups(model, [..., "head"], lr=slice(1e-5, 1e-3)))``, see
    `lehr.optim.layer_groups`.

    Args:
        learn: the Learner; its optimizer holds the whole model.
        epochs: with everything trained; at least 0.
        freeze_epochs: before that, with the head alone; at least 0.
        head: what is trained from the beginning: names of groups or paths, as for
            `lehr.callbacks.Freeze`. None takes the last parameter group, which must have a name.
        schedule: a factor of the rates, over the whole fit. None warms up over the first epochs,
            then takes a 1cycle that goes up to half of the rates.
        batch_norm: what the statistics of frozen layers do, see `lehr.callbacks.Freeze`.
        callbacks: attached for this fit only.
        validate_every: as in `lehr.Learner.fit`.
        resume: as in `lehr.Learner.fit`; it is one fit, which can be resumed anywhere.
        exact: as in `lehr.Learner.fit`.

    Returns:
        The run.

    Raises:
        TypeError, ValueError: an argument cannot be used, or it is not said what the head is; or as
            in `lehr.Learner.fit`.

    Example:
        >>> import torch
        >>> from lehr.models import mlp
        >>> from lehr.optim import layer_groups
        >>> from lehr.testing import tiny_learner
        >>> model = mlp(3, 2)
        >>> opt = torch.optim.SGD(layer_groups(model, lr=slice(0.01, 0.1)))
        >>> run = fine_tune(tiny_learner(model=model, opt=opt), 2)
        >>> run.epoch, run.n_steps
        (2, 12)

    Reference:
        Howard and Ruder 2018, arXiv:1801.06146, section 3.3. The schedule is that of fastai's
        ``fine_tune``: Howard and Gugger 2020, arXiv:2002.04688.
    """
    epochs = positive_int("epochs", epochs, least=0, example=5)
    freeze_epochs = positive_int("freeze_epochs", freeze_epochs, least=0, example=1)
    heads = _heads(learn.opt) if head is None else [head] if isinstance(head, str) else head
    frozen = Freeze({**dict.fromkeys(heads, 0), ...: freeze_epochs}, batch_norm=batch_norm)
    factor = _schedule(epochs, freeze_epochs) if schedule is None else schedule
    return learn.fit(
        freeze_epochs + epochs,
        callbacks=[frozen, ParamScheduler("lr", factor, relative=True), *callbacks],
        validate_every=validate_every,
        resume=resume,
        exact=exact,
    )


def _schedule(epochs: int, freeze_epochs: int) -> Schedule:
    alone, together = one_cycle(1.0, pct_start=0.99), one_cycle(0.5, pct_start=0.3, div=5.0)
    if not (epochs and freeze_epochs):
        return together if epochs else alone
    share = freeze_epochs / (freeze_epochs + epochs)
    return combine_scheds([share, 1 - share], [alone, together])


def _heads(opt: Any) -> list[str]:
    """The last group of each optimizer."""
    lasts = [one.param_groups[-1] for one in optimizers.each(opt)]
    if nameless := [group for group in lasts if "name" not in group]:
        raise ValueError(
            "fine_tune does not know the head: the last parameter group, with "
            f"{len(nameless[0]['params'])} parameters, has no name. Give the path of the head, "
            'e.g. head="fc", or make the optimizer of lehr.optim.layer_groups(model, …).'
        )
    return [str(group["name"]).removesuffix(".no_decay") for group in lasts]
