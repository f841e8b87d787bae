"""What a trained classifier does on the validation set, as plain data that can be kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final

import torch
from torch import Tensor

from lehr.base import strict_json
from lehr.base.files import discard, replace_file
from lehr.base.paths import path_of
from lehr.base.reading import read_plain
from lehr.base.stored import MOST, Finite, Form, Index
from lehr.errors import sentence
from lehr.record import confusion as counted
from lehr.state.disk import tensor_file

_JSON, _TENSORS = "evaluation.json", "evaluation.safetensors"
_LARGEST = 1 << 26  # bytes of JSON; text takes much memory when parsed


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One item that was put into the wrong class; among `Evaluation.right`, into the right one."""

    index: int
    """the item's number in the validation pass, from 0"""
    truth: int
    """the label it has"""
    predicted: int
    """the label it was given"""
    p_truth: float | None
    """probability given to the true class; None if it was nan"""
    p_predicted: float | None
    """probability given to the predicted class"""
    picture: Tensor | None = None
    """what it looks like, uint8 ``(height, width, 3)``"""
    text: str = ""
    """what it is, in words, where there is no picture"""
    name: str = ""
    """the file or the row that it comes from; empty if that is not known"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Loss, confusion matrix and worst mistakes of a classifier; `evaluate` makes one.

    Example:
        >>> confusion = torch.tensor([[8, 2], [1, 9]])
        >>> evaluation = Evaluation(loss=0.3, confusion=confusion, classes=("cat", "dog"))
        >>> evaluation.items, evaluation.accuracy, evaluation.recall()
        (20, 0.85, [0.8, 0.9])
    """

    loss: float | None
    """the mean over the validation items"""
    confusion: Tensor
    """items by true class (rows) and predicted class (columns), int64 ``(c, c)``"""
    classes: tuple[str, ...]
    """names of the classes, by label"""
    mistakes: tuple[Mistake, ...] = ()
    """those that were given the least probability for their true class, worst first"""
    right: tuple[Mistake, ...] = ()
    """for each class the first item that was put into it rightly, to compare mistakes with"""
    truth: Tensor | None = None
    """the label of every item, int32 ``(items,)``; None for too many"""
    predicted: Tensor | None = None
    """the prediction for every item, int32 ``(items,)``"""

    @property
    def items(self) -> int:
        """How many items were classified."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of items in their right class."""
        return counted.accuracy(self.confusion)

    def counts(self) -> list[list[int]]:
        """The confusion matrix as lists."""
        return cast("list[list[int]]", self.confusion.tolist())

    def totals(self) -> list[int]:
        """How many items of each class there are."""
        return cast("list[int]", self.confusion.sum(1).tolist())

    def precision(self) -> list[float | None]:
        """For each class, the share of what was given it that belongs there; None for nothing."""
        return counted.precision(self.confusion)

    def recall(self) -> list[float | None]:
        """For each class, the share of its items that were found; None for a class without."""
        return counted.recall(self.confusion)

    def f1(self) -> list[float | None]:
        """For each class, the harmonic mean of precision and recall; None for nothing."""
        return counted.f1(self.confusion)

    @property
    def macro_f1(self) -> float | None:
        """The mean of `f1` over the classes; None if there are no items."""
        return counted.macro_f1(self.confusion)

    @property
    def majority(self) -> tuple[str, float]:
        """The commonest class, and the accuracy of always giving that one."""
        label, share = counted.majority(self.confusion)
        return self.classes[label], share

    def most_confused(self, k: int = 12) -> list[tuple[int, int, int]]:
        """The ``k`` commonest errors: label, prediction, and how many items.

        Example:
            >>> confusion = torch.tensor([[8, 2], [1, 9]])
            >>> Evaluation(loss=None, confusion=confusion, classes=("a", "b")).most_confused()
            [(0, 1, 2), (1, 0, 1)]
        """
        return counted.most_confused(self.confusion, k)

    def save(self, folder: str | Path) -> None:
        """Write ``evaluation.json`` and ``evaluation.safetensors`` into a folder, each whole."""
        from safetensors.torch import save  # type: ignore[reportUnknownVariableType]

        tensors = {"confusion": self.confusion.contiguous()}
        for name in ("truth", "predicted"):
            if (values := getattr(self, name)) is not None:
                tensors[name] = values.contiguous()
        content = {
            "loss": self.loss,
            "classes": list(self.classes),
            "mistakes": _written(self.mistakes, "picture", tensors),
            "right": _written(self.right, "right", tensors),
        }
        replace_file(path_of(folder, _TENSORS), save(tensors))
        replace_file(path_of(folder, _JSON), strict_json.dump(content, indent=1) + b"\n")

    @staticmethod
    def remove(folder: str | Path) -> None:
        """Delete what `save` wrote, if anything."""
        for name in (_JSON, _TENSORS):
            discard(path_of(folder, name))

    @classmethod
    def load(cls, folder: str | Path) -> "Evaluation":
        """Read what `save` wrote; nothing in the files is run.

        Raises:
            FileNotFoundError: one of the files is not there.
            ValueError: the files are damaged or do not fit each other.
        """
        content = _read_json(path_of(folder, _JSON))
        tensors = _read_tensors(path_of(folder, _TENSORS))
        try:
            return _checked(_EvaluationFields.read(content, "it"), tensors)
        except ValueError as error:
            raise ValueError(
                f"the evaluation in {folder} is damaged: {sentence(error)} Remove {_JSON} to do "
                "without."
            ) from error


