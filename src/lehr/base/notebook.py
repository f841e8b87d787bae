"""Where the program runs: in a notebook, at a prompt, or as a script."""

import sys
from typing import Any


def ipython_shell() -> Any:
    """The IPython shell that this program runs in, or None.

    Example:
        >>> ipython_shell() is None
        True
    """
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


def in_notebook() -> bool:
    """Whether output is shown in a notebook."""
    shell = ipython_shell()
    return shell is not None and "IPKernelApp" in shell.config


def is_interactive() -> bool:
    """Whether this runs at an interactive prompt, of Python or of IPython."""
    return hasattr(sys, "ps1") or ipython_shell() is not None
