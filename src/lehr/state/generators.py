"""Random generators that belong to somebody else: where they are found, and their state."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from lehr.base.reach import attributes_of
from lehr.state.numpy_generator import as_numpy, as_plain
from lehr.types import Stateful, is_sequence

_HOLDERS = ("", "sampler", "batch_sampler", "batch_sampler.sampler", "dataset")


class GeneratorState:
    """One ``torch.Generator`` that belongs to somebody else, a foreign loader for example."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        """The generator's bytes."""
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put the generator back."""
        self.generator.set_state(state_dict["state"])


class NumpyGeneratorState:
    """One generator of NumPy that belongs to somebody else, with its bit generator.

    Example:
        >>> import numpy as np
        >>> generator = np.random.default_rng(3)
        >>> entry = NumpyGeneratorState(generator)
        >>> saved, first = entry.state_dict(), generator.random()
        >>> entry.load_state_dict(saved); generator.random() == first
        True
    """

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        """What its bit generator says, in numbers, strings and tensors."""
        legacy = hasattr(self.generator, "get_state")
        state: Any = (
            self.generator.get_state(legacy=False) if legacy else self.generator.bit_generator.state
        )
        return {"state": as_plain(state)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put the generator back."""
        state = as_numpy(state_dict["state"])
        if hasattr(self.generator, "set_state"):
            self.generator.set_state(state)
        else:
            self.generator.bit_generator.state = state


class PythonGeneratorState:
    """One ``random.Random`` that belongs to somebody else.

    Example:
        >>> generator = random.Random(3)
        >>> entry = PythonGeneratorState(generator)
        >>> saved, first = entry.state_dict(), generator.random()
        >>> entry.load_state_dict(saved); generator.random() == first
        True
    """

    def __init__(self, generator: random.Random) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        """Version, numbers and the next normal draw, if there is one."""
        version, numbers, gauss = self.generator.getstate()
        return {"state": [version, list(numbers), gauss]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put the generator back."""
        version, numbers, gauss = state_dict["state"]
        self.generator.setstate((version, tuple(numbers), gauss))


def holders(loader: Any) -> Iterator[tuple[str, Any]]:
    """A loader, its samplers, its dataset and those in that one: the path of each, and the object.

    torch's ``Subset``, ``ConcatDataset`` and their like have other datasets in their attributes
    ``dataset`` or ``datasets``; of a list, the first hundred are looked at.

    Example:
        >>> [path for path, _ in holders(torch.utils.data.DataLoader([1, 2]))]
        ['', 'sampler', 'batch_sampler', 'batch_sampler.sampler', 'dataset']
    """
    for path in _HOLDERS:
        part: Any = loader
        for attribute in filter(None, path.split(".")):
            part = getattr(part, attribute, None)
        if part is not None:
            yield path, part
    yield from _inside("dataset", getattr(loader, "dataset", None), depth=10)


def _inside(path: str, dataset: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """The datasets that one has in itself."""
    held = attributes_of(dataset)
    several: Any = held.get("datasets")
    listed = several[:100] if is_sequence(several) else ()
    inner = {"dataset": held.get("dataset")}
    inner |= {f"datasets.{number}": one for number, one in enumerate(listed)}
    for name, part in inner.items():
        if part is not None and depth:
            yield f"{path}.{name}", part
            yield from _inside(f"{path}.{name}", part, depth - 1)


def generators_of(loader: Any) -> Iterator[tuple[str, Stateful]]:
    """The generators that a loader, its samplers or its dataset hold in an attribute, each once.

    Those of the whole process are left out: they are an entry of their own.

    Returns:
        The path of each, and its entry.

    Example:
        >>> loader = torch.utils.data.DataLoader([1, 2], generator=torch.Generator())
        >>> [path for path, _ in generators_of(loader)]
        ['generator']
    """
    seen: set[int] = set()
    indices = getattr(getattr(loader, "sampler", None), "indices", None)  # of torch's in our loader
    for holder, part in (*holders(loader), ("sampler.indices", indices)):
        of_data = holder.startswith("dataset")
        drawn = {} if of_data else {"generator": getattr(part, "generator", None)}
        for name, value in {**drawn, **getattr(part, "__dict__", {})}.items():
            entry = entry_of(value)
            if entry is not None and id(value) not in seen:
                seen.add(id(value))
                yield f"{holder}.{name}".lstrip("."), entry


def entry_of(value: Any) -> Stateful | None:
    """The entry of a generator; None of any other thing, and of those of the whole process.

    Example:
        >>> type(entry_of(random.Random(3))).__name__, entry_of(3)
        ('PythonGeneratorState', None)
    """
    if isinstance(value, torch.Generator):
        return None if value is torch.default_generator else GeneratorState(value)
    if isinstance(value, random.Random):
        ours = getattr(value, "getstate", None) == random.getstate
        return (
            None if ours or isinstance(value, random.SystemRandom) else PythonGeneratorState(value)
        )
    if type(value).__module__.startswith("numpy.random"):  # without importing NumPy for it
        import numpy as np

        legacy = isinstance(value, np.random.RandomState)
        if legacy and value is not getattr(np.random.random_sample, "__self__", None):
            return NumpyGeneratorState(value)
        if isinstance(value, np.random.Generator):
            return NumpyGeneratorState(value)
    return None
