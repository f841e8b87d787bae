"""The first items of a training as its loader gives them, as a run folder keeps them."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from lehr.base import strict_json
from lehr.base.files import replace_file
from lehr.base.paths import path_of
from lehr.base.stored import Form, read
from lehr.data import DataLoader
from lehr.data.show import clipped, prepared
from lehr.errors import sentence
from lehr.learner import Learner
from lehr.report.pictures import as_picture, data_uri, in_words

_FILE = "first_items.json"
_LARGEST = 1 << 24  # bytes of JSON
_MOST = 12

_Picture = Annotated[
    str,
    Meta(pattern=r"^data:image/png;base64,[A-Za-z0-9+/=]*$", description="a PNG as a data address"),
]


class FirstItem(Form):
    """One item.

    Attributes:
        title: its target in a word; empty if it has none.
        text: the input in words, where there is no picture.
        picture: the input as a PNG in a ``data:`` address.
        small: whether its pixels are to be seen.
    """

    title: str
    text: str = ""
    picture: _Picture | None = None
    small: bool = False


def first_items(learn: Learner) -> list[FirstItem]:
    """Items of the first batch that a Learner is going to train on, at most twelve.

    Returns:
        Nothing if the loader is not lehr's own, which can be read without a trace at once, or if
        its first batch cannot be read: the training says so.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> first, *_ = first_items(tiny_learner())
        >>> first.title in ("0", "1"), len(first.text.split(", "))
        (True, 3)
    """
    loader, preparation = learn.data.train_dl, learn.data.preparation
    if not isinstance(loader, DataLoader):
        return []
    with suppress(Exception):
        when = {"seed": learn.seed, "epoch": learn.epochs_done}
        inputs, titles = prepared(loader, preparation, _MOST, **when)
        pairs = zip_longest(inputs, titles[: len(inputs)], fillvalue="")
        return [_item(x, title, preparation) for x, title in pairs]
    return []


def _item(x: Any, title: str, preparation: Any) -> FirstItem:
    picture = as_picture(x, preparation)
    if picture is None:
        return FirstItem(title, clipped(in_words(x, preparation), 200))
    return FirstItem(title, picture=data_uri(picture), small=max(picture.shape[:2]) <= 64)


def save(folder: str | Path, items: Sequence[FirstItem]) -> None:
    """Write ``first_items.json`` into a folder."""
    content = [item.to_dict() for item in items]
    replace_file(path_of(folder, _FILE), strict_json.dump(content, indent=None) + b"\n")


def load(folder: str | Path) -> list[FirstItem]:
    """Read what `save` wrote; nothing if there is nothing.

    Raises:
        ValueError: the file is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(folder, [FirstItem("seven", "0.5, 2")])
        ...     load(folder)
        [FirstItem(title='seven', text='0.5, 2', picture=None, small=False)]
    """
    path = path_of(folder, _FILE)
    if not path.exists():
        return []
    try:
        return read(list[FirstItem], strict_json.read(path, _LARGEST), "it")
    except ValueError as error:
        todo = "Remove it to do without."
        raise ValueError(f"{path} is damaged: {sentence(error)} {todo}") from error
