"""A model as a program that runs without its Python code, and without lehr."""

import io
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lehr.base.call import arguments_of, call
from lehr.base.copies import copied_to_cpu
from lehr.base.files import save_file
from lehr.base.nested import item_count, map_tensors, tensors_in
from lehr.base.paths import path_of
from lehr.inspect.first_batch import first_batch
from lehr.learner import Learner
from lehr.state.disk.weights import join_weights
from lehr.state.wrappers import bare

ENDINGS = (".pt2", ".onnx")
"""What a program's file may end in."""


def export(learn: Learner, path: str | os.PathLike[str]) -> None:
    """Write the model as a program that runs without its code. See `lehr.Learner.export`."""
    check_ending(path_of(path))
    xb, _ = learn.split_batch(first_batch(learn))
    write_program(learn.model, xb, path_of(path))


def weights(checkpoint: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Write the model's weights in a checkpoint to one safetensors file, for any tool.

    The checkpoint may be one that several processes wrote, ``Checkpoint(…, sharded=True)``. One
    tensor is in memory at a time. The names are those of the model without its wrappers.

    Args:
        checkpoint: its folder; or a file of weights.
        path: of the file; it must end in ``.safetensors``. An existing file is replaced in one
            step.

    Raises:
        TypeError, ValueError: a path is none, or has another ending; or the checkpoint is damaged.
        OSError: the checkpoint is not there, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> from lehr.callbacks import Checkpoint
        >>> from lehr.testing import tiny_learner
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     saves = Checkpoint(f"{folder}/saved")
        ...     _ = tiny_learner().fit(1, callbacks=[saves])
        ...     weights(saves.newest, f"{folder}/weights.safetensors")
        ...     tiny_learner().load(f"{folder}/weights.safetensors")
        no differences
    """
    join_weights(checkpoint, path)


def check_ending(path: Path) -> None:
    """Refuse a file of a format that there is not, or whose package is not installed.

    Raises:
        ValueError: the ending is none of `ENDINGS`.
        ImportError: it is ``.onnx``, and the packages for that are not installed.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(
            f"path must end in .pt2 (torch.export) or .onnx; got {str(path)!r}. Give e.g. "
            "model.pt2."
        )
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if path.suffix == ".onnx" and missing:
        raise ImportError(
            f"an .onnx file needs packages that are not installed: {' and '.join(missing)}. "
            "Install them: pip install 'lehr[onnx]'."
        )


def write_program(
    model: nn.Module, xb: Any, path: Path, notes: Mapping[str, str] | None = None
) -> None:
    """Write a model, in evaluation mode and on the CPU, as a program, and check it.

    The program is checked before it is written: on the first items of ``xb``, and on one alone, it
    must give what the model gives.

    Args:
        model: it stays as it is.
        xb: an input of the model, with at least one item.
        path: of the file, whose ending says the format.
        notes: texts by name, kept in the file.

    Raises:
        ValueError: the model cannot be turned into a program, takes batches of one size only, or
            the program gives something else than the model.
    """
    model = copied_to_cpu(bare(model)).eval()
    example, single = (_items(copied_to_cpu(xb), n) for n in (_EXAMPLE, 1))
    program = _traced(model, example)
    if path.suffix == ".onnx":
        proto = _onnx(program)
        for name, text in (notes or {}).items():
            proto.metadata_props.add(key=name, value=text)
        content, run = proto.SerializeToString(), _onnx_runner(proto)
    else:
        file = io.BytesIO()
        torch.export.save(program, file, extra_files=dict(notes or {}))
        content, run = file.getvalue(), partial(call, program.module())
    for batch in (example, single):
        _compare(model, run, batch)
    save_file(path, content)


_EXAMPLE = 2  # items: torch takes a batch of one for one that is never larger


def _items(xb: Any, n: int) -> Any:
    """So many items of a batch, the first repeated if it has fewer; other tensors stay."""
    items = item_count(xb)
    if not items:
        raise ValueError("the first batch has no items, so nothing can be tried. Give another.")

    def some(tensor: Tensor) -> Tensor:
        whole = tensor.ndim and len(tensor) == items
        return tensor[torch.arange(n) % items] if whole else tensor

    return map_tensors(some, xb)


def _traced(model: nn.Module, xb: Any) -> Any:
    positional, named = arguments_of(xb)
    args, kwargs = tuple(positional), dict(named)
    shapes = import_module("torch.export").ShapesCollection()
    for tensor in tensors_in(xb):
        if tensor.ndim and len(tensor) == _EXAMPLE:
            shapes[tensor] = {0: torch.export.Dim.AUTO}
    try:
        with torch.no_grad():
            dynamic = shapes.dynamic_shapes(model, args, kwargs)
            return torch.export.export(model, args, kwargs, dynamic_shapes=dynamic)
    except Exception as error:  # whatever torch, or the model, has to say
        raise ValueError(
            "torch.export cannot turn the model into a program: "
            f"{type(error).__name__}: {_first_line(error)} See in torch.export's "
            "documentation what a model's forward may do."
        ) from error


def _onnx(program: Any) -> Any:
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # of packages that are not needed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of its own functions
            return torch.onnx.export(program, dynamo=True, verbose=False).model_proto  # type: ignore[reportOptionalMemberAccess]
    except Exception as error:
        raise ValueError(
            f"torch.onnx cannot write the model: {type(error).__name__}: {_first_line(error)} "
            "Export it as .pt2."
        ) from error
    finally:
        log.setLevel(level)


def _onnx_runner(proto: Any) -> Any:
    """A function that runs the program: in onnxruntime if it is installed, else in onnx's own."""
    names = [value.name for value in proto.graph.input]
    if find_spec("onnxruntime"):
        run = import_module("onnxruntime").InferenceSession(proto.SerializeToString()).run
    else:
        run = import_module("onnx.reference").ReferenceEvaluator(proto).run

    def runner(xb: Any) -> list[Tensor]:
        feed = {n: t.numpy() for n, t in zip(names, tensors_in(xb), strict=True)}
        return [torch.as_tensor(out) for out in run(None, feed)]

    return runner


def _compare(model: nn.Module, run: Any, xb: Any) -> None:
    with torch.no_grad():
        expected = list(tensors_in(call(model, xb)))
        try:
            got: Sequence[Tensor] = list(tensors_in(run(xb)))
        except Exception as error:
            raise ValueError(
                f"the program takes no batch of {item_count(xb)}: {_first_line(error)} Does the "
                "model's forward use the number of items as a constant?"
            ) from error
    try:
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"the program gives something else than the model: {_first_line(error)} Does the model "
            "draw random numbers in evaluation mode, or depend on something outside it?"
        ) from error


def _first_line(error: BaseException) -> str:
    line = (str(error).strip() or "no message").splitlines()[0].strip()
    return line if line.endswith((".", "!", "?")) else f"{line}."
