"""Parts of a model by name: which parameters are meant, and what is wrong with a name."""

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, cast

from torch import nn

from lehr.errors import did_you_mean
from lehr.optim import optimizers
from lehr.state.wrappers import bare, bare_names


class Named(NamedTuple):
    """A parameter of a model, with every name that it has there."""

    parameter: nn.Parameter
    """itself"""
    names: list[str]
    """as without wrappers such as DDP; a tied parameter has several"""


def named(model: nn.Module) -> list[Named]:
    """Every parameter of a model once, in the model's order.

    Example:
        >>> tied = nn.Linear(2, 2, bias=False)
        >>> [names for _, names in named(nn.Sequential(tied, tied))]
        [['0.weight', '1.weight']]
    """
    inner = bare(model)
    name_of = bare_names(inner)
    found: dict[int, Named] = {}
    for path, p in inner.named_parameters(remove_duplicate=False):
        found.setdefault(id(p), Named(p, [])).names.append(name_of(path))
    return list(found.values())


def modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every module of a model under every path that it has there, as without wrappers.

    Example:
        >>> [path for path, _ in modules(nn.Sequential(nn.DataParallel(nn.ReLU())))]
        ['', '0', '0']
    """
    inner = bare(model)
    name_of = bare_names(inner)
    parts = cast("Iterator[tuple[str, nn.Module]]", inner.named_modules(remove_duplicate=False))
    return [(name_of(path), module) for path, module in parts]


def is_in(name: str, path: str) -> bool:
    """Whether a parameter is in the part of that path; ``*`` in a path stands for any one name.

    A weight with a parametrization is at the path that it had without.

    Example:
        >>> is_in("blocks.3.norm.bias", "blocks.3"), is_in("blocks.30.norm.bias", "blocks.3")
        (True, False)
        >>> is_in("blocks.3.norm.bias", "blocks.*.norm")
        True
        >>> is_in("fc.parametrizations.weight.original", "fc.weight")
        True
    """
    parts, wanted = plain(name).split("."), plain(path).split(".") if plain(path) else []
    return is_path(".".join(parts[: len(wanted)]), plain(path))


def is_path(name: str, path: str) -> bool:
    """Whether a name is that path; ``*`` in it stands for any one name, or a part of one.

    Example:
        >>> is_path("layer1.0.bn2", "layer*.*.bn2"), is_path("layer1.0.bn2", "*.bn2")
        (True, False)
    """
    parts, wanted = name.split("."), path.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def plain(name: str) -> str:
    """The name of a parameter as if nothing were parametrized.

    Example:
        >>> plain("fc.parametrizations.weight.original0")
        'fc.weight.original0'
    """
    return ".".join(part for part in name.split(".") if part != "parametrizations")


def predicate(model: nn.Module, part: Any) -> Callable[[str, nn.Parameter], bool]:
    """Whether a parameter, under one of its names, belongs to a part of the model.

    Args:
        model: the whole.
        part: a path, perhaps with ``*``; a module of the model; a parameter; or several of these.

    Raises:
        TypeError: it is something else.
        ValueError: nothing of the model is meant.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> inside = predicate(model, model[1])
        >>> [name for name, p in model.named_parameters() if inside(name, p)]
        ['1.weight', '1.bias']
    """
    if isinstance(part, str):
        if not any(is_in(name, part) for _, names in named(model) for name in names):
            raise ValueError(f"no parameter of the model is in {part!r}. {_guess(model, part)}")
        return lambda name, p: is_in(name, part)
    if isinstance(part, nn.Parameter):
        if not any(p is part for p, _ in named(model)):
            raise ValueError(
                f"a parameter of shape {tuple(part.shape)} is none of the model's. Take it from "
                "the model that the Learner gets, after it has its last shape."
            )
        return lambda name, p: p is part
    if isinstance(part, nn.Module):
        own = {id(p) for p in part.parameters()}
        paths = [path for path, module in modules(model) if module is part or module is bare(part)]
        if not paths or not own:
            why = "has no parameters" if paths else "is no part of the model"
            raise ValueError(f"a {type(part).__name__} {why}. {_guess(model, '')}")
        return lambda name, p: id(p) in own and any(is_in(name, path) for path in paths)
    if isinstance(part, Iterable):
        several = [predicate(model, one) for one in cast("Iterable[Any]", part)]
        return lambda name, p: any(belongs(name, p) for belongs in several)
    raise TypeError(
        f"a part of a model must be a path, a module or a parameter, or a list of these; got "
        f'{part!r}. Write e.g. "layer4" or model.layer4.'
    )


def parameters_in(model: nn.Module, part: Any) -> list[nn.Parameter]:
    """The parameters of a part of the model, each once; see `predicate`.

    Raises:
        TypeError, ValueError: as `predicate` does.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> [tuple(p.shape) for p in parameters_in(model, "*.bias")]
        [(2,), (2,)]
    """
    belongs = predicate(model, part)
    return [p for p, names in named(model) if any(belongs(name, p) for name in names)]


def parts_apart(
    model: nn.Module, opt: optimizers.Optimizers, parts: Iterable[Any]
) -> dict[Any, list[nn.Parameter]]:
    """The parameters of parts of a training that do not overlap.

    Args:
        model: the model.
        opt: its optimizers.
        parts: each is the name of a parameter group; or else a part of the model, see `predicate`;
            or ``...`` for all parameters of the model that are in no other part.

    Raises:
        TypeError, ValueError: as `predicate` does, or a parameter is in two parts, or a name is
            that of a group and the path of other parameters.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> found = parts_apart(model, {}, [..., "1"])
        >>> {part: len(parameters) for part, parameters in found.items()}
        {Ellipsis: 2, '1': 2}
    """
    found: dict[Any, list[nn.Parameter]] = {part: [] for part in parts}
    home: dict[int, Any] = {}
    for part in found:
        if part is not ...:
            found[part] = _group_or_part(model, opt, part)
            for p in found[part]:
                if id(p) in home:
                    names = next((names for q, names in named(model) if q is p), ["a parameter"])
                    raise ValueError(
                        f"{names[0]!r} is in two parts, {home[id(p)]!r} and {part!r}. Give parts "
                        "that do not overlap; ... stands for all the rest."
                    )
                home[id(p)] = part
    if ... in found:
        found[...] = [p for p, _ in named(model) if id(p) not in home]
    return found


def _group_or_part(model: nn.Module, opt: optimizers.Optimizers, part: Any) -> list[nn.Parameter]:
    if not (group := _in_group(opt, part)):
        return parameters_in(model, part)
    alone = {id(p): names[0] for p, names in named(model) if len(names) == 1}  # in one group anyway
    grouped = {id(p) for p in group} & alone.keys()
    inside = {key for key, name in alone.items() if is_in(name, part)}
    if inside and (other := grouped ^ inside):
        name = next(name for key, name in alone.items() if key in other)
        raise ValueError(
            f"{part!r} is the name of a parameter group and the path of a part of the model, and "
            f"they are not the same: {name!r} is in only one of them. Write {part + '.*'!r} for "
            "the part, or give the group another name."
        )
    return group


def _in_group(opt: optimizers.Optimizers, name: Any) -> list[nn.Parameter]:
    """The parameters of the group of that name, and of its part without weight decay."""
    groups = [group for one in optimizers.each(opt) for group in one.param_groups]
    own = [group for group in groups if group.get("name") in (name, f"{name}.no_decay")]
    return [p for group in own for p in group["params"]]


def _guess(model: nn.Module, path: str) -> str:
    known = {
        ".".join(plain(name).split(".")[: depth + 1])
        for _, names in named(model)
        for name in names
        for depth in range(1 + path.count("."))
    }
    return did_you_mean(path, sorted(known))
