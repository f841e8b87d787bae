"""Ctrl-C: the first asks, the second insists, and the handler before comes back."""

import signal
import threading

import pytest

from lehr.signals import on_interrupt

REASON = "interrupted by Ctrl-C"


def press():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def _handler():
    """Python's own handler, whatever the test runner has."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_only_asks():
    asked = []
    with on_interrupt(asked.append) as received:
        assert (asked, received) == ([], [])
        press()
        assert asked == [REASON]
    assert received == [signal.SIGINT]


def test_the_second_raises_and_does_not_ask_again():
    asked = []
    with pytest.raises(KeyboardInterrupt), on_interrupt(asked.append) as received:
        press()
        press()
    assert asked == [REASON]
    assert len(received) == 2


def test_without_the_scope_the_first_raises():
    with on_interrupt(lambda reason: None):
        pass
    with pytest.raises(KeyboardInterrupt):
        press()


def test_the_second_is_left_to_whatever_handler_was_there():
    heard, asked = [], []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    with on_interrupt(asked.append):
        press()
        assert heard == []
        press()
        press()
    assert asked == [REASON]
    assert heard == [signal.SIGINT] * 2


@pytest.mark.parametrize("presses", [0, 1])
def test_the_handler_before_comes_back(presses):
    with on_interrupt(lambda reason: None):
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        for _ in range(presses):
            press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_handler_before_comes_back_after_an_error():
    with pytest.raises(ZeroDivisionError), on_interrupt(lambda reason: None):
        1 / 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_handler_before_comes_back_after_the_second():
    with pytest.raises(KeyboardInterrupt), on_interrupt(lambda reason: None):
        press()
        press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_of_two_scopes_the_inner_is_asked_first():
    outer, inner = [], []
    with on_interrupt(outer.append):
        with on_interrupt(inner.append):
            press()
            assert (outer, inner) == ([], [REASON])
            press()  # the inner leaves it to the outer
            assert (outer, inner) == ([REASON], [REASON])
        with pytest.raises(KeyboardInterrupt):
            press()


def test_outside_the_main_thread_nothing_is_installed():
    seen = []

    def work():
        with on_interrupt(seen.append) as received:
            seen.append(signal.getsignal(signal.SIGINT))
            seen.append(received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler, []]


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked = []
    with on_interrupt(asked.append) as received:
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        press()
    assert (asked, received) == ([], [])
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_handler_that_python_does_not_know_is_left_alone(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    installed = []
    monkeypatch.setattr(signal, "signal", lambda *arguments: installed.append(arguments))
    with on_interrupt(installed.append):
        pass
    assert installed == []
    monkeypatch.undo()
