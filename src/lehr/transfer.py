"""Training that begins with a model which was trained for something else."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn

from lehr.callback import Callback
from lehr.callbacks.drive.param_scheduler import ParamScheduler
from lehr.callbacks.transfer.freeze import Freeze
from lehr.errors import above_zero, positive_int, share
from lehr.learner import Learner
from lehr.loop.run import Run
from lehr.models import heads
from lehr.optim import layer_groups, optimizers
from lehr.optim.blocks import blocks
from lehr.schedules import Schedule, combine_scheds, one_cycle
from lehr.state.wrappers import bare

HEAD, LEAST = "new head", 0.01
"""The group of parameters that `groups_by_depth` puts last, and what the rate of its first is."""


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
    ``AdamW(groups_by_depth(model, lr=1e-3))``, see `lehr.transfer.groups_by_depth`; or
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
    own = _heads(learn.opt) if head is None else [head] if isinstance(head, str) else head
    factor = tuning_schedule(epochs, freeze_epochs) if schedule is None else schedule
    return learn.fit(
        freeze_epochs + epochs,
        callbacks=[*tuning(own, freeze_epochs, factor, batch_norm=batch_norm), *callbacks],
        validate_every=validate_every,
        resume=resume,
        exact=exact,
    )


def tuning(
    head: Iterable[str],
    freeze_epochs: int,
    schedule: Callable[[float], float],
    *,
    batch_norm: str = "fixed",
) -> list[Callback]:
    """The callbacks that `fine_tune` attaches, for a fit of your own.

    Args:
        head: names of groups or paths of what is trained from the beginning.
        freeze_epochs: how long everything else waits.
        schedule: a factor of each group's learning rate.
        batch_norm: see `lehr.callbacks.Freeze`.

    Example:
        >>> tuning(["fc"], 1, one_cycle(1.0))[0]
        Freeze({'fc': 0, ...: 1})
    """
    frozen = Freeze({**dict.fromkeys(head, 0), ...: freeze_epochs}, batch_norm=batch_norm)
    return [frozen, ParamScheduler("lr", schedule, relative=True)]


def tuning_schedule(epochs: int, freeze_epochs: int) -> Schedule:
    """The factor of the rates that `fine_tune` takes by default.

    Args:
        epochs: with everything trained.
        freeze_epochs: before that, with the head alone.

    Example:
        >>> factor = tuning_schedule(3, 1)
        >>> round(factor(0.24), 2), round(factor(0.475), 2), round(factor(1.0), 2)
        (1.0, 0.5, 0.0)
    """
    alone, together = one_cycle(1.0, pct_start=0.99), one_cycle(0.5, pct_start=0.3, div=5.0)
    if not (epochs and freeze_epochs):
        return together if epochs else alone
    alone_for = freeze_epochs / (freeze_epochs + epochs)
    return combine_scheds([alone_for, 1 - alone_for], [alone, together])


def groups_by_depth(
    model: nn.Module, *, lr: float, least: float = LEAST, head: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """A pretrained model's parameters in groups: one for each block, the new head last.

    What is near the input is the same for most tasks, so its rate is the lowest; from block to
    block the rate rises by the same factor.

    Args:
        model: with its new head.
        lr: of the head.
        least: what the rate of the first block is of that; above 0, at most 1.
        head: the paths of what is new; None takes `lehr.models.heads`.

    Returns:
        The groups, for an optimizer. The last is called ``"new head"``.

    Raises:
        ValueError: there is no such part, the head is all there is, or a rate cannot be used.

    Example:
        >>> from lehr.models import resnet
        >>> for group in groups_by_depth(resnet(1, 10), lr=0.01):
        ...     print(group["name"], round(group["lr"], 5))
        block 0 0.0001
        block 1 0.00032
        block 2 0.001
        block 3 0.00316
        new head 0.01

    Reference:
        Howard and Ruder 2018, arXiv:1801.06146, section 3.2.
    """
    above_zero("lr", lr)
    inner = bare(model)
    own = list(heads(inner) if head is None else head)
    parts: dict[str, list[nn.Parameter]] = {}
    paths = {path: f"block {i}" for i, block in enumerate(blocks(inner)) for path in block}
    new = [p for path in own for p in inner.get_submodule(path).parameters()]
    taken = {id(p) for p in new}
    for name, p in inner.named_parameters():
        if id(p) not in taken:
            place = next(paths[path] for path in paths if f"{name}.".startswith(f"{path}."))
            parts.setdefault(place, []).append(p)
    if not parts or not new:
        raise ValueError(
            f"head must be a part of the model, which has another; got {own}. Train a model "
            "without a body by an ordinary fit."
        )
    named = {f"block {i}": part for i, part in enumerate(parts.values())}
    return layer_groups(model, {**named, HEAD: new}, lr=slice(lr * share("least", least), lr))


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
