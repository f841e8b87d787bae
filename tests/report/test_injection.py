"""Whatever is put into a page are words: no place in it takes an element, an attribute or a style.

A page is made of a record in which every name, every setting and every message is hostile. It must
have, tag by tag, the outline of a page whose words are harmless, and say each word as it was.
"""

import math
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from lehr.base import rows
from lehr.base.html import lines, presentable
from lehr.report import Evaluation, Mistake, RunRecord, compare
from lehr.report.comparison_page import comparison_page
from lehr.report.page import report
from lehr.report.record import Points
from lehr.report.render import part

PAYLOADS = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//x.y></sCrIpT>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</pre></td></table></section></main>",
    "</svg><svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<img src=x onerror=alert(1)>",
    "<img src=x onerror=alert(1)//",
    '"><img src=x onerror=alert(1)>',
    "'><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    '" style="position:fixed;inset:0',
    "` onmouseover=`alert(1)",
    "x onmouseover=alert(1) y",
    'a" autofocus onfocus=alert(1) b="',
    "<a href=javascript:alert(1)>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=x></object><embed src=x>",
    "<base href=//x.y><link rel=stylesheet href=x>",
    "<meta http-equiv=refresh content=0;url=//x.y>",
    "<form action=//x.y><input name=a autofocus>",
    "<style>*{display:none}</style>",
    "<math><mi xlink:href=javascript:alert(1)>x</mi></math>",
    "<details open ontoggle=alert(1)>",
    "<b>bold</b><br/><!-- a comment",
    "--><script>alert(1)</script><!--",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo 1 ?><!doctype html>",
    "<\x00script>alert(1)</\x00script>",
    "<scr\x1bipt>\x0b\x0c\r</script>\x7f\x85",
    "lone \udcff\ud800 surrogates <b>",
    "＜script＞ \u2028\u2029\u202e\ufeff<i>",
    "&lt;script&gt; &amp;lt; &#60;b&#62; &quot; &notin;",
    "&",
    "<",
    "\"'<>&",
    "{{ 7 * 7 }}{% raw %}{# #}<u>",
    "{} {0} {0.__class__} %s %(x)s <u>",
    "$\\bad$ \\<b> \\u003cb\\u003e",
    "data:text/html,<script>alert(1)</script>",
    "--a: 0; background: url(//x.y) <b>",
    "x" * 200 + "<b>",
]


class Words:
    """Hands out words, each once: what is hostile, and then the run's letter and a number."""

    def __init__(self, hostile, letter):
        self.hostile, self.letter, self.count = hostile, letter, 0
        self.always, self.reported = [], []

    def __call__(self, text=None):
        """A word that every page must show as it is."""
        self.always.append(self.somehow(text))
        return self.always[-1]

    def reported_only(self, text=None):
        """A word that a report must show as it is; a comparison may leave it out."""
        self.reported.append(self.somehow(text))
        return self.reported[-1]

    def somehow(self, text=None):
        """A word that a page may show quoted or cut."""
        self.count += 1
        text = self.hostile if text is None else text
        return type(self.hostile)(f"{text} {self.letter}{self.count}.")

    def undivided(self):
        """What is hostile, without a slash, which divides the name of a metric."""
        return self.hostile.replace("/", "|")

    def file(self):
        """What is hostile, as a file may be called."""
        text = self.undivided().replace("\0", "")
        return text.encode("utf-8", "ignore").decode("utf-8")


NAN = [math.nan, math.nan]  # nothing to draw, which would take its time and has its own test


