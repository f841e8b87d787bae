"""The frame of a page: one file that asks nothing of the network and runs nothing."""

from typing import Any

from lehr.report.markup import Html, join, tag
from lehr.report.style import CSS

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def sheet(title: str, *parts: Any) -> str:
    """A whole HTML document with the house's style in it.

    Example:
        >>> sheet("a & b", tag("p", "text"))[:15]
        '<!doctype html>'
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("title", title),
        tag("style", Html(CSS)),
    )
    body = tag("body", tag("main", *parts))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def section(title: str, *parts: Any) -> Html | None:
    """A numbered part of the page; None if there is nothing in it.

    Example:
        >>> print(section("Timing", tag("p", "1 s")))
        <section><h2>Timing</h2><p>1 s</p></section>
        >>> section("Empty", None) is None
        True
    """
    inner = join(*parts)
    return tag("section", tag("h2", title), inner) if inner else None


def prose(*parts: Any) -> Html:
    """A paragraph of the text's own width.

    Example:
        >>> print(prose("a < b"))
        <p class="prose">a &lt; b</p>
    """
    return tag("p", *parts, class_="prose")
