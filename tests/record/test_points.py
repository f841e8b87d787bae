"""Points of a service: which are later than what is there."""

import math

from lehr.record.points import Point, later


def test_later_leaves_out_what_is_there():
    points = [Point(1, "a", 0.0), Point(1, "b", 0.0), Point(1, "a", 1.0), Point(2, "a", math.nan)]
    assert later(points, {"b": 1})[0] == [points[0], points[3]]
    assert later(points, {"": 1})[0] == [points[3]]
    assert later(points, {})[1] == {"a": 2, "b": 1}
