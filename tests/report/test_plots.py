import math
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest

from lehr.report.plots import Line, plot, spans_orders, thin

SVG = "{http://www.w3.org/2000/svg}"


def drawn(lines, **kwargs):
    return plot(lines, **{"title": "loss", "xlabel": "batch", **kwargs})


def words(svg):
    return [element.text for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_it_is_well_formed_and_says_what_it_is():
    root = ET.fromstring(drawn([Line("a", [0, 1, 2], [3.0, 1.0, 2.0])], title='<a & "b">'))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == '<a & "b">: from 1 to 3'
    assert {"viewBox"} <= root.attrib.keys()
    assert not {"width", "height"} & root.attrib.keys()


def test_it_is_the_same_every_time_and_another_for_other_lines():
    def make(last):
        return drawn([Line("a", [0, 1], [3.0, last], 1), Line("b", [0], [2.0], 2, "points")])

    assert make(1.0) == make(1.0)
    assert make(1.0) != make(1.5)


def test_nothing_outside_is_asked_for_and_colours_are_the_pages_own():
    svg = drawn(
        [Line("a", [0, 1], [3.0, 1.0], 1, dashed=True), Line("b", [0, 1], [1, 2], 5, "raw")]
    )
    assert set(re.findall(r"https?://[^\"]+", svg)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert not re.search(r"metadata|<style|font-family|<!--", svg)
    assert {"var(--c1)", "var(--c5)", "var(--ink)", "var(--hair)"} <= set(
        re.findall(r"var\(--\w+\)", svg)
    )
    assert "stroke-dasharray" in svg


def test_ids_do_not_meet_those_of_another_plot():
    def ids(name):
        svg = drawn([Line("a", [0, 1], [3.0, 1.0])], name=name)
        found = set(re.findall(r' id="([^"]+)"', svg))
        used = {a or b for a, b in re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)", svg)}
        assert used == found
        return found

    assert ids("one")
    assert not ids("one") & ids("two")


def test_a_users_style_and_backend_change_nothing():
    lines = [Line("a", [0, 1], [3.0, 1.0])]
    plain = drawn(lines)
    backend = mpl.rcParams._get("backend")
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red"}):
        assert drawn(lines) == plain
        assert mpl.rcParams["font.size"] == 30
    assert mpl.rcParams._get("backend") == backend


def test_gaps_and_nothing_at_all():
    nan = math.nan
    assert "No finite value" in drawn([Line("a", [0, 1], [nan, math.inf])])
    assert "No finite value" in drawn([])
    assert drawn([Line("a", [0, 1, 2], [1.0, nan, 2.0])]).startswith("<svg")
    assert drawn([Line("a", [0], [1.0]), Line("b", [0], [nan])]).count("var(--c0)") >= 1


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_a_constant_is_in_the_middle(value):
    told = words(drawn([Line("a", [0, 1], [value] * 2)]))
    ticks = [float(word.replace("−", "-")) for word in told[told.index("batch") + 1 :]]
    assert len(ticks) > 2
    assert min(ticks) < value < max(ticks)


def test_logarithmic_only_where_asked_and_needed():
    steep = [Line("a", [0, 1, 2], [1000.0, 10.0, 0.1])]
    assert {"1", "10", "100"} <= set(words(drawn(steep, log=True)))
    assert "400" in words(drawn(steep))
    assert drawn([Line("a", [0, 1], [1.0, 2.0])], log=True) == drawn(
        [Line("a", [0, 1], [1.0, 2.0])]
    )
    assert not spans_orders([-1.0, 100.0])


def test_thin_keeps_the_extremes():
    y = [0.0] * 100_000
    y[77_777], y[5], y[6] = 9.0, -9.0, math.nan
    x, kept = thin(range(len(y)), y)
    assert len(x) <= 1200
    assert (max(kept), min(v for v in kept if v == v)) == (9.0, -9.0)
    assert x == sorted(x)
    assert x[kept.index(9.0)] == 77_777
    assert all(map(math.isnan, thin(range(5000), [math.nan] * 5000)[1]))
    assert len(drawn([Line("a", range(len(y)), y, 0, "raw")])) < 60_000


def test_large_numbers_are_written_out_at_an_axis():
    big = plot([Line("price", [1e5, 2e5], [5e4, 9e4])], title="price", xlabel="true")
    small = plot([Line("price", [1.0, 2.0], [0.5, 0.9])], title="price", xlabel="true")
    assert "100,000" in big
    assert "50,000" in big
    assert "1e5" not in big
    assert "," not in "".join(re.findall(r">([\d.,]+)<", small))


def test_large_numbers_that_lie_close_together_are_told_apart():
    svg = plot([Line("price", [0, 1], [50000.1, 50000.9])], title="price", xlabel="epoch")
    ticks = re.findall(r">(50,000[\d.]*)<", svg)
    assert len(set(ticks)) == len(ticks) > 2


def test_a_line_whose_places_are_not_finite_does_not_break_the_page():
    nan = float("nan")
    assert "price" in plot([Line("price", [nan, nan], [1.0, 2.0])], title="price", xlabel="x")
