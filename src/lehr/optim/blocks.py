"""The blocks that a model is built of, in their order."""

from collections import Counter
from collections.abc import Iterator

from torch import nn

from lehr.state.wrappers import bare

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def blocks(model: nn.Module) -> list[list[str]]:
    """The paths of what a model consists of, block by block, in the order of its definition.

    Where blocks of one class stand in a row, such as residual blocks or the layers of a
    transformer, each is a block of the model; what stands before, between or after such rows is
    one each. A model without such a row is made of its children. Paths of parameters that belong to
    no child are among them.

    Example:
        >>> from lehr.models import mlp, resnet
        >>> blocks(resnet(1, 10))
        [['0', '1'], ['3'], ['4'], ['5'], ['8']]
        >>> blocks(mlp(64, 10))
        [['1'], ['3']]
    """
    inner = bare(model)
    if not _has_row(inner):
        return [[path] for path, _ in _children(*_opened("", inner))]
    paths: list[list[str]] = []
    alone = True  # the next piece begins a new block of the model
    for path, in_row in _pieces("", inner):
        if in_row or alone:
            paths.append([path])
        else:
            paths[-1].append(path)
        alone = in_row
    return paths


def _pieces(prefix: str, module: nn.Module) -> Iterator[tuple[str, bool]]:
    """Paths, each with whether it is a block of a row."""
    row = _row(module)
    for path, child in _children(prefix, module):
        if child in row:
            yield path, True
        elif isinstance(child, nn.Module) and _has_row(child):
            yield from _pieces(path, child)
        else:
            yield path, False


def _children(prefix: str, module: nn.Module) -> list[tuple[str, nn.Module | nn.Parameter]]:
    """The parameters of its own, and the children that have some, by path."""
    found = [*module.named_parameters(recurse=False), *_parts(module)]
    return [(f"{prefix}.{name}".lstrip("."), one) for name, one in found]


def _opened(prefix: str, module: nn.Module) -> tuple[str, nn.Module]:
    """What is inside, as long as that is one child alone, and no layer."""
    while len(found := _children(prefix, module)) == 1:
        path, only = found[0]
        if not isinstance(only, nn.Module) or not _parts(only):
            break
        prefix, module = path, only
    return prefix, module


def _row(module: nn.Module) -> set[nn.Module]:
    """The children that are blocks of one class, of which there are several."""
    if not isinstance(module, _CONTAINERS):
        return set()
    built = [part for _, part in _parts(module) if _parts(part)]
    count = Counter(map(type, built))
    return {part for part in built if count[type(part)] > 1}


def _has_row(module: nn.Module) -> bool:
    return bool(_row(module)) or any(_has_row(part) for _, part in _parts(module))


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The children that have parameters; what makes a parameter of others is none of them."""
    return [
        (name, child)
        for name, child in module.named_children()
        if name != "parametrizations" and next(child.parameters(), None) is not None
    ]
