"""What a trained classifier does on the validation set, as plain data that can be kept."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final

import torch
from torch import Tensor

_JSON, _TENSORS = "evaluation.json", "evaluation.safetensors"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One item that was put into the wrong class."""

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
        return int(self.confusion.diagonal().sum()) / max(self.items, 1)

    def counts(self) -> list[list[int]]:
        """The confusion matrix as lists."""
        return cast("list[list[int]]", self.confusion.tolist())

    def totals(self) -> list[int]:
        """How many items of each class there are."""
        return cast("list[int]", self.confusion.sum(1).tolist())

    def precision(self) -> list[float | None]:
        """For each class, the share of what was given it that belongs there; None for nothing."""
        return _shares(self.confusion, 0)

    def recall(self) -> list[float | None]:
        """For each class, the share of its items that were found; None for a class without."""
        return _shares(self.confusion, 1)

    def most_confused(self, k: int = 12) -> list[tuple[int, int, int]]:
        """The ``k`` commonest errors: label, prediction, and how many items.

        Example:
            >>> confusion = torch.tensor([[8, 2], [1, 9]])
            >>> Evaluation(loss=None, confusion=confusion, classes=("a", "b")).most_confused()
            [(0, 1, 2), (1, 0, 1)]
        """
        wrong = self.confusion.clone().fill_diagonal_(0)
        found = cast("list[list[int]]", wrong.nonzero().tolist())
        counted = [(label, guess, int(wrong[label, guess])) for label, guess in found]
        return sorted(counted, key=lambda error: -error[2])[:k]

    def save(self, folder: str | Path) -> None:
        """Write ``evaluation.json`` and ``evaluation.safetensors`` into a folder."""
        from safetensors.torch import save_file  # type: ignore[reportUnknownVariableType]

        tensors = {"confusion": self.confusion.contiguous()}
        for name in ("truth", "predicted"):
            if (values := getattr(self, name)) is not None:
                tensors[name] = values.contiguous()
        mistakes: list[dict[str, Any]] = []
        for number, mistake in enumerate(self.mistakes):
            told: dict[str, Any] = {name: getattr(mistake, name) for name in _TOLD}
            if mistake.picture is not None:
                told["picture"] = f"picture.{number}"
                tensors[f"picture.{number}"] = mistake.picture.contiguous()
            mistakes.append(told)
        content = {"loss": self.loss, "classes": list(self.classes), "mistakes": mistakes}
        save_file(tensors, Path(folder, _TENSORS))
        text = json.dumps(content, indent=1, allow_nan=False)
        Path(folder, _JSON).write_text(text + "\n", encoding="utf-8")

    @staticmethod
    def remove(folder: str | Path) -> None:
        """Delete what `save` wrote, if anything."""
        for name in (_JSON, _TENSORS):
            Path(folder, name).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: str | Path) -> "Evaluation":
        """Read what `save` wrote; nothing in the files is run.

        Raises:
            FileNotFoundError: one of the files is not there.
            ValueError: the files are damaged or do not fit each other.
        """
        content, tensors = _read_json(Path(folder, _JSON)), _read_tensors(Path(folder, _TENSORS))
        try:
            return _checked(content, tensors)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            why = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(
                f"the evaluation in {folder} is damaged: {why}. Remove {_JSON} to do without."
            ) from error


_TOLD = ("index", "truth", "predicted", "p_truth", "p_predicted", "text")


def _checked(content: dict[str, Any], tensors: dict[str, Tensor]) -> Evaluation:
    classes = tuple(_of(str, name, "a class") for name in content["classes"])
    c = len(classes)
    confusion = tensors["confusion"]
    _demand(
        confusion.dtype == torch.int64
        and confusion.shape == (c, c)
        and bool((confusion >= 0).all()),
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
    loss = content["loss"]
    return Evaluation(
        loss=None if loss is None else _of(float, loss, "loss"),
        confusion=confusion,
        classes=classes,
        mistakes=tuple(_mistake(told, tensors, c) for told in content["mistakes"]),
        truth=tensors.get("truth"),
        predicted=tensors.get("predicted"),
    )


def _mistake(told: dict[str, Any], tensors: dict[str, Tensor], c: int) -> Mistake:
    named = _of(dict, told, "a mistake").get("picture")
    picture = None if named is None else tensors[named]
    _demand(
        picture is None
        or (picture.dtype == torch.uint8 and picture.ndim == 3 and picture.shape[2] == 3),
        f"{named} must be uint8 (height, width, 3)",
    )
    facts: dict[str, Any] = {name: _of(int, told[name], name) for name in _TOLD[:3]}
    for name in ("truth", "predicted"):
        _demand(0 <= facts[name] < c, f"{name} must be a label below {c}; got {facts[name]}")
    for name in ("p_truth", "p_predicted"):
        facts[name] = None if told[name] is None else _of(float, told[name], name)
    return Mistake(**facts, picture=picture, text=_of(str, told["text"], "text"))


def _of(kind: Callable[[Any], Any], value: Any, name: str) -> Any:
    fits = type(value) is kind or (kind is float and type(value) is int)
    _demand(fits, f"{name} must be {getattr(kind, '__name__', kind)}; got {value!r}")
    return kind(value)


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _within(labels: Tensor, c: int) -> bool:
    return not len(labels) or (int(labels.min()) >= 0 and int(labels.max()) < c)


def _read_json(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is no JSON: {error}. Remove it to do without the evaluation."
        ) from error
    return content if isinstance(content, dict) else {"content": content}  # type: ignore[reportUnknownVariableType]


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # type: ignore[reportUnknownVariableType]

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} cannot be read: {error}. Remove evaluation.json to do without."
        ) from error


def _shares(confusion: Tensor, dim: int) -> list[float | None]:
    totals = cast("list[int]", confusion.sum(dim).tolist())
    right = cast("list[int]", confusion.diagonal().tolist())
    return [hit / total if total else None for hit, total in zip(right, totals, strict=True)]
