"""Puts the model and every batch on one device."""

from collections.abc import Iterator
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lehr.base.nested import inside, map_tensors
from lehr.base.sending import sent
from lehr.callback import Callback
from lehr.events import Phase
from lehr.optim import optimizers

if TYPE_CHECKING:
    from lehr.loop.run import Run


class Device(Callback):
    """Trains, validates and predicts on a device: the accelerator, if there is one.

    At the start of a fit, of `Learner.validate` and of `Learner.predict` the model goes there, with
    the optimizers' state, a loss function that is a module, and the ``modules`` of callbacks, such
    as metrics; all of it stays there afterwards. Each batch's ``xb`` and ``yb`` follow, however
    nested, with everything in them that has a method ``to``; ``run.batch`` is left as the loader
    gave it. Copies of pinned tensors, such as torch's loader makes with ``pin_memory=True``, to
    CUDA do not wait; others may. What is there already is not touched.

    Args:
        device: such as ``"cuda"``, ``"cuda:1"``, ``"mps"``, ``"cpu"``; None takes the accelerator
            if there is one, else the CPU.

    Raises:
        TypeError: ``device`` is neither a string nor a ``torch.device``.
        ValueError: no device is called so; or, at the start of a fit, there is none such here, or
            the model is spread over several, or it cannot go there, or a metric cannot.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(1, callbacks=[Device("cpu")])
        >>> next(run.model.parameters()).device
        device(type='cpu')
    """

    phase = Phase.PREPARE
    moves = ("model", "batches")
    state = ()
    by_length = False

    def __init__(self, device: str | torch.device | None = None) -> None:
        if not isinstance(device, (str, torch.device, type(None))):
            raise TypeError(
                f'device must be a name or a torch.device; got {device!r}. Write e.g. "cuda:0".'
            )
        try:
            self.device = None if device is None else torch.device(device)
        except RuntimeError as error:
            raise _unknown(device) from error

    def begin_fit(self, run: "Run") -> None:
        """Move what lasts."""
        self._to = _resolved(self.device)
        held = [run.model, *_helpers(run)]
        modules = [thing for thing in held if isinstance(thing, nn.Module)]
        for module in modules:
            _check(module, self._to)
        for module in modules:
            if _devices(module) != [self._to]:
                module.to(self._to)
        for thing in held:
            if not isinstance(thing, nn.Module) and thing.to(self._to) is not thing:
                raise ValueError(
                    f"{type(thing).__name__}.to must move it in place and return it; got another "
                    "object. Make it on the device, or let to return self."
                )
        for opt in optimizers.each(run.opt):
            _move_state(opt, self._to)

    def begin_batch(self, run: "Run") -> None:
        """Move the batch."""
        run.xb = _moved(run.xb, self._to)
        run.yb = _moved(run.yb, self._to)

    def __repr__(self) -> str:
        return f"Device({'' if self.device is None else repr(str(self.device))})"


def _resolved(device: torch.device | None) -> torch.device:
    """The very device, with its number, after seeing that it works."""
    if device is None:
        here = torch.accelerator.is_available()
        device = (torch.accelerator.current_accelerator() if here else None) or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise _unknown(device) from error


def _unknown(device: object) -> ValueError:
    names = ["cpu"]
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        names += [f"{kind.type}:{i}" for i in range(torch.accelerator.device_count()) if kind]
    return ValueError(
        f"device must be one that is here; got {str(device)!r}. Use one of: {', '.join(names)}, or "
        "leave it out."
    )


def _helpers(run: "Run") -> Iterator[Any]:
    if isinstance(run.loss_func, nn.Module):
        yield run.loss_func
    for callback in run.callbacks:
        yield from callback.modules


def _devices(module: nn.Module) -> list[torch.device]:
    """The devices that its parameters and buffers are on; of a metric's state nothing is seen."""
    devices = {tensor.device for tensor in (*module.parameters(), *module.buffers())}
    return sorted(devices, key=str)


def _check(module: nn.Module, to: torch.device) -> None:
    devices = _devices(module)
    name = type(module).__name__
    if len(devices) > 1:
        raise ValueError(
            f"{name} is spread over {len(devices)} devices: {', '.join(map(str, devices))}; Device "
            "would gather it on one. Leave Device out, or move the model to one device first."
        )
    if devices and devices != [to]:
        probe = nn.ParameterList([torch.empty(1, device=devices[0])])
        before = probe[0]
        try:
            stays = probe.to(to)[0] is before
        except NotImplementedError:  # from meta, where there are no values
            stays = False
        if not stays:
            raise ValueError(
                f"{name} cannot go from {devices[0]} to {to} in place: the optimizer would keep "
                "the old parameters. Move the model there before you make the optimizer."
            )


def _move_state(opt: Any, to: torch.device) -> None:
    """Move an optimizer's state to where its parameters are, but leave step counts on the host."""
    for group in opt.param_groups:
        on_host = {"step"} if not (group.get("capturable") or group.get("fused")) else set[str]()
        for p in group["params"]:
            if p in opt.state:
                for name, value in opt.state[p].items():
                    if name not in on_host:
                        opt.state[p][name] = _moved(value, to)


def _moved(value: Any, to: torch.device) -> Any:
    if not _is_elsewhere(value, to):
        return value
    return map_tensors(partial(_carry, to=to), value, also=_moves_by_itself)


def _moves_by_itself(value: Any) -> bool:
    """Whether it knows how to move: a packed sequence, a graph, a BatchEncoding."""
    return hasattr(value, "to")


def _is_elsewhere(value: Any, to: torch.device) -> bool:
    """Whether a tensor in it is, or perhaps something that moves by itself."""
    if isinstance(value, Tensor):
        return value.device != to
    if _moves_by_itself(value):
        return True
    return any(_is_elsewhere(held, to) for held in inside(value) or ())


def _carry(value: Any, to: torch.device) -> Any:
    if isinstance(value, Tensor):
        return sent(value, to)
    # Some move in place: the loader's own would stay there.
    copies = hasattr(cast(Any, type(value)), "__copy__")
    return (copy(value) if copies else value).to(to)
