"""Adds learning to models: parameters move against their gradients, group by group."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Optimizer:
    """Stochastic gradient descent: every parameter moves by −lr times its gradient.

    Args:
        params: tensors, or dicts with ``params`` and perhaps an ``lr`` of their own, one a group.
            An optimizer may own a part of a model; it leaves the rest alone.
        lr: the step length of the groups that bring none.
        auto_zero: forget the gradients at the end of every step. Nothing can be accumulated then.

    Raises:
        TypeError: ``params`` is one tensor, or holds something else than tensors.
        ValueError: there is nothing to train, a tensor is given twice or was computed from others,
            or ``lr`` is negative.

    Example:
        >>> w = torch.tensor([1.0], requires_grad=True)
        >>> opt = Optimizer([w], lr=0.1)
        >>> (3 * w).sum().backward(); opt.step(); opt.zero_grad()
        >>> w, w.grad
        (tensor([0.7000], requires_grad=True), None)
    """

    def __init__(
        self, params: Iterable[Tensor | dict[str, Any]], lr: float = 0.5, *, auto_zero: bool = False
    ) -> None:
        self.param_groups: list[dict[str, Any]] = []
        self.auto_zero = auto_zero
        self._lr = lr
        given: list[Any] = _as_list(params)
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Own more parameters from now on: a layer that was frozen, say."""
        group = {"lr": self._lr, **group, "params": _as_list(group["params"])}
        if group["lr"] < 0:
            raise ValueError(f"lr must be at least 0; got {group['lr']}. Give e.g. 0.5.")
        known = {id(p) for p in self._parameters()}
        for p in group["params"]:
            if not isinstance(p, Tensor):
                raise TypeError(f"params must hold tensors; got {p!r}. Pass model.parameters().")
            if not p.is_leaf:
                raise ValueError(
                    f"params must not be computed from others; got one of shape {tuple(p.shape)} "
                    "that is. Pass the tensor it was computed from."
                )
            if id(p) in known:
                raise ValueError(
                    f"params must hold each tensor once; got one of shape {tuple(p.shape)} twice. "
                    "Leave it out of one group."
                )
            known.add(id(p))
        self.param_groups.append(group)

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(
                        p.grad, alpha=-group["lr"]
                    )  # p -= lr * grad, rounded once, as torch does
        if self.auto_zero:
            self.zero_grad()

    def zero_grad(self) -> None:
        """Forget the gradients of the parameters owned here, and of no others."""
        for p in self._parameters():
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The groups, with numbers in the place of their tensors; laid out as torch's."""
        number = {id(p): i for i, p in enumerate(self._parameters())}
        groups = [{**g, "params": [number[id(p)] for p in g["params"]]} for g in self.param_groups]
        return {"state": {}, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over everything but the tensors.

        Raises:
            ValueError: the groups are not as many, or not as long, as those here.
        """
        saved = state_dict["param_groups"]
        here, there = ([len(g["params"]) for g in groups] for groups in (self.param_groups, saved))
        if here != there:
            raise ValueError(
                f"state_dict must have groups of {here} parameters; got {there}. "
                "Make the same groups before loading."
            )
        for group, values in zip(self.param_groups, saved, strict=True):
            group.update({**values, "params": group["params"]})

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]


def _as_list(params: Any) -> list[Any]:
    """A list, since what is passed may be a generator, which could be read only once."""
    if isinstance(params, Tensor):
        raise TypeError("params must be a list of tensors; got one tensor. Write [p].")
    listed = list(params)
    if not listed:
        raise ValueError("params must hold at least one tensor; got none. Is the model empty?")
    return listed
