"""Reading files of weights, from any tool, without running any code that is in them."""

import os
import re
import reprlib
import warnings
import zipfile
import zlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from torch import Tensor

from lehr.base.reading import open_plain
from lehr.engine import ALONE, Engine
from lehr.state.disk import checkpoint, tensor_file
from lehr.types import is_mapping

_FILE = "model.safetensors"
_BYTES = re.compile(rb"c(?:__builtin__|builtins)\n(bytearray|bytes)\n")
_UNDER = ("state_dict", "model", "model_state_dict")


def read_weights(path: Path, engine: Engine = ALONE, *, in_parts: bool = False) -> dict[str, Any]:
    """The tensors in a file or folder by name, on the CPU; beside them what else a state holds.

    Args:
        path: a safetensors file, one of ``torch.save`` with a ``state_dict`` in it, or a folder
            with the file ``model.safetensors``; or a checkpoint, whose checksums must hold.
        engine: the processes that read it together: all of them must call this.
        in_parts: return `lehr.state.pieces.Pieces` where that can be, so that each process reads
            what it needs. Of a checkpoint that several processes wrote, tensors in parts are always
            such.

    Raises:
        ValueError: it is damaged, holds no weights, or would run code.
        OSError: it is not there, or cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "old.pt")
        ...     torch.save({"epoch": 3, "model": {"bias": torch.zeros(2)}}, path)
        ...     read_weights(path)
        {'bias': tensor([0., 0.])}
    """
    if path.is_dir():
        return _from_folder(path, engine, in_parts=in_parts)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there. Give a file of weights, or a checkpoint.")
    if not path.is_file():
        raise ValueError(f"{path} is no plain file. Give a file of weights, or a checkpoint.")
    if in_parts and _begins_with_a_header(path):
        return _mapped(path)
    data = _contents(path)
    if not data:
        raise _damaged(path, "it is empty")
    if data.startswith(b"{", 8):  # where the header of a safetensors file begins
        return _decoded(path, data)
    _refuse_bombs(path, data)
    del data
    return _state_dict(path, _unpickled(path))


def _begins_with_a_header(path: Path) -> bool:
    with open_plain(path) as file:
        return file.read(9).startswith(b"{", 8)


def _mapped(path: Path) -> dict[str, Any]:
    try:
        file = tensor_file.Mapped(path)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    return {name: file.pieces(name) for name in file.places}


def _contents(path: Path) -> bytearray:
    with open_plain(path) as file:
        data = bytearray(os.fstat(file.fileno()).st_size)
        view = memoryview(data)
        while view and (count := file.readinto(view)):
            view = view[count:]
    if view:
        raise _damaged(path, f"it ends {len(view)} bytes early")
    return data


def _decoded(path: Path, data: bytearray) -> dict[str, Any]:
    try:
        return dict(tensor_file.decode(data))
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} is damaged: {reason}. Restore it from a copy, or make it anew.")


def _from_folder(folder: Path, engine: Engine, *, in_parts: bool) -> dict[str, Any]:
    path, sealed = folder / _FILE, (folder / checkpoint.MANIFEST).exists()
    if sealed and (in_parts or not path.exists()):
        return checkpoint.open_weights(folder, engine)
    if not path.is_file():
        inner = sorted(one.parent.name for one in folder.glob(f"*/{_FILE}"))
        advice = f"Give one of the folders in it, e.g. {folder / inner[-1]}" if inner else ""
        raise ValueError(
            f"{folder} is a folder without {_FILE}, so it is no checkpoint. "
            f"{advice or 'Give a file of weights, or a checkpoint'}."
        )
    if in_parts:
        return _mapped(path)
    data = _contents(path)
    if sealed:
        vouched = checkpoint.read_manifest(folder)["files"][_FILE]
        if vouched != {"size": len(data), "crc32": f"{zlib.crc32(data):08x}"}:
            raise _damaged(path, f"it is not what {checkpoint.MANIFEST} vouches for")
    return _decoded(path, data)


def _refuse_bombs(path: Path, data: bytearray) -> None:
    """Refuse what takes more memory than the file has bytes; torch itself writes no such thing."""
    if asked := _BYTES.search(data):
        raise ValueError(
            f"{path} is refused: it is a pickle that asks for a {asked[1].decode()}, which can be "
            "of any size. Save the model's state_dict() by itself."
        )
    if data.startswith(b"PK\3\4"):
        try:
            with open_plain(path) as file, zipfile.ZipFile(file) as archive:
                packed = [x for x in archive.infolist() if x.file_size > x.compress_size]
        except zipfile.BadZipFile as error:
            raise _unknown(path) from error
        if packed:
            raise ValueError(
                f"{path} is refused: it is a zip with {packed[0].filename[:80]!r} compressed in "
                "it, which torch.save never does. Unpack it, or save the weights again."
            )


def _unpickled(path: Path) -> Any:
    try:
        with open_plain(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns of, it refuses as well
            return torch.load(file, map_location="cpu", weights_only=True)  # of a path: by ending
    except UnpicklingError as error:
        if named := re.search(r"GLOBAL (\S+) (was not|whose)", str(error)):
            raise ValueError(
                f"{path} is refused: it is a pickle that asks for {named[1]}, and loading such a "
                "file can run any code. If you trust the file, load it with "
                "torch.load(…, weights_only=False), and save the model's state_dict() by itself."
            ) from error
        raise _unknown(path) from error
    except Exception as error:  # what damaged bytes lead to
        if "TorchScript" in str(error):
            raise ValueError(
                f"{path} is refused: it is a TorchScript program, not weights alone. Load it with "
                "torch.jit.load, and save its state_dict() by itself."
            ) from error
        if isinstance(error, OSError):
            raise
        raise _unknown(path) from error


def _unknown(path: Path) -> ValueError:
    return ValueError(
        f"{path} cannot be read: it is no safetensors file and no whole file of torch.save. Is it "
        "damaged, or something else?"
    )


def _state_dict(path: Path, content: Any) -> dict[str, Any]:
    """The state_dict that ``content`` is, or that it holds."""
    under = [name for name in _UNDER if is_mapping(content) and is_mapping(content.get(name))]
    if len(under) > 1:
        raise ValueError(
            f"{path} holds more than one model: under {' and '.join(map(repr, under))}. Save the "
            "one that is meant by itself."
        )
    state = content[under[0]] if under else content
    names = cast("list[Any]", list(state)) if is_mapping(state) else []
    tensors = is_mapping(state) and any(isinstance(x, Tensor) for x in state.values())
    if not tensors or not all(isinstance(name, str) for name in names):
        holds = f"the keys {reprlib.repr(names)}" if names else f"a {type(state).__name__}"
        raise ValueError(
            f"{path} holds no weights by name, but {holds}. Give a file with a state_dict."
        )
    return dict(state)
