from html.parser import HTMLParser

from lehr.report.markup import Html, join, table, tag, text


def test_everything_is_escaped_once():
    hostile = "<script>alert('x')</script> & \"quotes\""
    assert "<script" not in tag("p", hostile, title=hostile)
    assert tag("p", tag("b", "&")) == "<p><b>&amp;</b></p>"
    assert text(Html("<b>")) == "<b>"
    assert isinstance(text("x"), Html)


def test_attributes():
    made = tag("th", class_="a", aria_label='"', hidden=True, gone=None, off=False, n=3)
    assert made == '<th class="a" aria-label="&quot;" hidden n="3"></th>'
    assert tag("img", src="x") == '<img src="x">'
    assert tag("meta", name="viewport") == '<meta name="viewport">'


def test_characters_that_no_file_can_hold():
    broken = text("a\udcff\x00\x1bb\n")
    assert broken == "a?\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b\n"
    assert broken.encode("utf-8").decode("utf-8") == broken


def test_join_leaves_none_out():
    assert join() == ""
    assert join(None, 1, None, "<") == "1&lt;"


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, name, attributes):
        if name in ("th", "td"):
            self.found.append((name, dict(attributes).get("scope")))


def test_tables_have_scopes():
    parser = Cells()
    parser.feed(table(["a", "b"], [["1", "2"]], caption="x < y"))
    assert parser.found == [("th", "col"), ("th", "col"), ("th", "row"), ("td", None)]
    made = table(["a"], [], caption="x < y")
    assert "<caption>x &lt; y</caption>" in made
    assert 'aria-label="x &lt; y"' in made
    assert "<thead>" not in table([], [["1"]])
    assert 'aria-label="table"' in table([], [["1"]], caption=tag("b", "1"))
