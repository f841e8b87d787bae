"""Scopes unwind last in first out, whatever happened, and swallow nothing."""

import pytest

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
