import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest

from lehr.report import RunRecord
from lehr.report.curves import Panel, figure
from lehr.report.page import report
from lehr.report.plots import Line, plot
from lehr.report.readings import MOST, Reading, readings

SVG = "{http://www.w3.org/2000/svg}"
MANY = Line("each batch", range(1000), [1.0 / (i + 1) for i in range(1000)], 0, "raw")
FEW = Line("validation", [250, 500, 750, 1000], [4.0, math.nan, 2.0, 1.0], 1, "points")


def test_every_point_of_a_line_with_few_is_a_place_and_between_them_are_others():
    made = readings([MANY, FEW])
    places = [reading.x for reading in made]
    assert {250, 750, 1000} <= set(places)
    assert places == sorted(set(places))
    assert MOST - 5 < len(places) <= MOST
    assert (places[0], max(b - a for a, b in pairwise(places)) < 40) == (0, True)


def test_a_value_is_that_of_a_point():
    made = {reading.x: dict(reading.values) for reading in readings([MANY, FEW])}
    assert made[250] == {0: MANY.y[250], 1: 4.0}
    assert made[1000] == {0: MANY.y[999], 1: 1.0}  # the point beside it
    for x, values in made.items():
        assert values.get(0, MANY.y[int(min(x, 999))]) == MANY.y[int(min(x, 999))]
        assert (1 in values) is (x in (250, 750, 1000))


def test_a_line_that_ends_early_has_no_value_further_on():
    short = Line("a", range(100), [1.0] * 100)
    last = readings([short, MANY])[-1]
    assert last.x == 999
    assert [number for number, _ in last.values] == [1]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [Line("a", [0, 1], [math.nan] * 2)],
        [MANY, Line("b", [0], [1.0], 1, "dots")],
        [FEW] * 13,
    ],
    ids=["nothing", "gaps", "a cloud", "too many"],
)
def test_there_may_be_nothing_to_read(lines):
    assert readings(lines) == []


def test_there_are_never_too_many():
    lines = [Line(str(i), [j + i / 12 for j in range(24)], [1.0] * 24) for i in range(11)]
    assert len(readings(lines)) == MOST
    assert len(readings([*lines, MANY])) <= MOST
    assert len(readings([MANY])) == MOST


def test_the_words_name_the_place_and_each_value():
    reading = Reading(12345, ((1, 0.123456), (0, 2.0)))
    assert reading.words([MANY, FEW], "training batch") == [
        "training batch 12,345",
        "validation 0.1235",
        "each batch 2",
    ]


def strips(lines, **options):
    """The strips of a plot and the height that they say the values at, from left to right."""
    options = {"title": "t", "xlabel": "batch", "read_at": readings(lines), **options}
    root = ET.fromstring(plot(lines, **options))
    (group,) = [g for g in root.iter(f"{SVG}g") if g.get("class") == "strips"]
    return root, list(group)


def numbers(element, *names):
    return [float(element.get(name)) for name in names]


def test_strips_lie_side_by_side_and_show_the_values_where_they_are_drawn():
    line = Line("loss", [0, 1, 2, 3], [1.0, 3.0, 2.0, 5.0], 0, "points")
    root, made = strips([line])
    ends = [numbers(strip[0], "x", "width") for strip in made]
    assert all(abs(x + width - after) < 0.15 for (x, width), (after, _) in pairwise(ends))
    marked = [numbers(strip[1].find(f"{SVG}circle"), "cx", "cy") for strip in made]
    drawn = [numbers(use, "x", "y") for use in root.iter(f"{SVG}use")]  # ticks, and the points
    assert all(any(abs(a - x) + abs(b - y) < 0.3 for a, b in drawn) for x, y in marked)
    assert [strip.findtext(f".//{SVG}tspan[2]") for strip in made][1] == "loss 3"


def test_words_stay_inside_the_drawing_and_dots_inside_the_axes():
    lines = [Line("a name of many letters", [0, 1, 2], [1.0, 2.0, 1e9])]
    root, made = strips(lines, size=(3.3, 1.9), limits=(0.5, 2.5))
    right = float(root.get("viewBox").split()[2])
    for strip in made:
        left, width = numbers(strip.find(f".//{SVG}rect[@class='plate']"), "x", "width")
        assert left >= 0
        assert left + width <= right + 0.1
    assert [len(strip.findall(f".//{SVG}circle")) for strip in made] == [1, 1, 0]
    assert "1,000,000,000" in made[2].findtext(f".//{SVG}tspan[2]")


def test_words_without_room_are_left_out():
    lines = [Line(f"line {i}", [0, 1], [1.0, 2.0]) for i in range(12)]
    _, made = strips(lines, size=(3.3, 1.9))
    said = [span.text for span in made[0].iter(f"{SVG}tspan")]
    assert (said[0], said[1], said[-1]) == ("batch 0", "line 0 1", "…")
    assert 5 < len(said) < 12
    (height,) = numbers(made[0][0], "height")
    assert numbers(made[0].find(f".//{SVG}rect[@class='plate']"), "height")[0] <= height


@pytest.mark.parametrize("options", [{"log": True}, {"log_x": True}])
def test_logarithmic_axes_are_read_where_they_are_drawn(options):
    line = Line("loss", [1, 10, 100], [1.0, 10.0, 100.0])
    _, made = strips([line], **options)
    first, middle, last = (numbers(strip[1].find(f"{SVG}circle"), "cx", "cy") for strip in made)
    along = 0 if "log_x" in options else 1
    assert middle[along] == pytest.approx((first[along] + last[along]) / 2, abs=0.2)


def test_a_figure_has_a_button_for_each_strip_that_says_the_same_in_words():
    made = figure([Panel("<loss>", "batch", [MANY, FEW])], "Loss.", name="loss")
    told = re.findall(r'<input type="radio" name="loss0" aria-label="([^"]+)"', made)
    assert len(told) == made.count('class="strip"') == len(readings([MANY, FEW]))
    assert "batch 250, each batch 0.003984, validation 4" in told
    assert "&lt;loss&gt;: values, by the arrow keys" in made
    assert "<script" not in made


def test_a_cloud_of_dots_has_none():
    made = figure([Panel("p", "t", [Line("a", [0, 1], [1.0, 2.0], 0, "dots")])], "", name="p")
    assert "strip" not in made
    assert "<input" not in made


def test_a_page_shows_what_the_focused_button_stands_for():
    empty = {"environment": {}, "series": {}, "evaluation": None, "weights": None, "rows": []}
    sheet = report(RunRecord(path=Path("x"), config={}, **empty))
    rules = re.findall(
        r"input:nth-of-type\((\d+)\):focus ~ svg > \.strips > :nth-child\((\d+)\) > \.said", sheet
    )
    assert rules == [(str(i), str(i)) for i in range(1, MOST + 1)]
    assert sheet.split(".said\n{ visibility: visible; }")[0].endswith(f":nth-child({MOST}) > ")
