"""What callbacks recorded of the layers of a model, kept in a run folder."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lehr.base import strict_json
from lehr.base.files import discard, replace_file
from lehr.base.paths import path_of
from lehr.base.reading import read_plain
from lehr.base.stored import Finite, Form, Index
from lehr.callback import Callback
from lehr.errors import sentence
from lehr.record.layer_table import LayerTable
from lehr.state.disk import tensor_file

_JSON, _TENSORS = "layers.json", "layers.safetensors"
_LARGEST = 1 << 24  # bytes of JSON


def tables_of(callbacks: Iterable[Callback]) -> list[LayerTable]:
    """What those of the callbacks recorded that have a method ``layer_tables()``.

    Example:
        >>> tables_of([])
        []
    """
    tables: list[LayerTable] = []
    for callback in callbacks:
        recorded: Callable[[], list[LayerTable]] | None = getattr(callback, "layer_tables", None)
        if recorded is not None:
            tables += recorded()
    return [table.thinned() for table in tables if table.batches and table.layers]


def save(folder: str | Path, tables: Sequence[LayerTable]) -> None:
    """Write ``layers.json`` and ``layers.safetensors`` into a folder, each whole."""
    from safetensors.torch import save as encoded  # type: ignore[reportUnknownVariableType]

    tensors: dict[str, Tensor] = {}
    described: list[dict[str, Any]] = []
    for number, table in enumerate(tables):
        for column, values in enumerate(table.numbers.values()):
            tensors[f"{number}.numbers.{column}"] = values.float().contiguous()
        if table.counts is not None:
            tensors[f"{number}.counts"] = table.counts.float().contiguous()
        described.append(
            {
                "title": table.title,
                "layers": list(table.layers),
                "batches": list(table.batches),
                "numbers": list(table.numbers),
                "span": list(table.span),
                "axis": table.axis,
            }
        )
    replace_file(path_of(folder, _TENSORS), encoded(tensors))
    replace_file(path_of(folder, _JSON), strict_json.dump({"tables": described}, indent=1) + b"\n")


def remove(folder: str | Path) -> None:
    """Delete what `save` wrote, if anything."""
    for name in (_JSON, _TENSORS):
        discard(path_of(folder, name))


def load(folder: str | Path) -> list[LayerTable]:
    """Read what `save` wrote, nothing if there is nothing; nothing in the files is run.

    Raises:
        ValueError: the files are damaged or do not fit each other.

    Example:
        >>> load("absent")
        []
    """
    if not path_of(folder, _JSON).exists():
        return []
    try:
        stored = _Stored.read(strict_json.read(path_of(folder, _JSON), _LARGEST), "it")
        tensors = tensor_file.decode(bytearray(read_plain(path_of(folder, _TENSORS))))
        return [_table(table, number, tensors) for number, table in enumerate(stored.tables)]
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(
            f"what {folder} keeps of its layers is damaged: {sentence(error)} Remove {_JSON} to do "
            "without."
        ) from error


class _Table(Form):
    title: str
    layers: tuple[str, ...]
    batches: tuple[Index, ...]
    numbers: tuple[str, ...]
    span: tuple[Finite, Finite]
    axis: str = "training batch"


class _Stored(Form):
    tables: tuple[_Table, ...]


def _table(stored: _Table, number: int, tensors: dict[str, Tensor]) -> LayerTable:
    shape = (len(stored.batches), len(stored.layers))
    numbers: dict[str, Tensor] = {}
    for column, name in enumerate(stored.numbers):
        values = tensors.get(f"{number}.numbers.{column}")
        if values is None or values.dtype != torch.float32 or values.shape != shape:
            raise ValueError(f"{name[:80]!r} must be a number for each of {shape}")
        numbers[name] = values
    counts = tensors.get(f"{number}.counts")
    if counts is not None and (
        counts.dtype != torch.float32 or counts.ndim != 3 or counts.shape[:2] != shape
    ):
        raise ValueError(f"the counts of {stored.title[:80]!r} must be bins for each of {shape}")
    return LayerTable(
        title=stored.title,
        layers=stored.layers,
        batches=stored.batches,
        numbers=numbers,
        counts=counts,
        span=stored.span,
        axis=stored.axis,
    )
