"""What probably went wrong, for the errors that torch words from the inside."""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lehr.base.arrays import is_numpy
from lehr.base.nested import placed, tensors_in
from lehr.errors import nearest, said
from lehr.types import is_mapping, is_sequence

_LOSS_FROM = "loss_func, or a callback that set run.loss,"
_FIELD = re.compile(r"'Run' object has no attribute '([^']*)'")
_NO_GRAPH = ("does not require grad", "does not have a grad_fn")


def hints(
    model: nn.Module,
    xb: Any,
    yb: Any,
    pred: Any,
    loss: Any,
    training: bool = True,
    *,
    batch: Any = None,
) -> list[str]:
    """Sentences about a step that failed: what arrived, what is allowed, what to do.

    Args:
        model: the model of the step.
        xb: its input, any nesting of tensors.
        yb: its target.
        pred: its prediction, None if it was not reached.
        loss: its loss, None if it was not reached.
        training: whether the loss should have a graph.
        batch: what the loader gave, from which input and target were taken.

    Returns:
        As many sentences as there are findings; none if nothing looks wrong.

    Example:
        >>> hints(nn.Linear(2, 3), None, torch.tensor([3]), torch.zeros(1, 3), None)
        ['yb holds labels from 3 to 3, pred has 3 classes: labels must lie in 0 to 2. Check the
        labels, or give the model more outputs.']
    """
    sentences = [*_arrays(xb, yb, batch), *_item(yb), *_devices(model, xb, yb)]
    if pred is None and loss is None:
        return [*sentences, *_input(model, xb)]
    if loss is not None:
        return [*sentences, *_loss(loss, training)]
    if not isinstance(pred, Tensor):
        return [*sentences, *_selection(pred, yb)]
    if isinstance(yb, Tensor):
        sentences += _target(pred, yb)
    return sentences


def step_hints(error: BaseException) -> list[str]:
    """Sentences about an optimizer that could not step, from what its error says.

    Example:
        >>> step_hints(TypeError("step() missing 1 required positional argument: 'closure'"))
        ['The optimizer asks for a closure, with which it takes loss and gradient anew. Attach
        lehr.callbacks.Closure().']
    """
    text = said(error).lower()
    if "closure" in text:
        return [
            "The optimizer asks for a closure, with which it takes loss and gradient anew. Attach "
            "lehr.callbacks.Closure()."
        ]
    if "create_graph" in text or "does not have a grad_fn" in text:
        return [
            "The optimizer differentiates the gradient, which needs a graph of its own. Write a "
            "callback with def backward(self, run, proceed): "
            "run.window.share(run).backward(create_graph=True)."
        ]
    return []


def _arrays(xb: Any, yb: Any, batch: Any) -> list[str]:
    found = [(name, _array_in(part)) for name, part in (("xb", xb), ("yb", yb))]
    return [
        f"{name} holds a numpy.{type(array).__name__} of shape {tuple(array.shape)}: models and "
        "losses take tensors. Let the loader make them, as torch.utils.data.DataLoader does by "
        f"itself, or the Learner: {_split_to_write(xb, yb, batch)}."
        for name, array in found
        if array is not None
    ]


def _array_in(value: Any) -> Any:
    """The first array of NumPy's in a nesting."""
    return next((part for _, part in placed(value) if is_numpy(part)), None)


def _split_to_write(xb: Any, yb: Any, batch: Any) -> str:
    """A ``split_batch`` that makes tensors of what this batch holds, as one would write it."""
    places = {id(part): path for path, part in placed(batch, "b")}
    try:
        return f"split_batch=lambda b: ({_written(xb, places)}, {_written(yb, places)})"
    except KeyError:  # it was replaced on its way
        return "split_batch=, a function that calls torch.as_tensor"


def _written(value: Any, places: Mapping[int, str]) -> str:
    if value is None:
        return "None"
    if isinstance(value, Tensor) or is_numpy(value):
        return f"torch.as_tensor({places[id(value)]})"
    if is_mapping(value):
        pairs = (f"{key!r}: {_written(inner, places)}" for key, inner in value.items())
        return f"{{{', '.join(pairs)}}}"
    if is_sequence(value):
        parts = "".join(f"{_written(inner, places)}, " for inner in value)
        return f"({parts.strip() if len(value) == 1 else parts.removesuffix(', ')})"
    return places[id(value)]


def _item(yb: Any) -> list[str]:
    if isinstance(yb, bool) or not isinstance(yb, (int, float, str)):
        return []
    return [
        f"yb is one {type(yb).__name__}, not a tensor: does the loader give single items? Wrap the "
        "data set: torch.utils.data.DataLoader(dataset, batch_size=64)."
    ]


