"""What is needed to make again what ended a run, in one small file beside its checkpoints.

It holds no batch and no weights: it names the step, and the nearest checkpoint before it leads
there, bit for bit.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from lehr.base import strict_json
from lehr.base.files import replace_file
from lehr.base.stored import Form, Index

NAME = "failed.json"
"""the file's name; there is one, of the last failure"""

_FORMAT, _LARGEST, _LONGEST = "lehr capsule", 1 << 20, 10_000  # bytes; characters of one text


class Capsule(Form):
    """What a capsule says."""

    format: Literal["lehr capsule"]
    """what it is"""
    version: Annotated[int, Meta(ge=1, le=1, description="1")]
    """of the format"""
    run: str
    """the run that wrote it"""
    step: Index
    """optimizer steps done before"""
    epoch: Index
    """number of the epoch"""
    batch: Index | None
    """number of the batch in its pass; null in a validation between its batches"""
    error: str
    """class and text of the error, or why the run was stopped"""
    where: str
    """who was at work, and the shapes of the batch"""
    checkpoint: str | None
    """name of the newest checkpoint that was saved before"""
    settings: dict[str, Any]
    """what the course of the run depends on"""
    environment: dict[str, Any]
    """the versions and hardware"""
    doing: Literal["training", "reading", "validating"] = "training"
    """what was done with that batch"""


def write(folder: Path, **said: Any) -> Path:
    """Write a capsule, in the place of an older one; at every moment one of the two is there whole.

    Args:
        folder: of the run's checkpoints.
        **said: the fields of `Capsule`; long texts are cut.

    Raises:
        OSError: it cannot be written; an older one is as it was.
        TypeError, ValueError: something in it is no plain value, or it is too large.

    Example:
        >>> import tempfile
        >>> place = {"step": 9, "epoch": 1, "batch": 3}
        >>> said = {"run": "a", "error": "", "where": "", "checkpoint": None}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = write(Path(folder), **place, **said, settings={}, environment={})
        ...     read(Path(folder))["step"]
        9
    """
    cut = {k: v[:_LONGEST] if isinstance(v, str) else v for k, v in said.items()}
    data = strict_json.dump({"format": _FORMAT, "version": 1, **cut}, indent=1) + b"\n"
    if len(data) > _LARGEST:
        raise ValueError(f"{NAME} would take {len(data)} bytes; it may take {_LARGEST}.")
    replace_file(folder / NAME, data)
    return folder / NAME


def read(folder: Path) -> dict[str, Any] | None:
    """What the capsule in a folder of checkpoints says; None if there is none.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        said = strict_json.read(path, _LARGEST)
        Capsule.read(said, NAME)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}. Say which step is meant.") from error
    return dict(said)
