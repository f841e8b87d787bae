"""JSON that says one thing."""

import pytest

from lehr.base import strict_json


def test_round_trip():
    value = {"a": [1, 2.5, None, True, "\ud800é", -0.0, 10**30], "b": {}}
    for indent in (None, 1):
        text = strict_json.dump(value, indent=indent)
        assert text.isascii()
        assert strict_json.parse(text) == value
        assert strict_json.parse(memoryview(text)) == value
    assert strict_json.dump({"a": [1, 2]}) == b'{"a":[1,2]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_json_is_not_written(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        strict_json.dump(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"it is no JSON text \(Expecting value"),
        (b"{", "it is no JSON text"),
        (b"[1,]", "it is no JSON text"),
        (b"[1] 2", "it is no JSON text"),
        (b"\xff\xfe", r"it is no UTF-8 text \("),
        (b'{"a": 1, "b": 2, "a": 1}', "names 'a' twice"),
        (b'[{"x": {"y": 1, "y": 1}}]', "names 'y' twice"),
        (b"[NaN]", "holds NaN, which is no JSON"),
        (b"-Infinity", "holds -Infinity"),
        (b"[" * 200_000, "nested too deep"),
        (b'{"a":' * 200_000, "nested too deep"),
        (b"1" * 5000, "digits"),
    ],
)
def test_refused(text, message):
    with pytest.raises(ValueError, match=message):
        strict_json.parse(text)
