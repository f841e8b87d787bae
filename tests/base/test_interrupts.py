"""Where interrupts wait, and where they do not."""

import signal
from contextlib import contextmanager

import pytest

from lehr.base.interrupts import (
    call_uninterrupted,
    heed,
    heeds_interrupts,
    interrupts_wait_at_both_ends,
    interrupts_wait_in,
    postpone,
)
from lehr.base.signals import on_interrupt, patient

INT, TERM = signal.SIGINT, signal.SIGTERM


@pytest.fixture(autouse=True)
def _handler():
    before = {INT: signal.default_int_handler, TERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in before.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def press(number=INT):
    signal.raise_signal(number)


def scope(log, where):
    @contextmanager
    def made():
        for part in ("begin", "end"):
            log.append(f"{part} 1")
            if where == part:
                press()
            log.append(f"{part} 2")
            if part == "begin":
                try:
                    yield
                except KeyboardInterrupt:
                    log.append("interrupted")
                    raise

    return made


ALL = ["begin 1", "begin 2", "body", "end 1", "end 2"]


@pytest.mark.parametrize(
    ("where", "seen"), [("begin", ["begin 1", "begin 2", "interrupted"]), ("end", ALL)]
)
def test_an_interrupt_waits_until_a_scope_is_begun_or_ended(where, seen):
    log = []
    with patient(), pytest.raises(KeyboardInterrupt):
        with interrupts_wait_at_both_ends(scope(log, where))():
            log.append("body")
        log.append("never")
    assert log == seen
    assert signal.getsignal(INT) is signal.default_int_handler


@pytest.mark.parametrize("where", ["begin", "end"])
def test_without_it_the_interrupt_comes_at_once(where):
    log = []
    with patient(), pytest.raises(KeyboardInterrupt), scope(log, where)():
        log.append("body")
    assert f"{where} 2" not in log


def test_what_goes_on_between_is_interrupted_as_ever():
    log = []
    with (
        patient(),
        pytest.raises(KeyboardInterrupt),
        interrupts_wait_at_both_ends(scope(log, None))(),
    ):
        press()
        log.append("never")
    assert log == ["begin 1", "begin 2", "interrupted"]


def test_of_nested_ones_the_outermost_ends_first():
    log = []

    def inner():
        call_uninterrupted(press)
        log.append("inner is over")

    with patient(), pytest.raises(KeyboardInterrupt):
        call_uninterrupted(inner)
    assert log == ["inner is over"]


def test_listeners_are_interrupted_also_where_their_caller_is_not():
    log = []

    @heeds_interrupts
    def listener():
        press()
        log.append("never")

    with patient(), pytest.raises(KeyboardInterrupt):
        call_uninterrupted(listener)
    assert log == []
    assert heeds_interrupts(print) is print


def test_an_error_that_comes_first_is_the_context_of_the_interrupt():
    def fail():
        press()
        raise ZeroDivisionError

    with patient(), pytest.raises(KeyboardInterrupt) as caught:
        call_uninterrupted(fail)
    assert isinstance(caught.value.__context__, ZeroDivisionError)


def test_every_signal_that_has_waited_is_heard_and_the_first_error_is_raised():
    heard = []

    class Ended(Exception):
        pass

    def end(number, frame):
        heard.append(number)
        raise Ended

    signal.signal(TERM, end)

    def both():
        press()
        press(TERM)
        assert heard == []

    with patient(), pytest.raises(KeyboardInterrupt):
        call_uninterrupted(both)
    assert heard == [TERM]
    assert not postpone(print, None)


def test_asking_does_not_wait_and_insisting_does():
    asked, log = [], []

    def work():
        press()
        log.append(list(asked))
        press()
        log.append("to the end")

    with pytest.raises(KeyboardInterrupt), on_interrupt(asked.append):
        call_uninterrupted(work)
    assert log == [["interrupted by Ctrl-C"], "to the end"]
    assert len(asked) == 1


def of_another_library(log, heeds):
    press()
    log.append("foreign 1")
    heeds(log)
    log.append("foreign 2")


@pytest.mark.parametrize("heeding", [True, False])
def test_an_interrupt_waits_in_a_function_of_another_library_until_it_is_heeded(heeding):
    log = []

    @heeds_interrupts
    def inner(log):
        if heeding:
            heed()
        log.append("inner")

    with patient(), interrupts_wait_in(of_another_library):
        if heeding:
            with pytest.raises(KeyboardInterrupt):
                of_another_library(log, inner)
        else:
            of_another_library(log, inner)
            with pytest.raises(KeyboardInterrupt):
                heed()
    assert log == (["foreign 1"] if heeding else ["foreign 1", "inner", "foreign 2"])


def test_outside_that_scope_such_a_function_is_interrupted_as_ever():
    log = []
    with interrupts_wait_in(of_another_library), interrupts_wait_in(of_another_library):
        pass
    with patient(), pytest.raises(KeyboardInterrupt):
        of_another_library(log, print)
    assert log == []
