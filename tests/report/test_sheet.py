from lehr.report.sheet import prose, section, sheet
from lehr.report.style import CSS


def test_a_sheet_is_one_file_that_runs_nothing():
    made = sheet("<&>", prose("a < b"), None)
    assert made.startswith('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">')
    assert made.endswith("</html>\n")
    assert "<title>&lt;&amp;&gt;</title>" in made
    assert '<p class="prose">a &lt; b</p>' in made
    assert "default-src 'none'" in made
    assert CSS in made


def test_a_section_without_content_is_left_out():
    assert section("x", None, None) is None
    assert section("x", None, "y") == "<section><h2>x</h2>y</section>"
