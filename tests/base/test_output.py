"""A stream that says plainly what it cannot do, once, and then keeps quiet."""

import io
import sys
import types

import pytest

from lehr.base.output import Output, OutputError, forgiving_output, plain_output


class Broken(io.StringIO):
    """Takes nothing, in one of the ways there are."""

    def __init__(self, error, when="write"):
        super().__init__()
        self.error, self.when = error, when

    def write(self, text):
        if self.when == "write":
            raise self.error
        return super().write(text)

    def flush(self):
        if self.when == "flush":
            raise self.error


FULL = OSError(28, "No space left on device")
BROKEN = [
    pytest.param(lambda: Broken(FULL), "no space left on device", id="write"),
    pytest.param(lambda: Broken(FULL, "flush"), "no space left on device", id="flush"),
    pytest.param(lambda: Broken(ValueError("I/O on closed file")), "it is closed", id="closed"),
    pytest.param(lambda: None, "it is closed", id="none"),
]


@pytest.mark.parametrize(("stream", "why"), BROKEN)
def test_what_a_stream_does_not_take_is_an_error_once(stream, why):
    out = Output(stream())
    told = f"standard output cannot be written to: {why}. Send it somewhere else."
    with pytest.raises(OutputError) as caught:
        print("one", file=out, flush=True)
    assert str(caught.value) == told
    assert caught.value.why == out.lost == why
    print("two", file=out, flush=True)


@pytest.mark.parametrize(("stream", "why"), BROKEN)
def test_who_forgives_is_told_once_at_the_end(stream, why):
    out = Output(Output(stream()), forgiving=True)
    print("one", file=out, flush=True)
    print("two", file=out, flush=True)
    assert out.lost == why
    told = rf"^standard output could not be written to any more: {why}\. The fit went on without"
    with pytest.warns(UserWarning, match=told) as caught:
        out.tell_loss("The fit")
    out.tell_loss("The fit")
    assert len(caught) == 1


def test_a_reader_that_has_enough_is_no_mistake():
    with pytest.raises(BrokenPipeError):
        Output(Broken(BrokenPipeError(32, "Broken pipe"))).write("one")


def test_a_stream_that_works_is_left_to_work():
    stream = io.StringIO()
    out = Output(stream, forgiving=True)
    print("größe → 1", file=out, flush=True)
    out.tell_loss("The fit")
    assert stream.getvalue() == "größe → 1\n"
    assert out.lost is None


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", 'grosse -> ?, 1 - 2 "e" * |'),
        ("latin-1", 'größe -> ?, 1 - 2 "é" * |'),
        ("utf-8", "größe → 日, 1 − 2 “é” ⠉ │"),
    ],
)
def test_letters_are_replaced_where_there_are_none(encoding, shown):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print("größe → 日, 1 − 2 “é” ⠉ │", file=Output(stream), flush=True)
    assert stream.buffer.getvalue().decode(encoding) == f"{shown}\n"


def test_exact_output_replaces_nothing():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    out = Output(stream, exact=True)
    with pytest.raises(ValueError, match=r"is ASCII, which has no '→'\. Write to a file instead"):
        out.write("0 → 1")
    assert out.lost is None
    assert out.write("0 - 1") == 5


def test_it_is_for_text():
    with pytest.raises(TypeError, match=r"this stream is for text; got bytes\. Decode it first"):
        Output(io.StringIO()).write(b"one")


def test_it_tells_of_its_stream():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    out = Output(stream)
    assert (out.encoding, out.errors, out.isatty(), out.writable()) == (
        *("ascii", "replace", False, True),
    )
    with pytest.raises(io.UnsupportedOperation, match="fileno"):
        out.fileno()
    with pytest.raises(io.UnsupportedOperation, match="fileno"):
        Output(None).fileno()
    assert Output(types.SimpleNamespace(isatty=lambda: True)).isatty()
    assert not Output(types.SimpleNamespace()).isatty()
    stream.close()
    assert not out.isatty()
    assert (Output(None).encoding, Output(None).errors) == ("utf-8", "strict")


def test_a_program_gets_its_streams_back_unless_they_are_lost(monkeypatch):
    good, bad = io.StringIO(), Broken(FULL)
    monkeypatch.setattr(sys, "stdout", good)
    monkeypatch.setattr(sys, "stderr", bad)
    with plain_output():
        print("one", flush=True)
        print("two", file=sys.stderr)
        print("three", file=sys.stderr)
    assert sys.stdout is good
    assert good.getvalue() == "one\n"
    assert sys.stderr is not bad  # so that Python does not complain at its end
    sys.stderr.flush()


def test_a_scope_forgives_and_tells(monkeypatch):
    bad = Broken(FULL)
    monkeypatch.setattr(sys, "stdout", bad)
    with pytest.warns(UserWarning, match="no space left on device. The training went on"):
        with forgiving_output("The training"):
            print("one")
    assert sys.stdout is bad


def test_a_scope_hides_no_error_even_where_warnings_are_errors(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ZeroDivisionError), forgiving_output("The training"):
        print("one", file=sys.stdout)
        raise ZeroDivisionError
