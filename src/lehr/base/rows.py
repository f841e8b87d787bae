"""Rows shown as lines of text and as HTML: those of a history, and any others of texts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lehr.base.html import fill
from lehr.base.numbers import plain

if TYPE_CHECKING:
    from markupsafe import Markup

Row = Mapping[str, Any]
_WIDTH = 10

_TABLE = (
    "<table><thead><tr>{% for name in head %}<th>{{ name }}</th>{% endfor %}</tr></thead><tbody>"
    "{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}"
    "</tbody></table>"
)


def columns(row: Row) -> list[str]:
    """The columns worth a reader's eye, losses first and the time last.

    Example:
        >>> columns({"epoch": 0, "step": 9, "seconds": 1.0, "accuracy": 0.5, "train_loss": 2.3})
        ['epoch', 'train_loss', 'accuracy', 'seconds']
    """
    first = [name for name in ("epoch", "train_loss", "valid_loss") if name in row]
    rest = [name for name in row if name not in (*first, "step", "seconds")]
    return [*first, *rest, *(name for name in ("seconds",) if name in row)]


def fitting(names: Sequence[str], width: int) -> list[str]:
    """The columns that a line of ``width`` characters has room for, the most telling ones kept.

    The epoch stays whatever the width. Then come the validation loss, the metrics in their order,
    the training loss and the time, each if there is room.

    Args:
        names: those of all columns.
        width: of a line.

    Example:
        >>> names = ["epoch", "train_loss", "valid_loss", "accuracy", "seconds"]
        >>> fitting(names, 80) == names, fitting(names, 40)
        (True, ['epoch', 'valid_loss', 'accuracy'])
    """
    last = [name for name in ("train_loss", "seconds") if name in names]
    kept = names[:1]
    for name in [*(name for name in names[1:] if name not in last), *last]:
        wider = [one for one in names if one in (*kept, name)]
        if len(_line(wider, dict.fromkeys(wider, ""))) <= width:
            kept = wider
    return list(kept)


def cell(name: str, value: Any) -> str:
    """One value as text: time as minutes and seconds, a missing value as a dash.

    Example:
        >>> cell("seconds", 75.4), cell("accuracy", 0.91234), cell("epoch", 3), cell("x", None)
        ('1:15', '0.9123', '3', '–')
    """
    if value is None:
        return "–"
    if name == "seconds":
        return f"{int(value) // 60}:{int(value) % 60:02d}" if value >= 10 else f"{value:.2f}s"
    if isinstance(value, float):
        size = abs(value)
        if size >= 1e5:
            return plain(value)
        return f"{value:.4f}" if size >= 1e-3 or not value else f"{value:.3g}"
    return str(value)


def header(names: Sequence[str]) -> str:
    """The line above the rows.

    Example:
        >>> header(["epoch", "train_loss", "seconds"])
        'epoch  train_loss        time'
    """
    return _line(names, {name: "time" if name == "seconds" else name for name in names})


def line(names: Sequence[str], row: Row) -> str:
    """One row, aligned under `header`.

    Example:
        >>> row = {"epoch": 0, "train_loss": 0.5, "seconds": 1.0}
        >>> line(["epoch", "train_loss", "seconds"], row)
        '    0      0.5000       1.00s'
    """
    return _line(names, {name: cell(name, row.get(name)) for name in names})


def _line(names: Sequence[str], cells: Mapping[str, str]) -> str:
    widths = {name: 5 if name == "epoch" else max(_WIDTH, len(name)) for name in names}
    return "  ".join(f"{cells[name]:>{widths[name]}}" for name in names)


def aligned(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> list[str]:
    """Rows of texts as lines, each column as wide as its widest cell.

    Args:
        head: names of the columns.
        rows: as many texts each.
        right: names of the columns that end, not begin, at one place.

    Example:
        >>> aligned(["layer", "n"], [["a", "1"], ["b", "20"]], right=["n"])
        ['layer   n', 'a       1', 'b      20']
    """
    widths = [max(map(len, cells)) for cells in zip(head, *rows, strict=True)]
    signs = [">" if name in right else "<" for name in head]
    return [
        "  ".join(
            f"{cell:{sign}{width}}" for cell, sign, width in zip(row, signs, widths, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]


def narrowed(
    head: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, least: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """A table without the columns that it does not need, if its lines are too long for a place.

    Args:
        head: names of the columns.
        rows: as many texts each.
        width: of the place, in characters.
        least: columns that may be left out, that which goes first before the others.

    Example:
        >>> narrowed(["layer", "mean", "std"], [["a", "1", "2"]], 12, least=["std", "mean"])
        (['layer', 'mean'], [['a', '1']])
    """
    head, rows = list(head), [list(row) for row in rows]
    for name in least:
        if max(map(len, aligned(head, rows))) <= width:
            break
        at = head.index(name)
        head, rows = head[:at] + head[at + 1 :], [row[:at] + row[at + 1 :] for row in rows]
    return head, rows


def markup(head: Sequence[str], rows: Sequence[Sequence[str]]) -> "Markup":
    """Rows of texts as an HTML table.

    Example:
        >>> print(markup(["n"], [["<1"]]))
        <table><thead><tr><th>n</th></tr></thead><tbody><tr><td>&lt;1</td></tr></tbody></table>
    """
    return fill(_TABLE, head=head, rows=rows)


def html_rows(rows: Sequence[Row]) -> "Markup":
    """All rows as an HTML table.

    Example:
        >>> print(html_rows([{"epoch": 0}]))
        <table><thead><tr><th>epoch</th></tr></thead><tbody><tr><td>0</td></tr></tbody></table>
    """
    merged: dict[str, Any] = {}
    for row in rows:
        merged.update(row)
    names = columns(merged)
    head = ["time" if name == "seconds" else name for name in names]
    return markup(head, [[cell(name, row.get(name)) for name in names] for row in rows])