def _devices(model: nn.Module, xb: Any, yb: Any) -> list[str]:
    own = {str(p.device) for p in model.parameters()}
    others = {str(t.device) for t in tensors_in((xb, yb))}
    if not own or own == others or not others:
        return []
    return [
        f"The model is on {', '.join(sorted(own))}, the batch on {', '.join(sorted(others))}: "
        "they must be on one device. Move the model with model.to(device) and each batch in a "
        "begin_batch callback."
    ]


def _input(model: nn.Module, xb: Any) -> list[str]:
    own = {p.dtype for p in model.parameters()}
    if len(own) == 1 and isinstance(xb, Tensor) and xb.is_floating_point() and xb.dtype not in own:
        (dtype,) = own
        return [f"xb is {xb.dtype}, the model's parameters are {dtype}. Use xb.to({dtype})."]
    if isinstance(xb, Tensor) and xb.dtype == torch.uint8:
        return [
            "xb is torch.uint8, as images often are; most models want numbers: xb.float() / 255."
        ]
    return []


def without_gradients(error: BaseException, run: Any) -> list[str]:
    """What to do if a validation failed because gradients are off in it.

    Example:
        >>> from types import SimpleNamespace
        >>> run = SimpleNamespace(training=False, plan=SimpleNamespace(valid_grad=False))
        >>> without_gradients(RuntimeError("element 0 of tensors does not require grad"), run)
        ['Gradients are off in validation and prediction. If the loss or the model differentiates,
        give the Learner valid_grad=True.']
    """
    if run.training or not isinstance(error, RuntimeError) or run.plan.valid_grad:
        return []
    if not any(words in str(error) for words in _NO_GRAPH):
        return []
    return [
        "Gradients are off in validation and prediction. If the loss or the model differentiates, "
        "give the Learner valid_grad=True."
    ]


def of_one_item(error: BaseException, run: Any) -> list[str]:
    """What to do if a norm got a batch of one item, as the last of an epoch may be.

    Example:
        >>> from types import SimpleNamespace
        >>> error = ValueError("Expected more than 1 value per channel when training")
        >>> of_one_item(error, SimpleNamespace(training=True))
        ['A norm over the batch needs two items or more in training, and got one. If it is the rest
        of an epoch, give the training loader drop_last=True, or another batch_size.']
    """
    if not run.training or "more than 1 value per channel" not in said(error):
        return []
    return [
        "A norm over the batch needs two items or more in training, and got one. If it is the rest "
        "of an epoch, give the training loader drop_last=True, or another batch_size."
    ]


def of_order(run: Any) -> list[str]:
    """What to do if the loss function failed, and does not if the target comes first.

    It is called once more, with the two the other way round.

    Example:
        >>> from types import SimpleNamespace
        >>> def loss(target, pred): return nn.functional.cross_entropy(pred, target)
        >>> batch = {"pred": torch.zeros(4, 3), "yb": torch.tensor([0, 1, 2, 0]), "loss": None}
        >>> of_order(SimpleNamespace(loss_func=loss, **batch))[0].partition(". ")[0]
        'loss_func is called as loss_func(pred, yb), the prediction first, and fails'
    """
    both = isinstance(run.pred, Tensor) and isinstance(run.yb, Tensor)
    if run.loss is not None or not both:
        return []
    try:
        with torch.no_grad():
            loss = run.loss_func(run.yb, run.pred)
    except Exception:  # nor does it work so
        return []
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        return []
    return [
        "loss_func is called as loss_func(pred, yb), the prediction first, and fails. It does not "
        "with the target first: write loss_func=lambda pred, yb: f(yb, pred)."
    ]


def of_split(error: BaseException) -> list[str]:
    """What to do if the loop could not take what ``split_batch`` returned for a pair.

    Example:
        >>> try:
        ...     xb, yb = (1, 2, 3)
        ... except ValueError as error:
        ...     of_split(error)
        ["The Learner's split_batch must return a pair, (xb, yb); yb may be None. More inputs than
        one are a tuple or a dict: ((first, second), yb)."]
    """
    if not isinstance(error, (TypeError, ValueError)) or "unpack" not in said(error):
        return []
    return [
        "The Learner's split_batch must return a pair, (xb, yb); yb may be None. More inputs than "
        "one are a tuple or a dict: ((first, second), yb)."
    ]


def of_field(error: BaseException, run: Any) -> list[str]:
    """What to write instead of a field that the run does not have.

    Example:
        >>> from types import SimpleNamespace
        >>> error = AttributeError("'Run' object has no attribute 'los'")
        >>> of_field(error, SimpleNamespace(loss=1))
        ['Did you mean run.loss? What a callback keeps is an attribute of its own, self.los; a
        number for the history is run.log("los", value).']
    """
    found = _FIELD.fullmatch(said(error)) if isinstance(error, AttributeError) else None
    if found is None:
        return []
    guess = nearest(found[1], [name for name in dir(run) if not name.startswith("_")])
    return [
        f"{f'Did you mean run.{guess}? ' if guess else ''}What a callback keeps is an attribute of "
        f'its own, self.{found[1]}; a number for the history is run.log("{found[1]}", value).'
    ]


