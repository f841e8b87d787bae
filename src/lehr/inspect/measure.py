"""One forward and one backward pass through a copy of a model, measured everywhere."""

import inspect
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from lehr.base.call import call
from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.modes import switch_dropout_off
from lehr.base.nested import floats_in, item_count, map_tensors, split_pair, tensors_in
from lehr.base.values import check_batch, check_values
from lehr.errors import one_line
from lehr.inspect.moments import real
from lehr.inspect.sites import Site, SiteRecorder
from lehr.loop.losses import loss_of
from lehr.state.copies import deep_copy
from lehr.state.streams import forked
from lehr.state.structure import keep_structure
from lehr.state.wrappers import bare, without_wrappers
from lehr.types import LossFunc, is_mapping


@dataclass(frozen=True)
class Weights:
    """One parameter of two dimensions or more, and what came back to it.

    Attributes:
        name: its path; the first one, where it is tied.
        shape: of the parameter.
        tied: its other paths.
        scale: root of its mean square.
        largest: the largest of its absolute values.
        zero: share of numbers that are exactly 0.
        copies: output units whose weights are an exact copy of an earlier unit's.
        units: output units.
        grad_std: of its gradient; None if none came back.
        trained: whether it asks for a gradient.
    """

    name: str
    shape: tuple[int, ...]
    tied: tuple[str, ...]
    scale: float
    largest: float
    zero: float
    copies: int
    units: int
    grad_std: float | None
    trained: bool


@dataclass(frozen=True)
class Measured:
    """What one forward and one backward pass showed.

    Attributes:
        sites: in the order in which the signal met them; the output last.
        weights: in the order of the model.
        items: in the batch.
        loss: its value; None if there was no loss function.
        hidden: modules in which nothing can be seen: scripted ones, and what runs under a transform
            of ``torch.func``, such as ``vmap``.
    """

    sites: list[Site]
    weights: list[Weights]
    items: int
    loss: float | None
    hidden: tuple[str, ...] = ()


Answer = Callable[[nn.Module, Callable[[], AbstractContextManager[Any]], int], Any]


