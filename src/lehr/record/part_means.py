"""The means of the named parts of a loss."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from lehr.engine import Engine
from lehr.record.means import Mean
from lehr.record.merging import merged


class PartMeans:
    """A weighted mean for each part of a loss, by name; a name may appear at any time.

    Example:
        >>> means = PartMeans()
        >>> means.add({"fit": 1.0, "penalty": 4.0}, 3); means.add({"fit": 2.0}, 1)
        >>> means.values()
        {'fit': 1.25, 'penalty': 4.0}
    """

    def __init__(self) -> None:
        self._means: dict[str, Mean] = {}

    def add(self, parts: Mapping[str, float | Tensor], weight: float) -> None:
        """Count every part ``weight`` times."""
        for name, part in parts.items():
            if name not in self._means:
                self._means[name] = Mean()
            self._means[name].add(part, weight)

    def values(self) -> dict[str, float | None]:
        """The means, read from the device now; None for a mean over nothing."""
        return {name: mean.value for name, mean in self._means.items()}

    @property
    def means(self) -> dict[str, Mean]:
        """The means by name."""
        return dict(self._means)

    @means.setter
    def means(self, means: Mapping[str, Mean]) -> None:
        self._means = dict(means)

    @property
    def names(self) -> list[str]:
        """Those that have appeared, or were said before."""
        return list(self._means)

    @names.setter
    def names(self, names: Iterable[str]) -> None:
        self._means = {name: Mean() for name in names}

    def merge(self, engine: Engine) -> None:
        """Make the means those over all processes, of the names that any of them has."""
        if engine.world > 1:
            self._means = merged(self._means, engine)

    def restart(self) -> None:
        """Count from nothing; the names stay known."""
        self.names = self.names

    def state_dict(self) -> dict[str, Any]:
        """What was counted, by name."""
        return {name: mean.state_dict() for name, mean in self._means.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on as the means that `state_dict` was taken of would."""
        self.names = state_dict
        for name, mean in self._means.items():
            mean.load_state_dict(state_dict[name])
