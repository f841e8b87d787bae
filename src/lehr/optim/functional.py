"""torch's optimizers as functions of tensors: what each is called with, read from an optimizer."""

import inspect
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

_BETAS = {"beta1": ("betas", 0), "beta2": ("betas", 1)}
_PAIRS = {
    "Rprop": {
        "etaminus": ("etas", 0),
        "etaplus": ("etas", 1),
        "step_size_min": ("step_sizes", 0),
        "step_size_max": ("step_sizes", 1),
    },
}
"""Parameters of a function that a group has under another name, as one of several numbers."""

_MOMENTS = {"exp_avg": "", "exp_avg_sq": ""}
_STATES: dict[str, dict[str, str]] = {
    "SGD": {"momentum_buffer": "momentum"},
    "Adam": {**_MOMENTS, "max_exp_avg_sq": "amsgrad", "step": ""},
    "AdamW": {**_MOMENTS, "max_exp_avg_sq": "amsgrad", "step": ""},
    "NAdam": {**_MOMENTS, "mu_product": "", "step": ""},
    "RAdam": {**_MOMENTS, "step": ""},
    "RMSprop": {
        "square_avg": "",
        "grad_avg": "centered",
        "momentum_buffer": "momentum",
        "step": "",
    },
    "Adagrad": {"sum": "", "step": ""},
    "Adamax": {"exp_avg": "", "exp_inf": "", "step": ""},
    "Adadelta": {"square_avg": "", "acc_delta": "", "step": ""},
    "Rprop": {"prev": "", "step_size": "", "step": ""},
    "ASGD": {"ax": "", "mu": "", "eta": "", "step": ""},
    "Muon": {"momentum_buffer": ""},
}
"""What each keeps for a parameter, in the order of its function: always, or where a number of the
group is not 0."""

_REFUSED = {
    "Adafactor": (
        "Adafactor reads numbers from its tensors within its step, which torch's compiler does not "
        "take; take e.g. AdamW"
    ),
}
"""Optimizers of torch's that have a function, and why it cannot be part of a graph."""

_COUNTS = ("step", "mu_product")
"""States that an optimizer computes with as Python's numbers, so here in double precision"""
_FREE = {
    "SGD": ("momentum",),
    "RMSprop": ("momentum",),
    "Muon": ("lr", "momentum", "weight_decay"),
}
"""Numbers that stay numbers. Muon would round a rate in a tensor with its update, to bfloat16."""


DECAY = "weight_decay"
"""The number that may be a tensor where it is not 0, though torch's functions take none: they ask
whether it is 0, and a tensor does not say so within a graph. The decay is then made here."""


