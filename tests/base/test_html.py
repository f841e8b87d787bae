"""HTML from templates, in which nothing is forgotten to be escaped or to be given."""

import ast
import re
from pathlib import Path

import pytest
from jinja2 import DictLoader, UndefinedError
from markupsafe import Markup

import lehr
from lehr.base.html import environment, fill, lines, presentable

HOSTILE = "<script>alert('x')</script> & \"quotes\""
TOLD = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;quotes&#34;"


def test_everything_is_escaped_once():
    made = fill('<p title="{{ text }}">{{ text }}</p>', text=HOSTILE)
    assert made == f'<p title="{TOLD}">{TOLD}</p>'
    assert fill("<b>{{ inner }}</b>", inner=made) == f"<b>{made}</b>"
    assert isinstance(made, Markup)
    assert fill("{{ text }}", text=Markup(HOSTILE)) == HOSTILE  # the control: what is trusted


def test_what_only_claims_to_be_markup_is_escaped():
    class Claims:
        def __html__(self):
            return HOSTILE

        def __str__(self):
            return "<claim>"

    assert fill("{{ text }}", text=Claims()) == "&lt;claim&gt;"


def test_everything_must_be_given_and_none_is_nothing():
    with pytest.raises(UndefinedError, match="'text' is undefined"):
        fill("{{ text }}")
    with pytest.raises(UndefinedError, match="'text' is undefined"):
        fill("{% if text %}{% endif %}")
    assert fill("<p>{{ text }}</p>", text=None) == "<p></p>"
    assert fill("{{ n }}", n=0) == "0"


def test_characters_that_no_file_can_hold():
    marked = "\N{REPLACEMENT CHARACTER}"
    broken = fill("{{ text }}", text="a\udcff\x00\x1b\rb\t\n")
    assert broken == f"a?{marked}{marked}{marked}b\t\n"
    assert broken.encode("utf-8").decode("utf-8") == broken
    assert fill("{{ text }}", text=Markup("<b>\x00\udcff</b>")) == f"<b>{marked}?</b>"
    assert isinstance(presentable(Markup("<b>\x00</b>")), Markup)


def test_texts_stand_on_lines_of_their_own():
    assert lines([]) == ""
    assert lines(["<1>"]) == "&lt;1&gt;"
    assert lines(["a", "b\x00", "c"]) == "a<br>b\N{REPLACEMENT CHARACTER}<br>c"


def test_templates_with_names_are_read_alike():
    named = environment(DictLoader({"a.txt": "{{ text }}", "b.html": "{% include 'a.txt' %}"}))
    assert named.get_template("a.txt").render(text="<") == "&lt;"
    assert named.get_template("b.html").render(text="<\x00") == "&lt;\N{REPLACEMENT CHARACTER}"
    assert environment() is environment()


TRUSTING = ("base/html", "report/plots")
"""Who may call something markup that does not stand in the code: a template's and a plot's."""


def trusted(tree):
    """What code calls markup without its being a text that stands there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Markup"):
            yield from (a for a in node.args if not isinstance(a, (ast.Constant, ast.IfExp)))


def spliced(tree):
    """Tags in texts that have values put into them without a template."""
    for node in ast.walk(tree):
        texts = node.values if isinstance(node, ast.JoinedStr) else ()
        texts = (node.left, node.right) if isinstance(node, ast.BinOp) else texts
        for text in texts:
            if isinstance(text, ast.Constant) and re.search("</?[a-z]+[ />]", str(text.value)):
                yield text.value


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (getattr(node, "module", None), *(alias.name for alias in node.names))


def test_nobody_makes_html_in_another_way():
    source = Path(lehr.__file__).parent
    for path in source.rglob("*.py"):
        tree, room = (
            ast.parse(path.read_text()),
            path.relative_to(source).with_suffix("").as_posix(),
        )
        assert not {"html", "xml.sax.saxutils"} & set(imported(tree)), room
        assert not list(spliced(tree)), room
        assert room in TRUSTING or not list(trusted(tree)), room


def test_other_ways_are_seen():
    assert "html" in imported(ast.parse("from html import escape"))
    assert list(trusted(ast.parse("Markup(text)")))
    assert not list(trusted(ast.parse('Markup("<b>{}</b>").format(text)')))
    assert list(spliced(ast.parse('f"<b>{text}</b>"')))
    assert list(spliced(ast.parse('"<b>" + text')))
    assert list(spliced(ast.parse('"<b>%s</b>" % text')))
