"""Pages and their parts, from the templates in this folder."""

from functools import cache
from typing import TYPE_CHECKING, Any, cast

from markupsafe import Markup

from lehr.base.html import environment
from lehr.base.numbers import plain
from lehr.report.pictures import data_uri
from lehr.report.readings import MOST
from lehr.report.words import date, number, percent

if TYPE_CHECKING:
    from jinja2 import Environment


def page(template: str, /, **values: Any) -> str:
    """A whole page.

    Args:
        template: name of a file in ``templates``.
        values: text, which is escaped, or markup, which is not; None is nothing.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    return templates().get_template(template).render(values)


def part(template: str, macro: str, /, *values: Any, **named: Any) -> Markup:
    """A part of a page: what one macro of a template makes of its arguments.

    Args:
        template: name of a file in ``templates``.
        macro: name of a macro in it.
        values: arguments of the macro, as for `page`.
        named: more of them.

    Example:
        >>> print(part("curves.html", "plot", label="a < b", attributes="", drawing=""))
        <svg role="img" aria-label="a &lt; b"></svg>
    """
    return getattr(templates().get_template(template).module, macro)(*values, **named)


def marked(words: str, best: bool) -> Markup:
    """A cell of a table, in bold type if it is the best of its kind.

    Example:
        >>> print(marked("0.9 < 1", best=True))
        <span class="best">0.9 &lt; 1</span>
    """
    return Markup('<span class="best">{}</span>' if best else "<span>{}</span>").format(words)


@cache
def templates() -> "Environment":
    """The templates, with the filters that they use.

    Example:
        >>> templates().from_string("{{ share | percent }}").render(share=0.5)
        '50.0 %'
    """
    from jinja2 import PackageLoader

    jinja = environment(PackageLoader("lehr.report"))
    filters = {"data_uri": data_uri, "date": date, "number": number, "percent": percent}
    cast("dict[str, Any]", jinja.globals)["most_readings"] = MOST
    jinja.filters.update(filters, plain=plain, grouped="{:,}".format)
    return jinja
