"""The layers of a model that somebody wants to look at."""

from collections.abc import Sequence

from torch import nn

from lehr.errors import did_you_mean
from lehr.state.entries import modules
from lehr.state.wrappers import bare


def layer_names(layers: Sequence[str] | None) -> list[str] | None:
    """``layers`` as a list of names, or None, which stands for all.

    Raises:
        TypeError: it is one name, and no list.

    Example:
        >>> layer_names(("conv1", "fc"))
        ['conv1', 'fc']
    """
    if isinstance(layers, str):
        raise TypeError(f"layers must be a list of names; got {layers!r}. Write [{layers!r}].")
    return None if layers is None else list(layers)


def layers_of(model: nn.Module, names: Sequence[str] | None) -> dict[str, nn.Module]:
    """The modules of these names; without names, all that have no modules inside.

    Args:
        model: wrapped by others or not.
        names: as in ``model.named_modules()``.

    Raises:
        ValueError: there is no module of that name.

    Example:
        >>> list(layers_of(nn.Sequential(nn.Linear(1, 1), nn.ReLU()), None))
        ['0', '1']
    """
    model = bare(model)
    known = {name: module for name, module in modules(model) if name}
    if names is None:
        return {n: m for n, m in known.items() if not list(m.children())} or {"": model}
    for name in names:
        if name not in known:
            raise ValueError(
                f"layers names {name!r}, which is no module of {type(model).__name__}. "
                f"{did_you_mean(name, known)}"
            )
    return {name: known[name] for name in names}
