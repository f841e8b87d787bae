"""Parameter groups by the parts of a model: rates that differ, weights that do not decay."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import EllipsisType
from typing import Any, cast

from torch import nn

from lehr.errors import above_zero, share
from lehr.optim.blocks import blocks
from lehr.optim.parts import Named, modules, named, predicate
from lehr.optim.undecayed import undecayed
from lehr.types import is_mapping, is_sequence

Rule = Callable[[str], Any] | Mapping[str, Any] | Iterable[Any] | None


def layer_groups(
    model: nn.Module,
    rule: Rule = None,
    *,
    lr: float | slice | None = None,
    decay: float | None = None,
    no_decay: Collection[str] = (),
) -> list[dict[str, Any]]:
    """The model's parameters in groups with names, for an optimizer; the head comes last.

    Give them to any optimizer of torch's: ``AdamW(layer_groups(model, …), weight_decay=0.05)``, or
    ``make_opt(layer_groups(model, …))`` if you have a ``partial``. Each group is a dict with
    ``params`` and ``name``, and with ``lr`` and ``weight_decay`` where they are not the
    optimizer's. A tied parameter is in the group of the first of its names. Parameters without
    gradient are in the groups too, so that they can be trained later. What a rule leaves out is in
    no group, and every fit warns of it.

    Args:
        model: wrapped or not. Parameters that are lazy, or parametrized, are grouped as others are.
        rule: which parameters go together:

            - None: block by block, see `lehr.optim.blocks.blocks`;
            - a list of parts, from the input on: ``["stem", "layer*", ["norm", "fc"]]``. A part is
              a path, in which ``*`` stands for any one name, or a module, a parameter, or a list of
              these; so what a fastai splitter returns will do. ``...`` stands for all the rest;
            - a dict of such parts by the names of the groups: ``{"body": ..., "head": "fc"}``;
            - a function from a parameter's name to that of its group. Numbers are sorted, other
              groups stand as they come first; None leaves a parameter out.
        lr: learning rate of the last group; or ``slice(low, high)``: of the first and the last
            group, with equal ratios in between. None leaves it to the optimizer.
        decay: each group has the ``lr`` of the next one times this; above 0, at most 1.
        no_decay: which kinds have no weight decay: ``"norms"``, ``"biases"``, ``"embeddings"``, see
            `lehr.optim.undecayed.undecayed`. They are groups of their own, named ``….no_decay``.

    Returns:
        The groups, none of them empty.

    Raises:
        TypeError: an argument cannot be used.
        ValueError: a part is not in the model, a parameter is in two groups, a group is empty, or
            the rates cannot be used.

    Example:
        >>> from lehr.models import mlp
        >>> model = mlp(64, 10)
        >>> for group in layer_groups(model, lr=0.01, decay=0.1, no_decay=["biases"]):
        ...     print({key: value for key, value in group.items() if key != "params"})
        {'name': '1', 'lr': 0.001}
        {'name': '1.no_decay', 'lr': 0.001, 'weight_decay': 0.0}
        {'name': '3', 'lr': 0.01}
        {'name': '3.no_decay', 'lr': 0.01, 'weight_decay': 0.0}

    Reference:
        Rates that differ by layer: Howard and Ruder 2018, arXiv:1801.06146, section 3.2, with a
        decay of 1/2.6. Decay by block of a transformer: Clark et al. 2020, arXiv:2003.10555,
        appendix B.
    """
    if isinstance(no_decay, str):
        raise TypeError(
            f"no_decay must be a list of kinds; got {no_decay!r}. Write [{no_decay!r}]."
        )
    spared = undecayed(model, no_decay)
    groups = _by_function(model, rule) if callable(rule) else _by_parts(model, rule)
    rates = _rates(lr, decay, len(groups))
    settings: list[dict[str, Any]] = []
    for (name, parameters), rate in zip(groups.items(), rates, strict=True):
        own = {} if rate is None else {"lr": rate}
        decayed = [p for p in parameters if id(p) not in spared]
        others = [p for p in parameters if id(p) in spared]
        if decayed:
            settings.append({"params": decayed, "name": name, **own})
        if others:
            name = f"{name}.no_decay"
            settings.append({"params": others, "name": name, **own, "weight_decay": 0.0})
    return settings


def _by_function(model: nn.Module, rule: Callable[[str], Any]) -> dict[str, list[nn.Parameter]]:
    groups: dict[Any, list[nn.Parameter]] = {}
    for p, names in named(model):
        key = next((key for name in names if (key := rule(name)) is not None), None)
        if key is not None:
            groups.setdefault(key, []).append(p)
    if not groups:
        raise ValueError("the rule puts no parameter into a group: it returns None for every name.")
    if all(isinstance(key, int) for key in groups):
        groups = dict(sorted(groups.items()))
    return {str(key): parameters for key, parameters in groups.items()}


def _by_parts(model: nn.Module, rule: Any) -> dict[str, list[nn.Parameter]]:
    parts = _named_parts(model, rule)
    rest = [name for name, part in parts.items() if isinstance(part, EllipsisType)]
    if len(rest) > 1:
        raise ValueError(f"... can stand for the rest once; got it in {rest[0]!r} and {rest[1]!r}.")
    tests = {name: predicate(model, part) for name, part in parts.items() if name not in rest}
    groups: dict[str, list[nn.Parameter]] = {name: [] for name in parts}
    for one in named(model):
        name = next((name for name in _homes(one, tests)), *rest or [None])
        if name is not None:
            groups[name].append(one.parameter)
    for name, parameters in groups.items():
        if not parameters:
            raise ValueError(
                f"the group {name!r} would be empty: every parameter of it is in another group, "
                "perhaps under another name, to which it is tied. Leave it out."
            )
    return groups


def _homes(one: Named, tests: Mapping[str, Callable[[str, nn.Parameter], bool]]) -> Iterator[str]:
    """The group of a parameter, for each of its names that is in one."""
    for name in one.names:
        homes = [group for group, belongs in tests.items() if belongs(name, one.parameter)]
        if len(homes) > 1:
            raise ValueError(
                f"{name!r} is in two groups, {homes[0]!r} and {homes[1]!r}. Give parts that do not "
                "overlap; ... stands for all the rest."
            )
        yield from homes


def _named_parts(model: nn.Module, rule: Any) -> dict[str, Any]:
    if is_mapping(rule):
        return {str(name): part for name, part in rule.items()}
    if rule is not None and (not isinstance(rule, Iterable) or isinstance(rule, (str, nn.Module))):
        raise TypeError(
            f"rule must be a list of parts, a dict of them, or a function of a name; got {rule!r}. "
            'Write e.g. [..., "fc"], which makes two groups.'
        )
    parts: list[Any] = blocks(model) if rule is None else list(cast("Iterable[Any]", rule))
    named_parts: dict[str, Any] = {}
    for number, part in enumerate(parts):
        name = _name(model, part) or str(number)
        if name in named_parts:
            raise ValueError(f"the rule has {name!r} twice. Leave one out.")
        named_parts[name] = part
    if not named_parts:
        raise ValueError("the rule has no parts, or the model has no parameters.")
    return named_parts


def _name(model: nn.Module, part: Any) -> str:
    """What a group is called after its part; empty if that has no name."""
    if isinstance(part, EllipsisType):
        return "rest"
    if isinstance(part, str):
        return part
    if isinstance(part, nn.Module):
        return next((path for path, module in modules(model) if module is part), "")
    if is_sequence(part) and all(isinstance(one, str) for one in part):
        return "+".join(part)
    return ""


def _rates(lr: Any, decay: Any, count: int) -> Iterable[float | None]:
    if decay is not None:
        if share("decay", decay) <= 0:
            raise ValueError(f"decay must be above 0; got {decay}. Use e.g. decay=0.75.")
        if lr is None or isinstance(lr, slice):
            raise ValueError(
                f"decay needs the lr of the last group; got lr={lr}. Write e.g. "
                f"layer_groups(model, lr=0.001, decay={decay})."
            )
    if lr is None:
        return [None] * count
    if not isinstance(lr, slice):
        top = above_zero("lr", lr)
        return [top * (1 if decay is None else decay) ** (count - 1 - i) for i in range(count)]
    low, high = above_zero("lr.start", lr.start), above_zero("lr.stop", lr.stop)
    if lr.step is not None:
        raise ValueError(f"lr has no step; got {lr}. Write slice({low:g}, {high:g}).")
    return [
        low * (high / low) ** (i / (count - 1)) if i < count - 1 else high for i in range(count)
    ]
