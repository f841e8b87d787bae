"""What every process must have been given alike, in words: a model, and a run."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import nn
from torch.nn.parameter import is_lazy

from lehr.distributed import contents
from lehr.optim import optimizers

Given = dict[str, str]
"""What one process has, each under its name"""

_SHOWN = 3


def of_model(model: nn.Module) -> Given:
    """The shapes and dtypes of a model's parameters and buffers.

    Example:
        >>> of_model(nn.Linear(2, 3, bias=False))
        {'weight of the model': '(3, 2) float32'}
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {f"{name} of the model": _in_words(tensor) for name, tensor in tensors}


def _in_words(tensor: Any) -> str:
    shape = "without a shape yet" if is_lazy(tensor) else tuple(tensor.shape)
    return f"{shape} {str(tensor.dtype).removeprefix('torch.')}"


def of_run(run: Any) -> Given:
    """What a run is about to do, and on what: all that its processes must agree on.

    Of the callbacks, lehr's count: one of the user's own may well be in one process alone, if it
    only looks.
    """
    plan, given = run.plan, dict[str, Any]()
    for feed in [*[plan.train] * plan.trains, *plan.valid.values()]:
        batches, items = feed.size
        given[f"the length of {feed.name}"] = f"{batches} batches of {items} items"
        if (content := contents.of_feed(feed)) is not None:
            given[f"the content of {feed.name}"] = content
    given["the seed"] = run.seed
    if plan.trains:
        given |= {name: getattr(plan, name) for name in ("epochs", "steps", "validate_every")}
        given |= _of_optimizers(run)
        ours = [cb for cb in run.callbacks if type(cb).__module__.startswith("lehr.")]
        names = [type(cb).__name__ for cb in ours if cb.everywhere]
        given["the list of callbacks"] = sorted(names)
    return {name: str(value) for name, value in given.items()}


def _of_optimizers(run: Any) -> dict[str, Any]:
    trained = [name for name, p in run.model.named_parameters() if p.requires_grad]
    given: dict[str, Any] = {"the list of trained parameters": trained}
    for name, opt in optimizers.by_name(run.opt).items():
        of = f"the optimizer {name}".rstrip()
        given[of] = type(opt).__name__
        for number, group in enumerate(opt.param_groups):
            for setting, value in group.items():
                if isinstance(value, (int, float, str, tuple)):
                    given[f"{setting} of {of}, group {number}"] = cast("Any", value)
    return given


def differences(of_each: Sequence[Mapping[str, str]]) -> str:
    """The first few things that are not the same in all processes, in words.

    Args:
        of_each: what each process has, by rank.

    Example:
        >>> differences([{"the seed": "3", "epochs": "1"}, {"the seed": "4", "epochs": "1"}])
        'the seed is 3 on rank 0, 4 on rank 1'
    """
    names = dict.fromkeys(name for given in of_each for name in given)
    found: list[str] = []
    for name in names:
        values = [given.get(name, "absent") for given in of_each]
        other = next((rank for rank, value in enumerate(values) if value != values[0]), None)
        if other is not None:
            found.append(f"{name} is {values[0]} on rank 0, {values[other]} on rank {other}")
    return "; ".join([*found[:_SHOWN], *["…"] * (len(found) > _SHOWN)])