def warn_of_broadcast(pred: Any, yb: Any) -> None:
    """Warn where a loss between numbers would compare everything with everything.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_of_broadcast(torch.zeros(8, 1), torch.zeros(8))
        >>> "pred.squeeze(1)" in str(caught[0].message)
        True
    """
    both = isinstance(pred, Tensor) and isinstance(yb, Tensor) and yb.is_floating_point()
    if not both or sorted((pred.ndim, yb.ndim)) != [1, 2] or not len(pred) == len(yb) > 1:
        return
    wide = pred if pred.ndim == 2 else yb
    if wide.shape[1] == 1:
        warnings.warn(
            f"pred has shape {tuple(pred.shape)}, yb {tuple(yb.shape)}: most losses would "
            f"broadcast them to ({len(wide)}, {len(wide)}). "
            f"Use {'pred' if wide is pred else 'yb'}.squeeze(1).",
            stacklevel=2,
        )


def _selection(pred: Any, yb: Any) -> list[str]:
    """Of an output that is made of several things."""
    if is_mapping(pred):
        names = list(pred.keys())
        which = f"out[{names[0]!r}]" if names else ""
        what = f"with {', '.join(map(repr, names))}"
    elif is_sequence(pred):
        which, what = "out[0]" if pred else "", f"of {len(pred)}"
    else:
        return []
    if not which:
        return []
    chosen = f"lambda out: f({which})" if yb is None else f"lambda out, yb: f({which}, yb)"
    return [
        f"pred is a {type(pred).__name__} {what}, as the model returned it. If the loss wants one "
        f"thing of it, select that: loss_func={chosen}."
    ]


def _loss(loss: Any, training: bool) -> list[str]:
    if not isinstance(loss, Tensor):
        return [
            f"{_LOSS_FROM} gave {type(loss).__name__}, not a tensor: without a graph nothing can "
            "be learnt. Compute the loss with torch operations and give the tensor."
        ]
    if loss.numel() != 1:
        return [
            f"{_LOSS_FROM} gave a tensor of shape {tuple(loss.shape)}; it must be one number. "
            "Reduce it, e.g. with .mean() or reduction='mean'."
        ]
    if training and not loss.requires_grad:
        return [
            f"{_LOSS_FROM} gave a tensor without a graph: no parameter can learn from it. Do not "
            "detach it or build it from .item(), and check that the model's parameters require "
            "gradients."
        ]
    return []


def _target(pred: Tensor, yb: Tensor) -> list[str]:
    shapes = f"pred has shape {tuple(pred.shape)}, yb {tuple(yb.shape)}"
    if pred.ndim and yb.ndim and len(pred) != len(yb):
        return [f"{shapes}: they differ in the number of items. Check the model's last layers."]
    if pred.ndim == 2 and yb.ndim == 2 and yb.shape[1] == 1 and pred.shape[1] != 1:
        return [f"{shapes}: class labels must have shape (batch,). Use yb.squeeze(1)."]
    if pred.ndim == 2 and yb.ndim == 1 and pred.shape[1] == 1:
        return [
            f"{shapes}: a loss between numbers needs equal shapes. Use pred.squeeze(1), or "
            "yb.unsqueeze(1), and the same dtype."
        ]
    if pred.ndim == 2 and yb.ndim == 1:
        return _labels(pred.shape[1], yb)
    if pred.shape != yb.shape and yb.is_floating_point():
        return [f"{shapes}: a loss between numbers needs equal shapes. Reshape one of them."]
    if pred.dtype != yb.dtype and pred.shape == yb.shape:
        return [f"pred is {pred.dtype}, yb {yb.dtype}: make them alike, e.g. yb.to(pred.dtype)."]
    return []


def _labels(classes: int, yb: Tensor) -> list[str]:
    if yb.is_floating_point():
        return [
            f"yb is {yb.dtype} of shape {tuple(yb.shape)}, pred has {classes} columns: class "
            "labels must be torch.int64 (use yb.long()); numbers need equal shapes."
        ]
    if yb.dtype not in (torch.int64, torch.uint8):
        return [f"yb is {yb.dtype}; class labels must be torch.int64. Use yb.long()."]
    if not yb.is_cpu:
        return []  # after an error on a device its memory cannot be read
    known = yb[yb.long() != -100]  # cross_entropy's ignore_index
    if known.numel() and not 0 <= int(known.min()) <= int(known.max()) < classes:
        return [
            f"yb holds labels from {int(known.min())} to {int(known.max())}, pred has {classes} "
            f"classes: labels must lie in 0 to {classes - 1}. Check the labels, or give the model "
            "more outputs."
        ]
    return []
