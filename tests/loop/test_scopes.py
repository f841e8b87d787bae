"""Scopes unwind last in first out, whatever happened, and swallow nothing."""

import signal

import pytest

from lehr.base.signals import patient
from lehr.loop.scopes import Scopes


def fail(kind, text):
    def undo():
        raise kind(text)

    return undo


@pytest.fixture
def log():
    return []


@pytest.fixture
def scopes():
    return Scopes()


def test_a_scope_undoes_its_own_and_leaves_the_outer_for_later(scopes, log):
    with scopes.open():
        scopes.defer(lambda: log.append("outer"))
        with scopes.open():
            scopes.defer(lambda: log.append("inner 1"))
            scopes.defer(lambda: log.append("inner 2"))
            assert log == []
        assert log == ["inner 2", "inner 1"]
    assert log == ["inner 2", "inner 1", "outer"]
    assert scopes.undos == []


def test_an_undo_runs_once(scopes, log):
    with scopes.open():
        scopes.defer(lambda: log.append("once"))
    with scopes.open():
        pass
    assert log == ["once"]


def test_an_error_unwinds_and_goes_on_as_it_was(scopes, log):
    error = ZeroDivisionError("mine")
    with pytest.raises(ZeroDivisionError) as raised, scopes.open():
        scopes.defer(lambda: log.append("undone"))
        raise error
    assert raised.value is error
    assert log == ["undone"]


def test_an_undo_that_returns_true_swallows_nothing(scopes):
    with pytest.raises(ZeroDivisionError), scopes.open():
        scopes.defer(lambda: True)
        1 / 0


def test_an_undo_that_fails_keeps_no_other_from_running(scopes, log):
    with pytest.raises(OSError, match="broken"), scopes.open():
        scopes.defer(lambda: log.append("first"))
        scopes.defer(fail(OSError, "broken"))
        scopes.defer(lambda: log.append("last"))
    assert log == ["last", "first"]
    assert scopes.undos == []


def test_unwinding_to_a_mark_leaves_what_is_below(scopes, log):
    with scopes.open():
        scopes.defer(lambda: log.append("below"))
        mark = len(scopes.undos)
        scopes.defer(lambda: log.append("above"))
        scopes.unwind(mark)
        assert log == ["above"]
        assert len(scopes.undos) == mark


def test_deferring_where_no_scope_is_open_is_an_error(scopes):
    with pytest.raises(RuntimeError, match="where no scope is open: nothing would ever call"):
        scopes.defer(lambda: None)
    with scopes.open():
        pass
    with pytest.raises(RuntimeError, match=r"Call run.defer while the run is under way"):
        scopes.defer(lambda: None)


@pytest.mark.parametrize("undo", [None, 3, "handle.remove"])
def test_what_cannot_be_called_is_refused_at_once(scopes, undo):
    match = r"^defer takes a function without arguments; got .*run\.defer\(handle\.remove\)\.$"
    with pytest.raises(TypeError, match=match):
        scopes.defer(undo)
    assert scopes.undos == []


class Unshowable(Exception):
    """Cannot be shown, and takes no notes."""

    def __repr__(self):
        raise RuntimeError("no repr")

    __str__ = __repr__

    def add_note(self, note):
        raise RuntimeError("no notes")


class NoList(Exception):
    __notes__ = ()


class Stopped(BaseException):
    def __repr__(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize("second", [Unshowable, NoList, Stopped, OSError])
@pytest.mark.parametrize("first", [Unshowable, NoList, Stopped, OSError])
def test_every_undo_runs_whatever_the_errors_of_others_are_like(scopes, log, first, second):
    with pytest.raises(first), scopes.open():
        scopes.defer(lambda: log.append("bottom"))
        scopes.defer(fail(second, "second"))
        scopes.defer(lambda: log.append("middle"))
        scopes.defer(fail(first, "first"))
    assert log == ["middle", "bottom"]
    assert (scopes.undos, scopes.depth) == ([], 0)


def test_the_first_failure_tells_of_the_others(scopes):
    with pytest.raises(OSError, match="first") as caught, scopes.open():
        scopes.defer(fail(Unshowable, "second"))
        scopes.defer(fail(OSError, "first"))
    told = "Another clean-up failed as well: Unshowable, which cannot be shown."
    assert caught.value.__notes__ == [told]


@pytest.mark.parametrize("how", ["open", "unwind"])
def test_an_interrupt_waits_until_all_is_undone(scopes, log, how):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def undo():
        signal.raise_signal(signal.SIGINT)
        log.append("undone")

    try:
        with patient(), pytest.raises(KeyboardInterrupt), scopes.open():
            scopes.defer(lambda: log.append("all"))
            scopes.defer(undo)
            if how == "unwind":
                scopes.unwind(0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert log == ["undone", "all"]
