"""Paths as people write them."""

import os
from pathlib import Path


def path_of(path: str | os.PathLike[str], *below: str) -> Path:
    """The path that somebody means; ``~`` at its beginning is the home folder, as in a shell.

    Whatever takes a path from outside makes it by this.

    Args:
        path: as it was given; ``~name`` is the home folder of that user, if there is one.
        *below: parts that follow.

    Example:
        >>> path_of("~/photos") == Path.home() / "photos", path_of("a", "b.csv").as_posix()
        (True, 'a/b.csv')
    """
    whole = Path(path, *below)
    if not os.fspath(path).startswith("~"):
        return whole  # so that "./~" is what is called so
    try:
        return whole.expanduser()
    except RuntimeError:  # there is no such user
        return whole