_PLAIN_FIELDS = ("index", "truth", "predicted", "p_truth", "p_predicted", "text", "name")


def _written(
    items: tuple[Mistake, ...], prefix: str, tensors: dict[str, Tensor]
) -> list[dict[str, Any]]:
    """Items as plain dicts; their pictures are put among the tensors."""
    written: list[dict[str, Any]] = []
    for number, item in enumerate(items):
        fields: dict[str, Any] = {name: getattr(item, name) for name in _PLAIN_FIELDS}
        if item.picture is not None:
            fields["picture"] = f"{prefix}.{number}"
            tensors[f"{prefix}.{number}"] = item.picture.contiguous()
        written.append(fields)
    return written


class _MistakeFields(Form):
    index: Index
    truth: Index
    predicted: Index
    p_truth: Finite | None
    p_predicted: Finite | None
    text: str
    name: str = ""
    picture: str | None = None


class _EvaluationFields(Form):
    loss: Finite | None
    classes: tuple[str, ...]
    mistakes: tuple[_MistakeFields, ...]
    right: tuple[_MistakeFields, ...] = ()


def _checked(stored: _EvaluationFields, tensors: dict[str, Tensor]) -> Evaluation:
    c = len(stored.classes)
    _demand("confusion" in tensors, "there is no tensor 'confusion'")
    confusion = tensors["confusion"]
    _demand(
        confusion.dtype == torch.int64
        and confusion.shape == (c, c)
        and bool((confusion >= 0).all())
        and float(confusion.double().sum()) <= MOST,
        f"confusion must be counts {(c, c)} for {c} classes; got {tuple(confusion.shape)}",
    )
    items = int(confusion.sum())
    for name in ("truth", "predicted"):
        labels = tensors.get(name)
        _demand(
            labels is None
            or (labels.dtype == torch.int32 and labels.shape == (items,) and _within(labels, c)),
            f"{name} must be one label for each of {items} items",
        )
    return Evaluation(
        loss=stored.loss,
        confusion=confusion,
        classes=stored.classes,
        mistakes=_read(stored.mistakes, "mistakes", tensors, c),
        right=_read(stored.right, "right", tensors, c),
        truth=tensors.get("truth"),
        predicted=tensors.get("predicted"),
    )


def _read(
    stored: tuple[_MistakeFields, ...], field: str, tensors: dict[str, Tensor], c: int
) -> tuple[Mistake, ...]:
    return tuple(
        _mistake(one, f"{field}[{number}]", tensors, c) for number, one in enumerate(stored)
    )


def _mistake(stored: _MistakeFields, at: str, tensors: dict[str, Tensor], c: int) -> Mistake:
    for name in ("truth", "predicted"):
        label: int = getattr(stored, name)
        _demand(label < c, f"{at}.{name} must be a label below {c}; got {label}")
    fields = stored.to_dict()
    if (named := stored.picture) is not None:
        _demand(named in tensors, f"there is no tensor {named[:80]!r}, which {at} names")
        picture = fields["picture"] = tensors[named]
        _demand(
            picture.dtype == torch.uint8 and picture.ndim == 3 and picture.shape[2] == 3,
            f"{named[:80]} must be uint8 (height, width, 3)",
        )
    return Mistake(**fields)


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _within(labels: Tensor, c: int) -> bool:
    return not len(labels) or (int(labels.min()) >= 0 and int(labels.max()) < c)


def _read_json(path: Path) -> Any:
    try:
        return strict_json.read(path, _LARGEST)
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read: {sentence(error)} Remove it to do without the evaluation."
        ) from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return tensor_file.decode(bytearray(read_plain(path)))
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read: {sentence(error)} Remove {_JSON} to do without."
        ) from error
