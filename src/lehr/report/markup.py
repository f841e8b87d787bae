"""HTML made of calls, in which nothing can be forgotten to be escaped."""

from html import escape
from typing import Any

_VOID = ("img", "meta", "br", "hr", "col")


class Html(str):
    """Text that is markup already; everything else is escaped where it is put in.

    Example:
        >>> print(tag("p", "a < b", Html("<br>")))
        <p>a &lt; b<br></p>
    """

    __slots__ = ()


def text(value: Any) -> Html:
    """``value`` as it should be read: escaped, and without characters that no page can hold.

    Example:
        >>> print(text("<script>"), text(3))
        &lt;script&gt; 3
    """
    if isinstance(value, Html):
        return value
    clean = str(value).encode("utf-8", "replace").decode("utf-8")  # lone surrogates
    clean = "".join(c if c >= " " or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in clean)
    return Html(escape(clean))


def join(*parts: Any) -> Html:
    """All parts in a row; None is nothing.

    Example:
        >>> print(join("1 < 2", None, Html("<hr>")))
        1 &lt; 2<hr>
    """
    return Html("".join(text(part) for part in parts if part is not None))


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element; attributes that are None are left out, and True has no value.

    Args:
        name: of the element.
        children: markup, or anything else as text; None is nothing.
        attributes: ``class_`` stands for ``class``, ``aria_label`` for ``aria-label``.

    Example:
        >>> print(tag("td", "7", class_="n", hidden=None))
        <td class="n">7</td>
    """
    told = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{name}{told}>" + ("" if name in _VOID else f"{join(*children)}</{name}>"))


def table(
    head: list[Any], rows: list[list[Any]], *, caption: Any = None, class_: str = "book"
) -> Html:
    """A table that scrolls inside its own box; the first cell of a row is its heading.

    Example:
        >>> "<th scope=\\"row\\">lr</th>" in table(["name", "value"], [["lr", "0.1"]])
        True
    """
    heads = [tag("th", cell, scope="col") for cell in head]
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:]))
        for row in rows
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption) if caption else None,
            tag("thead", tag("tr", *heads)) if head else None,
            tag("tbody", *body),
            class_=class_,
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=_plain(caption) if caption else "table",
    )


def _plain(caption: Any) -> str:
    return "table" if isinstance(caption, Html) else str(caption)
