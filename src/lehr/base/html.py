"""HTML from templates: what is put in is escaped, unless it is markup already."""

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import BaseLoader, Environment, Template
    from markupsafe import Markup

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")  # all but tabs and new lines

_LINES = "{% for line in lines %}{{ line }}{% if not loop.last %}<br>{% endif %}{% endfor %}"


def fill(template: str, /, **values: Any) -> "Markup":
    """A piece of HTML: the text of a template with values put in.

    Args:
        template: in Jinja's language.
        values: text, which is escaped; or markup, which is not. None is nothing.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.

    Example:
        >>> bold = fill("<b>{{ word }}</b>", word="a < b")
        >>> print(fill("<p>{{ first }}, {{ second }}</p>", first="<i>", second=bold))
        <p>&lt;i&gt;, <b>a &lt; b</b></p>
    """
    from markupsafe import Markup

    return Markup(_compiled(template).render(values))


def lines(texts: Iterable[str]) -> "Markup":
    """Texts, each on a line of its own.

    Example:
        >>> print(lines(["a < b", "c"]))
        a &lt; b<br>c
    """
    return fill(_LINES, lines=texts)


@cache
def environment(loader: "BaseLoader | None" = None) -> "Environment":
    """How every template here is read: nothing can be forgotten to be escaped or to be given.

    Args:
        loader: finds the templates that have names; None if there are none.

    Example:
        >>> environment().from_string("{{ n }} {{ sign }}").render(n=1, sign="<")
        '1 &lt;'
    """
    from jinja2 import Environment, StrictUndefined

    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=presentable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def presentable(value: Any) -> str:
    """``value`` as text, without characters that no page can hold; markup stays markup.

    Control characters and lone surrogates become signs that stand for what cannot be shown.

    Example:
        >>> presentable(3), presentable(None), presentable("a\\x1b")
        ('3', '', 'a�')
    """
    from markupsafe import Markup

    if value is None:
        return ""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
    return Markup(text) if isinstance(value, Markup) else text


@cache
def _compiled(template: str) -> "Template":
    return environment().from_string(template)