class Form(NamedTuple):
    """The function of an optimizer, and where its arguments are.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> form = form_of(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
        >>> form.keeps, form.function.__name__
        ({'momentum_buffer': 'momentum'}, 'sgd')
    """

    function: Callable[..., None]
    """as in ``torch.optim``: of parameters, gradients, and a list for each kind of state"""
    keeps: Mapping[str, str]
    """names of the states that it is given, in order; see `state_of`"""
    numbers: Mapping[str, tuple[str, int | None]]
    """its other arguments: the name in the parameter group, and which number of several"""
    switches: Mapping[str, bool]
    """what says that it is compiled"""
    tensors: tuple[str, ...]
    """arguments that may be tensors, so that another value needs no other graph; see `DECAY`"""
    free: tuple[str, ...]
    """arguments that may change though they are numbers: that needs another graph, once for each"""

    def numbers_of(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Its hyper-parameters, as a group has them now.

        Example:
            >>> opt = torch.optim.Adam([torch.zeros(1)], lr=0.1)
            >>> numbers = form_of(opt).numbers_of(opt.param_groups[0])
            >>> numbers["lr"], numbers["beta1"], numbers["amsgrad"]
            (0.1, 0.9, False)
        """
        return {
            argument: group[name] if place is None else group[name][place]
            for argument, (name, place) in self.numbers.items()
        }

    def state_of(
        self, opt: Any, group: Mapping[str, Any], params: Sequence[Tensor]
    ) -> list[list[Any]] | None:
        """For each kind of state, the optimizer's own tensors; None where it has made none yet.

        Example:
            >>> p = torch.nn.Parameter(torch.ones(1)); p.grad = torch.ones(1)
            >>> opt = torch.optim.SGD([p], lr=0.1, momentum=0.9)
            >>> form, group = form_of(opt), opt.param_groups[0]
            >>> form.state_of(opt, group, [p]) is None
            True
            >>> opt.step(); form.state_of(opt, group, [p])
            [[tensor([1.])]]
        """
        kept = [name for name, needed in self.keeps.items() if not needed or group[needed]]
        held = [opt.state.get(p, {}) for p in params] if kept else []
        states: list[list[Any]] = []
        for name in self.keeps:
            if name not in kept:
                states.append([None] * len(params))
                continue
            tensors = [state.get(name) for state in held]
            for tensor in tensors:
                if tensor is None:
                    return None
            states.append(tensors)
        return states

    def bring_counts(self, state: MutableMapping[str, Any], device: torch.device) -> None:
        """Move what the optimizer counts for a parameter to a device, if it is there.

        Example:
            >>> p = torch.nn.Parameter(torch.ones(1)); p.grad = torch.ones(1)
            >>> opt = torch.optim.Adam([p]); opt.step()
            >>> form_of(opt).bring_counts(opt.state[p], torch.device("meta"))
            >>> opt.state[p]["step"].device.type, opt.state[p]["exp_avg"].device.type
            ('meta', 'cpu')
        """
        for name in self.keeps:
            if name in _COUNTS and name in state:
                state[name] = state[name].to(device)

    def update(
        self,
        params: list[Tensor],
        grads: list[Tensor],
        states: list[list[Any]],
        numbers: Mapping[str, Any],
    ) -> None:
        """One step, in place; the lists of ``states`` are not changed.

        Example:
            >>> p, form = torch.ones(1), form_of(torch.optim.SGD([torch.ones(1)], lr=0.1))
            >>> group = torch.optim.SGD([p], lr=0.1).param_groups[0]
            >>> form.update([p], [torch.ones(1)], [[None]], form.numbers_of(group)); p
            tensor([0.9000])
        """
        if isinstance(decay := numbers.get(DECAY), Tensor):
            grads = self._decay(params, grads, numbers, decay)
            numbers = {**numbers, DECAY: 0}
        exact = [name in _COUNTS for name in self.keeps]
        own = [
            [tensor.double() for tensor in tensors] if counts else list(tensors)
            for counts, tensors in zip(exact, states, strict=True)
        ]
        self.function(params, grads, *own, **self.switches, **numbers)
        for counts, tensors, results in zip(exact, states, own, strict=True):
            if counts:
                for tensor, result in zip(tensors, results, strict=True):
                    tensor.copy_(result)

    def _decay(
        self, params: list[Tensor], grads: list[Tensor], numbers: Mapping[str, Any], decay: Tensor
    ) -> list[Tensor]:
        """The gradients with the decay's part, or where it is decoupled, smaller parameters."""
        if numbers.get("decoupled_weight_decay", self.function.__name__ == "adamw"):
            for p in params:
                p.mul_(1 - numbers["lr"] * decay)
            return grads
        signed = -decay if numbers.get("maximize") else decay  # the gradient is turned round later
        return [grad + p * signed for p, grad in zip(params, grads, strict=True)]


def form_of(opt: Any) -> Form | None:
    """The form of an optimizer, if its class is one of torch's that has such a function.

    Example:
        >>> import torch
        >>> form_of(torch.optim.LBFGS([torch.zeros(1)])) is None
        True
    """
    kind = cast("type[Any]", type(opt))
    known = kind.__module__.startswith("torch.optim") and kind.__name__ in _STATES
    return _form(kind) if known else None


def refusal_of(opt: Any) -> str | None:
    """Why an optimizer has no form; None if it has one.

    Example:
        >>> import torch
        >>> refusal_of(torch.optim.LBFGS([torch.zeros(1)]))
        'LBFGS has no function in torch.optim that can be traced; take e.g. AdamW'
    """
    if form_of(opt) is not None:
        return None
    kind = cast("type[Any]", type(opt))
    of_torch = kind.__module__.startswith("torch.optim")
    other = f"{kind.__name__} has no function in torch.optim that can be traced; take e.g. AdamW"
    return _REFUSED.get(kind.__name__, other) if of_torch else other


@cache
def _form(kind: type[Any]) -> Form | None:
    name = kind.__name__
    function = getattr(sys.modules[kind.__init__.__module__], name.lower(), None)
    if function is None:
        return None  # of another version of torch
    taken = inspect.signature(function).parameters
    parameters = list(taken)[2 + len(_STATES[name]) :]
    elsewhere = {**_BETAS, **_PAIRS.get(name, {})}
    numbers = {p: elsewhere.get(p, (p, None)) for p in parameters if p not in _SWITCHES}
    switches = {p: value for p, value in _SWITCHES.items() if p in parameters and value is not None}
    free = _FREE.get(name, ())
    movable = [p for p in numbers if p in ("lr", DECAY) or "Tensor" in str(taken[p].annotation)]
    tensors = tuple(p for p in movable if p not in free)
    return Form(function, _STATES[name], numbers, switches, tensors, free)


_SWITCHES = {
    "foreach": False,
    "fused": False,
    "capturable": True,
    "differentiable": False,
    "has_complex": False,
    "has_sparse_grad": False,
    "grad_scale": None,
    "found_inf": None,
}
