"""The search for a learning rate before a training, as its run folder keeps it."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from lehr.base import strict_json
from lehr.base.files import replace_file
from lehr.base.paths import path_of
from lehr.base.stored import Finite, Form, Positive
from lehr.errors import sentence
from lehr.inspect.find_lr import LRCurve

_FILE = "sweep.json"
_LARGEST = 1 << 24  # bytes of JSON


@final
@dataclass(frozen=True)
class Sweep:
    """What was found, and how long that took.

    Args:
        curve: what `lehr.Learner.find_lr` returned.
        seconds: that it took.

    Example:
        >>> import tempfile
        >>> sweep = Sweep(LRCurve([0.1, 1.0], [2.0, 1.0], 1.0), 3.0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sweep.save(folder)
        ...     Sweep.load(folder) == sweep
        True
    """

    curve: LRCurve
    seconds: float

    def save(self, folder: str | Path) -> None:
        """Write ``sweep.json`` into a folder."""
        curve = self.curve
        content = _Stored(tuple(curve.lrs), tuple(curve.losses), curve.suggestion, self.seconds)
        replace_file(
            path_of(folder, _FILE), strict_json.dump(content.to_dict(), indent=None) + b"\n"
        )

    @classmethod
    def load(cls, folder: str | Path) -> "Sweep | None":
        """Read what `save` wrote; None if there is nothing.

        Raises:
            ValueError: the file is damaged.
        """
        path = path_of(folder, _FILE)
        if not path.exists():
            return None
        try:
            stored = _Stored.read(strict_json.read(path, _LARGEST), "it")
        except ValueError as error:
            raise ValueError(
                f"{path} is damaged: {sentence(error)} Remove it to do without."
            ) from error
        curve = LRCurve(list(stored.lrs), list(stored.losses), stored.suggestion)
        return cls(curve, stored.seconds)


class _Stored(Form):
    lrs: tuple[Positive, ...]
    losses: tuple[Finite, ...]
    suggestion: Positive | None
    seconds: Finite

    def __post_init__(self) -> None:
        if not 0 < len(self.lrs) == len(self.losses):
            raise ValueError("it must have a loss for each rate, and at least one")
        if self.suggestion is not None and self.suggestion not in self.lrs:
            raise ValueError("the suggestion must be one of the rates")
