"""Words from files, fit for a terminal and for a spreadsheet: there they are words and no more."""

import re
from typing import Any

_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f"
_INVISIBLE = (
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"  # among them: right to left
)
_UNFIT = re.compile(f"[{_CONTROL}{_INVISIBLE}]")
_UNFIT_IN_A_LINE = re.compile(f"[{_CONTROL}{_INVISIBLE}\t\n]")
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def printable(text: str, *, one_line: bool = False) -> str:
    """``text`` with everything that a terminal would obey written out, like ``\\x1b``.

    What is read from a file may hold the codes that clear a screen, hide a line, retitle the window
    or turn the direction of writing.

    Args:
        text: to be printed.
        one_line: write out tabs and new lines, too.

    Example:
        >>> print(printable("cat\\x1b[2J"), printable("a\\nb", one_line=True))
        cat\\x1b[2J a\\nb
    """
    return (_UNFIT_IN_A_LINE if one_line else _UNFIT).sub(_written_out, text)


def safe_cell(value: Any) -> Any:
    """``value`` for a CSV that a spreadsheet will open: a text that it would take for a formula
    gets a quote before it, which makes it a text.

    Spreadsheets run what begins with ``=``, ``+``, ``-`` or ``@``, or with a tab or a new line
    before it. Numbers stay numbers, also those that are written as text.

    Example:
        >>> safe_cell("=1+1"), safe_cell("-1.5"), safe_cell(-1.5), safe_cell("a-b")
        ("'=1+1", '-1.5', -1.5, 'a-b')

    Reference:
        OWASP, "CSV Injection".
    """
    is_formula = isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if is_formula else value


def _written_out(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
