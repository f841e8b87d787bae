"""What a loss function is called with: the output of the model, and the target if it takes one."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast, final

from torch import Tensor, nn

from lehr.base.nested import describe
from lehr.base.signatures import Signature, signature_of
from lehr.loop.loss_parts import summed
from lehr.state.wrappers import bare
from lehr.types import TARGETS, is_mapping, is_sequence


class Wanted(NamedTuple):
    """What a loss function wants besides the output of the model."""

    target: bool
    """whether it is given the target, if there is one"""
    always: bool
    """whether it cannot be called without"""


@final
class FromOutput:
    """The loss that a model has computed itself: an item or an attribute of what it returned.

    Args:
        name: of the item or attribute.

    Raises:
        TypeError: when called, of an output that has none.

    Example:
        >>> FromOutput("loss")({"loss": 0.5, "logits": [1, 2]})
        0.5
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, pred: Any) -> Any:
        """The loss in ``pred``."""
        if is_mapping(pred) and self.name in set(pred.keys()):
            loss = pred[self.name]
        elif isinstance(pred, Tensor) or not hasattr(pred, self.name):
            raise TypeError(
                f"loss_func is {self.name!r}, so the loss must be in what the model returns, as "
                f"out.{self.name} or out[{self.name!r}]; got {_contents(pred)}. {self._todo()}"
            )
        else:
            loss = getattr(pred, self.name)
        if loss is None:
            raise TypeError(
                f"loss_func is {self.name!r}, and the {self.name} that the model returned is None: "
                "most models compute it only if they are given the targets. Put them in the batch "
                "under the name that forward has for them, often 'labels'."
            )
        return loss

    def _todo(self) -> str:
        if hasattr(nn.functional, self.name):
            return f"If torch's function is meant, pass it itself: torch.nn.functional.{self.name}."
        return "Let the model return it, or give a function that finds it, e.g. lambda out: out[0]."

    def __repr__(self) -> str:
        return repr(self.name)


def wanted_by(loss_func: Callable[..., Any]) -> Wanted:
    """What a loss function is called with, by its signature.

    With one parameter it gets the output alone, with two the target as well. The second may have a
    default, if that is None or if the parameter is called like a target.

    Raises:
        TypeError: it cannot be told whether the second parameter is the target.

    Example:
        >>> wanted_by(lambda out: out.mean()).target, wanted_by(lambda pred, yb: pred - yb).target
        (False, True)
    """
    takes = _signature_of(loss_func)
    if len(takes.required) >= 2:
        return Wanted(target=True, always=True)
    if len(takes.places) < 2:
        return Wanted(target=takes.any_places, always=False)
    second = takes.places[1]
    if second not in TARGETS and takes.defaults[1 - len(takes.required)] is not None:
        raise TypeError(
            f"loss_func has the signature {takes.text}, and it cannot be told whether {second} is "
            "the target. Write loss_func=lambda out: f(out) if the loss needs the output alone, "
            "else lambda pred, yb: f(pred, yb)."
        )
    return Wanted(target=True, always=False)


def loss_of(loss_func: Callable[..., Any], pred: Any, yb: Any) -> Any:
    """The loss of a prediction, as one number, whatever the function takes and returns.

    Raises:
        TypeError, ValueError: the function needs a target and there is none, or it returned
            something that no loss can be made of.

    Example:
        >>> import torch
        >>> loss_of(lambda out: {"a": out.sum(), "b": out.mean()}, torch.ones(2), None)
        tensor(3.)
    """
    wanted = wanted_by(loss_func)
    if yb is None and wanted.always:
        raise missing_target(loss_func)
    return summed(loss_func(pred, yb) if wanted.target and yb is not None else loss_func(pred))[0]


def missing_target(loss_func: Callable[..., Any]) -> TypeError:
    """The error for a batch without a target, where the loss function needs one."""
    return TypeError(
        f"the batch has no target, and loss_func takes one: {_signature_of(loss_func).text}. Let "
        "the loader give pairs (xb, yb), or dicts in which one key is called "
        f"{', '.join(TARGETS[:-1])} or {TARGETS[-1]}; or give the Learner split_batch=, a function "
        "from a batch to (xb, yb). If the loss is in the output, give a function of it alone."
    )


def _signature_of(loss_func: Callable[..., Any]) -> Signature:
    return signature_of(cast("Callable[..., Any]", bare(cast("Any", loss_func))))


def _contents(pred: Any) -> str:
    """What an output has, by name as far as there are names."""
    kind = type(pred).__name__
    if is_mapping(pred):
        names = ", ".join(map(repr, pred.keys()))
        return f"{kind} with {names}" if names else f"an empty {kind}"
    if isinstance(pred, Tensor) or (is_sequence(pred) and not hasattr(pred, "_fields")):
        return f"{kind} {describe(pred)}"
    names = getattr(pred, "_fields", None) or getattr(pred, "__dict__", {})
    return f"{kind} with {', '.join(map(str, names))}" if names else kind


def as_loss_func(loss_func: Any, reduction: str = "mean") -> Callable[..., Any]:
    """The function that ``loss_func`` is, or that it names.

    If it says of itself that it returns another reduction, a warning says so.

    Raises:
        TypeError: it is neither, or it cannot be told what it is called with.

    Example:
        >>> as_loss_func("loss")
        'loss'
    """
    if isinstance(loss_func, str):
        if not loss_func.isidentifier():
            raise TypeError(
                f"loss_func must be a function, or what the loss is called in the model's output; "
                f'got {loss_func!r}. Write e.g. "loss".'
            )
        return FromOutput(loss_func)
    if not callable(loss_func) or isinstance(loss_func, type):
        raise TypeError(
            f"loss_func must be a function (pred, yb) -> loss; got {loss_func!r}. "
            "Pass e.g. torch.nn.functional.cross_entropy, or call the class: nn.MSELoss(). If the "
            'loss is in what the model returns, pass "loss".'
        )
    wanted_by(loss_func)
    _warn_of_another(reduction, loss_func)
    return loss_func


def _warn_of_another(reduction: str, loss_func: Any) -> None:
    own = getattr(loss_func, "reduction", None)
    if isinstance(loss_func, partial):
        own = loss_func.keywords.get("reduction", getattr(loss_func.func, "reduction", None))
    if not isinstance(own, str):  # an array, say, which is something else and is not compared
        return
    if own == "sum" and reduction == "mean":
        warnings.warn(
            "loss_func has reduction='sum', and the Learner takes what it returns for a mean: the "
            "losses that it shows are as many times too large as a batch has items. Give the "
            "Learner reduction='sum', and it trains on the mean and shows it. To train on the sum, "
            "give lambda pred, yb: loss_func(pred, yb).",
            stacklevel=5,
        )
    if own in ("mean", "batchmean") and reduction == "sum":
        warnings.warn(
            f"loss_func has reduction={own!r}, and the Learner reduction='sum': it divides by the "
            "number of items once more. Leave the Learner's reduction out.",
            stacklevel=5,
        )