def measure(
    model: nn.Module,
    batch: Any,
    loss_func: LossFunc | None = None,
    *,
    seed: int = 0,
    answer: Answer | None = None,
) -> Measured:
    """Send a batch through a copy of the model and back; the model itself is only read.

    The copy is in training mode, so that batch normalisation uses the batch, but without dropout.
    Without a loss function the gradient starts as independent normal numbers with the length 1 for
    each item. Without targets the loss function is called with the output alone, as the loop does.

    Args:
        model: any module that can be copied.
        batch: a pair (xb, yb), or inputs alone; ``xb`` may be a tuple or a dict.
        loss_func: ``(pred, yb) -> scalar``, or ``(pred) -> scalar`` for a batch without targets.
        seed: of the numbers that the gradient starts as, and of randomness in the model.
        answer: calls the model in its own way, and returns something with a ``pred`` and a
            ``loss``. It is given the model, a function that opens the scope in which the model is
            to be called, and the number of items. Where its ``loss`` is None, the batch and the
            loss function are used after all.

    Raises:
        ValueError: the batch has fewer than two items, the model shows no layers, the loss is no
            scalar, or something is on the device ``meta``.
        TypeError: the model is no module, has no forward or cannot be copied, or the batch is not
            of a known form.

    Example:
        >>> measure(nn.Linear(2, 1), torch.randn(8, 2)).sites[0].kind
        'linear'
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a torch.nn.Module; got {model!r}. Call its class, if it is one."
        )
    check_values(model)
    xb, yb = (batch, None) if is_mapping(batch) else split_pair(batch)
    check_batch(xb)
    xb = map_tensors(torch.clone, xb)  # some models write into what they are given
    items = item_count(xb)
    if items < 2:
        raise ValueError(
            f"batch must hold at least 2 items, better 32 or more; got {items}. What tells items "
            "apart cannot be seen in one."
        )
    original, model = bare(model), _copied(bare(model))
    model.train()
    switch_dropout_off(model)
    with _undone(original), forked(seed), torch.enable_grad():
        recorder = SiteRecorder(model, items)
        own = None if answer is None else answer(model, partial(_recording, recorder, model), items)
        if own is None or own.loss is None:
            _check_forward(model)
            recorder = SiteRecorder(model, items)
            with _recording(recorder, model):
                pred = call(model, xb)
            loss = None if loss_func is None else loss_of(loss_func, pred, yb)
        else:
            pred, loss = own.pred, own.loss
        recorder.output(pred)
        if loss is not None and loss.numel() != 1:
            raise ValueError(
                f"loss_func must return one number; got shape {tuple(loss.shape)}. Return its mean."
            )
        start = _random_direction(pred, seed) if loss is None else loss
        if start is not None and start.requires_grad:
            start.backward()  # type: ignore[reportUnknownMemberType]
    hidden = tuple(dict.fromkeys(recorder.hidden))
    if all(site.role == "output" for site in recorder.sites):
        raise ValueError(
            f"model must be made of layers that torch can show; {type(model).__name__} shows none. "
            f"{_why_none(xb, pred, hidden)}"
        )
    value = None if loss is None else float(loss.detach())
    return Measured(recorder.sites, list(_weights(model)), items, value, hidden)


def _check_forward(model: nn.Module) -> None:
    """See that a model can be called; a holder of several networks, as of a GAN, cannot be."""
    inherited = inspect.getattr_static(type(model), "forward", None) is nn.Module.forward
    if inherited and "forward" not in vars(model):
        parts = [name for name, _ in model.named_children()]
        part = parts[0] if parts else "part"
        raise TypeError(
            f"model must have a forward to be audited; {type(model).__name__} only holds its parts "
            f"({', '.join(parts) or 'none'}). Audit each by itself, with inputs of its own: "
            f'lehr.audit(model.get_submodule("{part}"), xb).'
        )


def _why_none(xb: Any, pred: Any, hidden: Sequence[str]) -> str:
    if isinstance(pred, Iterator):
        kind = type(cast(Any, pred)).__name__
        return (
            f"It returns a {kind}, and calls them only when that is read. Let its "
            "forward return a list or a tuple."
        )
    if any(tensor.is_nested for tensor in tensors_in((xb, pred))):
        return (
            "It is given nested tensors, or makes them, and what a layer makes of these is not "
            "measured. Audit it with padded tensors: lehr.audit(model, padded)."
        )
    inside = f"Nothing can be seen inside {', '.join(hidden[:4])}. " if hidden else ""
    return (
        f"{inside}Audit it before it is scripted or traced, or before torch.func maps it: "
        "lehr.audit(model.inner, batch)."
    )


@interrupts_wait_at_both_ends
@contextmanager
def _recording(recorder: SiteRecorder, model: nn.Module) -> Generator[None]:
    with without_wrappers(model), recorder.recording():
        yield


@interrupts_wait_at_both_ends
@contextmanager
def _undone(model: nn.Module) -> Generator[None]:
    """A scope for a copy of a model: what is scripted sends its gradients to the original, too."""
    scripted = any(isinstance(part, torch.jit.ScriptModule) for part in model.modules())
    put_back = keep_structure(model) if scripted else None
    try:
        yield
    finally:
        if put_back is not None:
            put_back()


def _copied(model: nn.Module) -> nn.Module:
    try:
        model = deep_copy(model)
    except Exception as error:
        raise TypeError(
            f"model must be one that copy.deepcopy can copy; {type(model).__name__} is not: "
            f"{one_line(error)}. Give the class that it names a __deepcopy__."
        ) from error
    for p in model.parameters():
        p.grad = None
    return model


def _random_direction(pred: Any, seed: int) -> Tensor | None:
    """A scalar whose gradient is independent normal numbers at every output."""
    outputs = [real(t) for t in floats_in(pred) if t.requires_grad]
    if not outputs:
        return None
    generator = torch.Generator().manual_seed(seed)
    total = outputs[0].new_zeros(())
    for output in outputs:
        direction = torch.randn(output.shape, generator=generator).to(output)
        numbers = output.numel() // max(1, len(output)) if output.ndim else 1  # of an item
        total = total + (output * direction).sum() / math.sqrt(max(1, numbers))
    return total


def _weights(model: nn.Module) -> Iterator[Weights]:
    paths: dict[Tensor, list[str]] = {}
    for name, p in model.named_parameters(remove_duplicate=False):
        if p.ndim >= 2 and p.numel() and p.is_leaf:  # in a copy of what is scripted they are not
            paths.setdefault(p, []).append(name)
    for p, (name, *tied) in paths.items():
        values = p.detach()
        grad = None if p.grad is None else real(p.grad.to_dense() if p.grad.is_sparse else p.grad)
        size = values.abs().float()
        units = values.reshape(len(values), -1)
        yield Weights(
            name=name,
            shape=tuple(p.shape),
            tied=tuple(tied),
            scale=size.square().mean().sqrt().item(),
            largest=values.abs().max().item(),
            zero=(values == 0).float().mean().item(),
            copies=_copies(units) if units.shape[1] >= 2 else 0,
            units=len(units),
            grad_std=None if grad is None else grad.float().std(correction=0).item(),
            trained=p.requires_grad,
        )


def _copies(units: Tensor) -> int:
    """How many rows repeat an earlier one bit for bit; rows of zeros are counted elsewhere."""
    used = units[(units != 0).any(1)].cpu().contiguous().view(torch.uint8)
    return len(used) - len({hash(row.tobytes()) for row in used.numpy()})
