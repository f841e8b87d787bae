"""Which line of the user's own code an error comes from."""

import re
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from traceback import FrameSummary

_FRAME = re.compile(r'^ *File "(.+?)", line (\d+), in (\S+)\n(?: +(\S.*))?', re.M)
_LEHR = Path(__file__).parents[1]


def own_line(frames: Iterable[FrameSummary]) -> str | None:
    """The innermost of these lines that is in no installed package, nor in Python, nor in lehr.

    Args:
        frames: the outermost first.

    Returns:
        File, line, function and what is written there; None if there is no such line.

    Example:
        >>> import sysconfig
        >>> mine = FrameSummary("photos.py", 14, "__getitem__", line="return open(path)")
        >>> pythons = FrameSummary(f"{sysconfig.get_path('stdlib')}/io.py", 1, "open", line="pass")
        >>> own_line([mine, pythons])
        'photos.py:14, in __getitem__: return open(path)'
    """
    others = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    own = [frame for frame in frames if not _is_below(frame.filename, [_LEHR, *others])]
    if not own:
        return None
    last = own[-1]
    written = f": {last.line}" if last.line else ""
    return f"{last.filename}:{last.lineno}, in {last.name}{written}"


def frames_in(text: str) -> list[FrameSummary]:
    """The frames of a traceback that was printed.

    Example:
        >>> frames_in('Traceback:\\n  File "a.py", line 3, in f\\n    return g()\\nValueError: no')
        [<FrameSummary file a.py, line 3 in f>]
    """
    return [
        FrameSummary(file, int(number), name, lookup_line=False, line=line or "")
        for file, number, name, line in _FRAME.findall(text)
    ]


def _is_below(file: str, folders: Iterable[Path]) -> bool:
    if file.startswith("<frozen "):
        return True
    return any(Path(file).is_relative_to(folder) for folder in folders)
