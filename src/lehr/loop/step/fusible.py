"""What keeps a training step from being one graph, in words."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from lehr.callback import Callback
from lehr.engine import Engine
from lehr.events import ACTIONS
from lehr.loop.order import in_layers, watching
from lehr.loop.step.inside import offers
from lehr.optim import optimizers
from lehr.optim.functional import refusal_of
from lehr.state.wrappers import bare

_INSIDE = ("after_pred", "after_loss", "after_backward")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GRADIENT_HOOKS = (attrgetter("_backward_hooks"), attrgetter("_post_accumulate_grad_hooks"))
_STEP_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
_HOOKS_OF_ALL = [vars(torch_module).get(f"_global{name}", {}) for name in _HOOKS]
"""torch's hooks of every module"""


def obstacles(
    model: nn.Module,
    opt: Any,
    loss_func: Any,
    callbacks: Sequence[Callback],
    engine: Engine,
) -> list[str]:
    """Why the steps of a fit cannot be fused, each with what to change; none if they can.

    What can be told beforehand, that is: whether torch can trace the model turns out when it tries.

    Example:
        >>> from lehr.callbacks import GradientStats
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner([GradientStats()])
        >>> obstacles(learn.model, learn.opt, learn.loss_func, learn.callbacks, learn.engine)
        ['GradientStats wraps step; leave it out']
    """
    return [
        *_of_callbacks(callbacks),
        *_of_optimizers(model, opt),
        *_of_modules(model, loss_func),
        *(["several processes share a step"] if engine.world > 1 else []),
    ]


def _of_callbacks(callbacks: Sequence[Callback]) -> Iterator[str]:
    wrapped: dict[str, list[str]] = {}
    for callback in in_layers(callbacks):
        acts = [
            name
            for name in ACTIONS
            if name != "one_batch" and hasattr(callback, name) and not offers(callback, name)
        ]
        if acts:
            wrapped.setdefault(type(callback).__name__, []).extend(acts)
    for event in _INSIDE:
        inside = (one for one in watching(event, callbacks) if not one.looks_on)
        for callback in inside:
            wrapped.setdefault(type(callback).__name__, []).append(event)
    for callback in callbacks:
        name = type(callback).__name__
        if callback.batches_per_step is None:
            wrapped.pop(name, None)
            yield (
                f"{name} lets batches make a step in a number that is not known before; let it be "
                "a fixed number"
            )
        elif name in wrapped:
            names = wrapped.pop(name)
            verb = "watches" if set(names) <= set(_INSIDE) else "wraps"
            yield f"{name} {verb} {', '.join(dict.fromkeys(names))}; leave it out"
        elif callback.regrads:
            yield f"{name} takes gradients anew; leave it out"


def _of_optimizers(model: nn.Module, opt: Any) -> Iterator[str]:
    own = {id(p) for p in model.parameters()}
    for one in optimizers.each(opt):
        kind = type(one).__name__
        if (why := refusal_of(one)) is not None:
            yield why
            continue
        if any(step_hooks(one)):
            yield f"{kind} has hooks on its step; remove them"
        if _has_own_step(one):
            yield f"the step of this {kind} was replaced by another function; leave that out"
        if any(group.get("differentiable") for group in one.param_groups):
            yield f"{kind} is differentiable; make it without"
    held = optimizers.held_parameters(opt)
    if any(id(p) not in own for p in held):
        yield "the optimizer holds parameters that are not the model's; put them into the model"
    if any(p.is_complex() or not p.is_floating_point() for p in held):
        yield "the optimizer holds parameters that are not real numbers"


def _has_own_step(opt: Any) -> bool:
    """Whether a function was put in the place of `step`, other than by torch's schedulers."""
    step, of_class = opt.step, cast("Any", type(opt)).step
    inner = getattr(step, "__wrapped__", None) if "step" in vars(opt) else of_class
    return inner is not of_class


def _of_modules(model: nn.Module, loss_func: Any) -> Iterator[str]:
    wrapped = [(name, part) for name, part in _named(model) if bare(part) is not part]
    for name, part in wrapped:
        what = f"the part {name!r} of the model" if name else "the model"
        todo = "put the part itself there" if name else "give the Learner the model itself"
        yield f"{what} is inside a {type(part).__name__}; {todo}"
    if not wrapped and (twice := _names_of_one(model)):
        yield (
            f"{' and '.join(map(repr, twice))} are the same module, and have its parameters twice; "
            "keep it in one attribute, and call it by that"
        )
    kinds = {type(m).__name__ for m in model.modules() if isinstance(m, nn.RNNBase)}
    if kinds:
        yield (
            f"the model has {' and '.join(sorted(kinds))} layers, of which torch's compiler cannot "
            "make the gradient; leave compile out"
        )
    if optimizers_of := [p for p in _parameters(loss_func) if p.requires_grad]:
        yield f"the loss function has {len(optimizers_of)} parameters; put them into the model"


def _names_of_one(model: nn.Module) -> list[str]:
    """The names of a module with parameters or buffers that has several; none if there is none.

    torch would put each tensor into it twice, and leave the last one there.
    """
    names: dict[nn.Module, list[str]] = {}
    for name, part in _named(model):
        names.setdefault(part, []).append(name)
    several = [own for part, own in names.items() if len(own) > 1 and _has_own(part)]
    return several[0] if several else []


def _named(model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    """Every module of the model by each name that it has."""
    return cast("Any", model).named_modules(remove_duplicate=False)


def _has_own(module: nn.Module) -> bool:
    tensors = chain(module.parameters(recurse=False), module.buffers(recurse=False))
    return any(True for _ in tensors)


def _parameters(loss_func: Any) -> Iterable[nn.Parameter]:
    return loss_func.parameters() if isinstance(loss_func, nn.Module) else ()


def hook_places(*modules: Any) -> list[Any]:
    """The dicts that hold the hooks of these modules, of all within them, and of every module.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> any(hook_places(layer))
        False
        >>> _ = layer.register_forward_hook(print)
        >>> any(hook_places(layer))
        True
    """
    every = [
        part for module in modules if isinstance(module, nn.Module) for part in module.modules()
    ]
    own = [vars(part)[name] for part in every for name in _HOOKS if name in vars(part)]
    return [*_HOOKS_OF_ALL, *own]


def have_gradient_hooks(parameters: Sequence[Tensor]) -> bool:
    """Whether something hears of the gradient of one of these parameters.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> have_gradient_hooks([*layer.parameters()])
        False
        >>> _ = layer.weight.register_hook(print)
        >>> have_gradient_hooks([*layer.parameters()])
        True
    """
    return any(any(map(hooks_of, parameters)) for hooks_of in _GRADIENT_HOOKS)


def step_hooks(opt: Any) -> list[Any]:
    """The dicts that hold the hooks on the step of one optimizer, or of several by name.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> any(step_hooks(tiny_learner().opt))
        False
    """
    return [vars(one).get(name) for one in optimizers.each(opt) for name in _STEP_HOOKS]