def record(word, classes):
    """A run that is hostile in every place."""
    metric, divided = word(word.undivided()), f"{word.somehow()}/m"
    facts = {"index": 0, "truth": 0, "predicted": 1, "p_truth": 0.1, "p_predicted": 0.9}
    picture = torch.zeros(2, 2, 3, dtype=torch.uint8)
    return RunRecord(
        path=Path(word(word.file())),
        config={
            "status": word.somehow(),
            "started": word.somehow(),
            "stop_reason": word.reported_only(),
            "error": f"{word.reported_only()}\n{word.reported_only()}",
            "lehr": word(),
            "settings": {
                "data": word(),
                "model": word(),
                "seed": word(),
                "epochs": word(),
                "batch_size": word(),
                "command": ["lehr", word.somehow()],
                word(): word(),
                "nested": {word(): word(), "deeper": {word(): word()}},
                "listed": [word.somehow()],
            },
            "preparation": {word(): word(), "kind": word(), "list": [word.somehow()]},
        },
        environment={"python": word(), "device": word(), word(): {word(): word()}},
        rows=[
            {"epoch": epoch, metric: math.nan, divided: math.nan, "note": word.reported_only()}
            for epoch in range(2)
        ],
        series={"loss": Points([0, 1], NAN), **{word(): Points([0, 1], NAN) for _ in range(3)}},
        evaluation=Evaluation(
            loss=0.5,
            confusion=torch.ones(len(classes), len(classes), dtype=torch.int64),
            classes=classes,
            mistakes=(
                Mistake(**facts, text=word.reported_only()),
                Mistake(**facts, picture=picture),
            ),
        ),
        weights=Path(word.reported_only(word.file())),
    )


def pages(hostile, c):
    """A report and a comparison, each with the words that it must show."""
    words = [Words(hostile, letter) for letter in "abc"]
    classes = tuple(words[2]() for _ in range(c))
    first, second = (record(word, classes) for word in words[:2])
    yield report(first), [*words[0].always, *words[0].reported, *classes]
    yield comparison_page(compare(first, second)), [w for word in words for w in word.always]


class Outline(HTMLParser):
    """Tags with their attributes, comments and declarations; and, apart from them, the words."""

    SAID = ("title", "alt", "aria-label")

    def __init__(self, page):
        super().__init__()
        self.outline, self.words = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, name, attributes):
        shown = [(key, None if key in self.SAID else value) for key, value in attributes]
        self.words += [value for key, value in attributes if key in self.SAID]
        self.outline.append((name, shown))

    def handle_endtag(self, name):
        self.outline.append(f"/{name}")

    def handle_data(self, text):
        self.words.append(text)

    def note(self, text):
        self.outline.append(text)

    handle_comment = handle_decl = handle_pi = unknown_decl = note


def said(outline):
    return "\n".join(outline.words)


@cache
def harmless_outlines(c):
    return [Outline(page).outline for page, _ in pages("harmless", c)]


def hold(hostile, c=5):
    """Assert that two pages with what is hostile in every place hold; in how many they do."""
    held = 0
    for (page, words), outline in zip(pages(hostile, c), harmless_outlines(c), strict=True):
        found = Outline(page)
        assert found.outline == outline
        shown = said(found)
        for word in words:
            assert presentable(word) in shown
        page.encode("utf-8")
        held += len(words)
    return held


@pytest.mark.parametrize("hostile", PAYLOADS)
def test_no_page_takes_a_word_for_markup(hostile):
    assert hold(hostile) * len(PAYLOADS) > 3805


@pytest.mark.parametrize("hostile", PAYLOADS[::6])
def test_no_map_of_many_classes_does(hostile):
    assert hold(hostile, c=26) > 100


@pytest.mark.parametrize("hostile", PAYLOADS)
def test_no_plot_and_no_small_table_does(hostile):
    def made(word):
        yield part("curves.html", "plot", label=word, attributes="", drawing="")
        yield rows.markup([word, "b"], [[word, "1"], ["a", word]])
        yield rows.html_rows([{"epoch": 0, word: word}])
        yield f"<p>{lines([word, word])}</p>"

    for page, plain in zip(made(hostile), made("harmless"), strict=True):
        found = Outline(page)
        assert found.outline == Outline(plain).outline
        assert presentable(hostile) in said(found)


SIGNS = "<>\"'&/=!-?[]{}%#;:`\\ \n\t\r\x00\x0b\x1b\x7f\x85\u2028\ud800\udfffabcsxSX39"


@pytest.mark.slow
@given(st.text(st.sampled_from(SIGNS), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_page_takes_any_text_for_markup(hostile):
    hold(hostile)


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</pre></td>"]
)
def test_what_is_taken_for_markup_is_seen(hostile):
    """The control: words that say of themselves that they are markup."""
    with pytest.raises(AssertionError):
        hold(Markup(hostile))
