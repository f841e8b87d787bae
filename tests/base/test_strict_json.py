"""JSON that says one thing."""

import os

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
    ("digits", "message"),
    [
        (500, "a number of 500 digits, beyond any float"),
        (5000, r"cannot be said in JSON \(Exceeds the limit"),
    ],
)
def test_a_number_that_could_not_be_read_back_is_not_written(digits, message):
    with pytest.raises(ValueError, match=message):
        strict_json.dump({"n": 10 ** (digits - 1)})
    text = "1" * digits
    assert strict_json.parse(strict_json.dump({"n": 10**307, "text": text}))["text"] == text


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
        (b"1" * 5000, "a number of 5000 digits, beyond any float"),
        (b"[-" + b"1" * 308 + b"]", "a number of 309 digits"),
        (b"[1e400]", "holds 1e400, which is beyond any float"),
        (b"-1e999", "holds -1e999"),
        (b"[" * 101 + b"]" * 101, "nested too deep"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested too deep"),
    ],
)
def test_refused(text, message):
    with pytest.raises(ValueError, match=message):
        strict_json.parse(text)


def test_what_is_just_allowed():
    assert strict_json.parse(b"1" * 308) == int("1" * 308)
    assert strict_json.parse(b"[" * 99 + b"[1]" + b"]" * 99)
    assert strict_json.parse(b"[" * 300 + b"]" * 300, depth=300)
    assert strict_json.parse(b"[1.7e308, 1e-400, []]") == [1.7e308, 0.0, []]


@pytest.mark.timeout(10)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ValueError, match=r"config\.json must be a plain file; it is a named pipe"):
        strict_json.read(tmp_path / "config.json", 100)
