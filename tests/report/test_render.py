"""The templates of the pages, and how they are filled."""

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from lehr.report.render import marked, page, part, templates

FOLDER = files("lehr.report") / "templates"
NAMES = sorted(file.name for file in FOLDER.iterdir() if file.name.endswith(".html"))


def filled(template, **values):
    return templates().from_string(template).render(values)


SHEET = """{% extends "sheet.html" %}
{% block title %}{{ title }}{% endblock %}
{% block main %}<p class="prose">{{ text }}</p>{% endblock %}
"""


def test_a_sheet_is_one_file_that_runs_nothing():
    made = filled(SHEET, title="<&>", text="a < b")
    assert made.startswith('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">')
    assert made.endswith("</html>\n")
    assert "<title>&lt;&amp;&gt;</title>" in made
    assert '<p class="prose">a &lt; b</p>' in made
    assert "default-src 'none'" in made
    assert (FOLDER / "style.css").read_text(encoding="utf-8") in made


def section(content):
    call = '{% from "parts.html" import section %}{% call section("x") %}{{ y }}{% endcall %}'
    return filled(call, y=content)


def test_a_section_without_content_is_left_out():
    assert section(None) == section(" \n") == ""
    assert section("<y>").strip() == "<section><h2>x</h2>&lt;y&gt;</section>"


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.cells = []

    def handle_starttag(self, name, attributes):
        if name in ("th", "td"):
            self.cells.append((name, dict(attributes).get("scope")))


def table(head, rows):
    return part("parts.html", "table", head, rows, "x < y", "book")


def test_tables_have_scopes():
    parser = Cells()
    parser.feed(table(["a", "b"], [["1", "2"]]))
    assert parser.cells == [("th", "col"), ("th", "col"), ("th", "row"), ("td", None)]
    made = table(["a"], [])
    assert "<caption>x &lt; y</caption>" in made
    assert 'aria-label="x &lt; y"' in made
    assert '<table class="book">' in made
    assert "<thead>" not in table([], [["1"]])


def test_cells_are_text_or_markup():
    made = table(["<a>"], [["<b>", "<c>", marked("<d>", best=False), marked("{<e>}", best=True)]])
    assert re.findall("<t[hd](?: [^>]*)?>(.*?)</t[hd]>", made) == [
        "&lt;a&gt;",
        "&lt;b&gt;",
        "&lt;c&gt;",
        "<span>&lt;d&gt;</span>",
        '<span class="best">{&lt;e&gt;}</span>',
    ]


def test_facts_are_a_table_or_nothing():
    assert part("parts.html", "facts", [], "x") == ""
    assert '<table class="book facts">' in part("parts.html", "facts", [("a", "b")], "x")


def test_parts_are_markup_and_pages_are_text():
    assert isinstance(part("curves.html", "plot", "", "", ""), Markup)
    assert part("curves.html", "plot", "<", "<", "<").count("&lt;") == 3
    assert part("curves.html", "plot", "", "", Markup("<g/>")) == (
        '<svg role="img" aria-label=""><g/></svg>'
    )


def test_a_value_that_is_not_given_is_an_error():
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        page("report.html")
    with pytest.raises(UndefinedError, match="parameter 'kind' was not provided"):
        part("parts.html", "table", ["a"], [], "x")


def unquoted(source):
    """Tags with an attribute whose value is not in double quotes, of a template."""
    source = re.sub(r"\{%.*?%\}|\{#.*?#\}", "", source, flags=re.S)
    source = re.sub(r"\{\{.*?\}\}", "value", source, flags=re.S)
    tags = [re.sub(r'="[^"]*"', "", tag) for tag in re.findall(r"<[a-z][^>]*>", source)]
    return [tag for tag in tags if re.search(r"[=\"']", tag)]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_trusted_and_every_attribute_is_quoted(name):
    source = (FOLDER / name).read_text(encoding="utf-8")
    assert templates().get_template(name)
    assert not re.search(r"\|\s*(safe|forceescape|xmlattr)\b|autoescape", source)
    assert not unquoted(source)


def test_what_is_not_quoted_is_seen():
    assert unquoted("<p class={{ a }}>")
    assert unquoted("<p class='{{ a }}'>")
    assert not unquoted('<p class="{{ a["b"] }}" style="--a: {{ b }}" hidden>')


def test_there_are_templates():
    assert {"report.html", "comparison.html", "sheet.html", "parts.html"} <= set(NAMES)
