"""What the steps of a run train, and how, as far as a graph has to know."""

from collections.abc import Iterator
from itertools import chain
from operator import is_
from typing import Any, final

import torch
from torch import Tensor, nn

from lehr.loop.step.fusible import have_gradient_hooks, hook_places, step_hooks
from lehr.loop.step.graphs import Graphs, Part
from lehr.optim import optimizers
from lehr.optim.functional import DECAY, form_of
from lehr.state.entries import modules

_PLAIN = (bool, int, float, str, type(None))


@final
class Layout:
    """The parameters that each group trains, with the state and the numbers of their optimizer.

    Args:
        run: whose model and optimizers are looked at; what is trained holds a gradient now.
        graphs: which are called with it.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner()
        >>> run = learn.fit(1)
        >>> learn.model(torch.ones(1, 3)).sum().backward()
        >>> layout = Layout(run, Graphs("eager"))
        >>> layout.parts[0].names, layout.others
        (('0.weight', '0.bias', '2.weight', '2.bias'), {})
    """

    __slots__ = (
        *("_children", "_counts_elsewhere", "_flags", "_gradients", "_groups"),
        *("_hooks", "_made_of", "_others", "_own", "_tensors", "captures", "epoch", "numbers"),
        *("others", "parts", "trained"),
    )

    def __init__(self, run: Any, graphs: Graphs) -> None:
        self._gradients = graphs.gradients
        names = {id(p): name for name, p in run.model.named_parameters()}
        self._groups: list[tuple[Any, Any]] = []
        self.parts: list[Part] = []
        self.trained: list[list[Tensor]] = []
        """for each part, its parameters"""
        for opt in optimizers.each(run.opt):
            form = form_of(opt)
            for group in opt.param_groups:
                params = [p for p in group["params"] if _is_trained(p)]
                if form is not None and params:
                    self._groups.append((opt, group))
                    self.parts.append(Part(form, tuple(names[id(p)] for p in params)))
                    self.trained.append(params)
        device = next((p.device for params in self.trained for p in params), torch.device("cpu"))
        self.captures = graphs.captures_on(device)
        """whether the step becomes a CUDA graph, which reads nothing that is on the CPU"""
        self.numbers = graphs.numbers_for(device)
        """the numbers that change, in tensors"""
        self._tensors = [
            {name: self.numbers[i, name] for name in part.form.tensors}
            for i, part in enumerate(self.parts)
        ]
        self._counts_elsewhere = self.captures
        trained = self.trained_by_name()
        every = {**dict(run.model.named_parameters()), **dict(run.model.named_buffers())}
        self.others = {name: value for name, value in every.items() if name not in trained}
        """the other parameters, and the buffers, by name"""
        places = dict(_places(run.model))
        self._own = [(*places[name], p) for name, p in trained.items()]
        self._others = [(name, *places[name]) for name in self.others]
        self._children = list(_children(run.model))
        self.epoch, self._made_of, self._flags = run.epoch, _made_of(run), _flags(run)
        self._hooks = [*hook_places(run.model, run.loss_func), *step_hooks(run.opt)]

    def _bring_counts(self) -> None:
        """Let what an optimizer counts on the CPU be where its parameters are; it goes on there."""
        for part, (opt, _), params in zip(self.parts, self._groups, self.trained, strict=True):
            for param in params:
                part.form.bring_counts(opt.state.get(param, {}), param.device)
        self._counts_elsewhere = False

    def trained_by_name(self) -> dict[str, Tensor]:
        """The parameters of all parts."""
        pairs = zip(self.parts, self.trained, strict=True)
        return {name: p for part, own in pairs for name, p in zip(part.names, own, strict=True)}

    def is_still(self, run: Any) -> bool:
        """Whether the same parameters of the same model are trained in the same way now.

        The buffers that the model has now are taken; another may have taken the place of one.
        """
        made_of = _made_of(run)
        same = len(made_of) == len(self._made_of) and all(map(is_, made_of, self._made_of))
        if not same or self._flags != _flags(run):
            return False
        for held, key, thing in chain(self._children, self._own):
            if held.get(key) is not thing:
                return False
        for name, held, key in self._others:
            if (tensor := held.get(key)) is None:
                return False
            self.others[name] = tensor
        return True

    def takes_over(self, later: "Layout") -> bool:
        """Whether a later one of the same epoch is the same; then it need not be used.

        Args:
            later: where the model may do something else.
        """
        return self.parts == later.parts and self.others.keys() == later.others.keys()

    def has_hooks(self) -> bool:
        """Whether a module, a parameter or an optimizer has hooks now."""
        return any(self._hooks) or any(map(have_gradient_hooks, self.trained))

    def states(self) -> list[Any] | None:
        """For each part, the states of its optimizer; None where that has made none yet."""
        if self._counts_elsewhere:
            self._bring_counts()
        pairs = zip(self.parts, self._groups, self.trained, strict=True)
        states = [part.form.state_of(*group, params) for part, group, params in pairs]
        return None if any(state is None for state in states) else states

    def hyperparameters(self) -> list[dict[str, Any]]:
        """The hyper-parameters of all parts; those that may change are in tensors."""
        pairs = zip(self.parts, self._groups, strict=True)
        found = [part.form.numbers_of(group) for part, (_, group) in pairs]
        for numbers, tensors in zip(found, self._tensors, strict=True):
            for name, tensor in tensors.items():
                if numbers[name] or name != DECAY:
                    numbers[name] = tensor.of(numbers[name])
        return found

    def changed(self, before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
        """The numbers that the graph holds, and that are others now, each with its optimizer."""
        found: list[str] = []
        pairs = zip(before, now, self.parts, self._groups, strict=True)
        for old, new, part, (opt, _) in pairs:
            movable = (*part.form.tensors, *part.form.free)
            found += [
                f"{name} of {type(opt).__name__}"
                for name in new
                if name not in movable and new[name] != old[name]
            ]
        return found

    def gathered(self) -> list[list[Tensor]]:
        """The gradients that the parameters hold, to add to; zeros where they hold none."""
        gathered = self._gradients.of if self.captures else _gathered
        return [[gathered(p) for p in params] for params in self.trained]


def count_on_cpu(opt: Any) -> None:
    """Let an optimizer count where it does by itself: on the CPU, unless it is told otherwise.

    Elsewhere, its own step would wait for the device to read the counts.

    Args:
        opt: one, or several by name.

    Example:
        >>> p = torch.nn.Parameter(torch.ones(1)); p.grad = torch.ones(1)
        >>> opt = torch.optim.Adam([p]); opt.step()
        >>> count_on_cpu(opt); opt.state[p]["step"]
        tensor(1.)
    """
    for one in optimizers.each(opt):
        if (form := form_of(one)) is None:
            continue
        for group in one.param_groups:
            if not (group.get("capturable") or group.get("fused")):
                for p in group["params"]:
                    form.bring_counts(one.state.get(p, {}), torch.device("cpu"))


def _is_trained(parameter: Tensor) -> bool:
    return parameter.requires_grad and parameter.grad is not None


def _places(model: nn.Module) -> Iterator[tuple[str, tuple[dict[str, Any], str]]]:
    """Where each parameter and each buffer is held, by its name: the dict, and the key in it."""
    for prefix, module in modules(model):
        for kind in ("_parameters", "_buffers"):
            held = vars(module)[kind]
            for key in held:
                yield f"{prefix}.{key}" if prefix else key, (held, key)


def _children(model: nn.Module) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Where each module within the model is held: the dict, the key in it, and the module."""
    for _, module in modules(model):
        held = vars(module)["_modules"]
        for key, child in held.items():
            yield held, key, child


def _made_of(run: Any) -> list[Any]:
    """What must be the same objects, so that what is known of them still holds."""
    opts = optimizers.each(run.opt)
    groups = [group for opt in opts for group in opt.param_groups]
    params = [p for group in groups for p in group["params"]]
    return [run.model, run.loss_func, *opts, *groups, *params]


def attributes_of(run: Any) -> list[dict[str, Any]]:
    """The plain values in the attributes of each module of the model and of the loss function.

    Example:
        >>> from types import SimpleNamespace
        >>> model, none = attributes_of(SimpleNamespace(model=nn.Dropout(0.5), loss_func=None))
        >>> model["p"], none
        (0.5, {})
    """
    loss = run.loss_func
    parts = [part for _, part in modules(run.model)]
    parts += loss.modules() if isinstance(loss, nn.Module) else [loss]
    held = [getattr(part, "__dict__", {}) for part in parts]
    return [
        {name: value for name, value in values.items() if type(value) in _PLAIN} for values in held
    ]


def _flags(run: Any) -> list[bool]:
    opts = optimizers.each(run.opt)
    return [p.requires_grad for opt in opts for group in opt.param_groups for p in group["params"]]


def _gathered(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
