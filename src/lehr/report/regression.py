"""What a model that predicts numbers does on the validation set, as plain data that can be kept."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, final

from torch import Tensor

from lehr.base import strict_json
from lehr.base.files import discard, replace_file
from lehr.base.paths import path_of
from lehr.base.stored import Finite, Form, Index
from lehr.errors import sentence

_JSON = "regression.json"
_LARGEST = 1 << 24  # bytes of JSON
_POINTS = 2000  # pairs of a true and a predicted number that are kept


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LargeError:
    """One item whose prediction is far off."""

    index: int
    """the item's number in the validation pass, from 0"""
    truth: float
    """its number, in the units of the target"""
    predicted: float
    """what was predicted"""
    name: str = ""
    """the file or the row that it comes from; empty if that is not known"""
    text: str = ""
    """its input in words"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """Errors of a model that predicts one number; `lehr.report.evaluate_regression` makes one."""

    items: int
    """how many items were looked at"""
    mae: float
    """the mean absolute error, in the units of the target"""
    rmse: float
    """the root of the mean squared error, in the units of the target"""
    mean: float
    """the mean of the true numbers"""
    std: float
    """their standard deviation: the RMSE of always giving the mean"""
    truth: tuple[float, ...]
    """true numbers, in rising order; of many items some"""
    predicted: tuple[float, ...]
    """the predictions for them"""
    worst: tuple[LargeError, ...] = ()
    """the largest errors, the largest first"""

    @classmethod
    def of(
        cls,
        truth: Tensor,
        predicted: Tensor,
        k: int = 12,
        item_text: Callable[[int], tuple[str, str]] = lambda i: ("", ""),
    ) -> "Regression":
        """Compare predictions with the truth.

        Args:
            truth: ``(items,)``, finite, at least one.
            predicted: ``(items,)``, finite.
            k: how many of the largest errors to keep.
            item_text: the name of an item and its input in words.

        Example:
            >>> import torch
            >>> made = Regression.of(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 4.0]))
            >>> made.mae, round(made.r2, 2), made.worst[0].index
            (0.5, 0.5, 1)
        """
        truth, predicted = truth.double(), predicted.double()
        off = (predicted - truth).abs()

        def error(i: int) -> LargeError:
            name, text = item_text(i)
            true, given = truth[i].item(), predicted[i].item()
            return LargeError(index=i, truth=true, predicted=given, name=name, text=text)

        order = truth.argsort(stable=True)
        shown = order[:: max(1, -(-len(order) // _POINTS))]
        largest = cast("list[int]", off.argsort(descending=True, stable=True)[:k].tolist())
        return cls(
            items=len(truth),
            mae=off.mean().item(),
            rmse=off.square().mean().sqrt().item(),
            mean=truth.mean().item(),
            std=truth.std(correction=0).item(),
            truth=tuple(_numbers(truth[shown])),
            predicted=tuple(_numbers(predicted[shown])),
            worst=tuple(error(i) for i in largest),
        )

    @property
    def r2(self) -> float | None:
        """R², the share of the variance that is explained; None if all true numbers are equal."""
        return 1 - (self.rmse / self.std) ** 2 if self.std else None

    def save(self, folder: str | Path) -> None:
        """Write ``regression.json`` into a folder, whole."""
        replace_file(path_of(folder, _JSON), strict_json.dump(asdict(self), indent=1) + b"\n")

    @staticmethod
    def remove(folder: str | Path) -> None:
        """Delete what `save` wrote, if anything."""
        discard(path_of(folder, _JSON))

    @classmethod
    def load(cls, folder: str | Path) -> "Regression | None":
        """Read what `save` wrote; None if there is nothing.

        Raises:
            ValueError: the file is damaged.

        Example:
            >>> Regression.load("absent") is None
            True
        """
        path = path_of(folder, _JSON)
        if not path.exists():
            return None
        try:
            stored = _Fields.read(strict_json.read(path, _LARGEST), "it")
            if len(stored.truth) != len(stored.predicted):
                raise ValueError("truth and predicted must be equally long")
        except ValueError as error:
            raise ValueError(
                f"the evaluation in {folder} is damaged: {sentence(error)} Remove {_JSON} to do "
                "without."
            ) from error
        worst = tuple(LargeError(**one.to_dict()) for one in stored.worst)
        fields: dict[str, Any] = {**stored.to_dict(), "worst": worst}
        return cls(**fields)


class _ErrorFields(Form):
    index: Index
    truth: Finite
    predicted: Finite
    name: str
    text: str


class _Fields(Form):
    items: Index
    mae: Finite
    rmse: Finite
    mean: Finite
    std: Finite
    truth: tuple[Finite, ...]
    predicted: tuple[Finite, ...]
    worst: tuple[_ErrorFields, ...]


def _numbers(values: Tensor) -> Sequence[float]:
    return cast("list[float]", values.tolist())
