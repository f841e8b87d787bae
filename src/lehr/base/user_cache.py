"""Where things are kept from one time to the next that could be had again."""

import os
from pathlib import Path

from lehr.base.paths import path_of


def user_cache(*below: str) -> Path:
    """The folder that the environment variable LEHR_CACHE names, else the system's usual place.

    That is ``~/.cache/lehr`` on Linux (or ``lehr`` in the folder that XDG_CACHE_HOME names),
    ``~/Library/Caches/lehr`` on macOS. It need not be there yet.

    Args:
        *below: folders in it.

    Example:
        >>> user_cache("images").name
        'images'
    """
    import pooch

    named = os.environ.get("LEHR_CACHE")
    return path_of(named or pooch.os_cache("lehr"), *below)
