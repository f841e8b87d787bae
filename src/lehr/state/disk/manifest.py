"""What the manifest of a checkpoint must say; loads msgspec, so it is loaded where one is read."""

from typing import Annotated, Any

from msgspec import Meta

from lehr.base.stored import Count, Form, Index
from lehr.types import Stage


class Position(Form):
    """Which checkpoint it is, among others."""

    run: str
    """the run that wrote it"""
    serial: Count
    """its number in the folder"""
    step: Index
    """optimizer steps done"""
    epoch: Index
    """the epoch that it was written in"""


class Vouched(Form):
    """What the manifest says of another file."""

    size: Index
    """bytes"""
    crc32: Annotated[
        str, Meta(pattern=r"^[0-9a-f]{8}\Z", description="eight hexadecimal digits in lower case")
    ]
    """of all of them"""


class About(Form):
    """What it says besides, if a fit can go on from it; `lehr.loop.settings.manifest` makes it."""

    batch: Annotated[int, Meta(ge=-1, le=2**53, description="the number of a batch, or -1")]
    """the last of the epoch that was trained on"""
    stage: Stage
    """as in `lehr.loop.rests.Rest`"""
    at_epoch: Index
    """as its ``epoch``"""
    began_at: Index
    """optimizer steps that the Learner had made before the fit"""
    rewinds: Index
    """how often the run had gone back"""
    seed: int
    """of the run"""
    onlookers: tuple[str, ...]
    """the entries of callbacks that only looked on"""
    settings: dict[str, Any]
    """what the course of the run depends on"""
    environment: dict[str, Any] = {}
    """the versions and hardware"""
    attached: dict[str, str] = {}
    """how each callback showed itself, by the name of its entry"""
