import math

import pytest

from lehr.report import words


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0123, "12 ms"),
        (0.0995, "0.10 s"),
        (9.99, "9.99 s"),
        (9.999, "10 s"),
        (59.7, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_duration(seconds, told):
    assert words.duration(seconds) == told


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.0, "0.0 %"),
        (0.998, "99.8 %"),
        (0.9995, "99.95 %"),
        (0.99999, "99.99 %"),
        (1.0, "100 %"),
        (math.nan, "–"),
    ],
)
def test_percent_says_100_only_of_everything(share, told):
    assert words.percent(share) == told


def test_flat():
    assert words.flat({"a": {}, "b": {"c": {"d": 1}}, "e": [{"f": 2}]}) == {
        "b.c.d": 1,
        "e": [{"f": 2}],
    }


def test_setting_of_what_json_has_no_word_for():
    assert words.setting({"a": "ä"}) == "a ä"
    assert words.setting(False) == "no"
    assert words.setting(object).startswith('"<class')


def test_best():
    assert words.best([3.0, None, 1.0, math.nan, 1.0], rises=False) == 2
    assert words.best([3.0, None, 1.0, math.inf], rises=True) == 0
    assert words.best([None, math.nan], rises=True) is None


def test_moment():
    assert words.date("2024-12-24T18:05:00") == "24 December 2024, 18:05"
    assert words.moment(None) is None


def test_what_is_written_is_read_as_it_is():
    from lehr.base import strict_json

    value = {"a": (1, math.inf), 2: {"b": None, "c": True}, "d": object, "e": "é"}
    found = words.written(value)
    assert found["a"] == [1, "inf"]
    assert strict_json.parse(strict_json.dump(found)) == found
