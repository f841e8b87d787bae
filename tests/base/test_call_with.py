"""Attributes have other values during a call, and theirs afterwards."""

from types import SimpleNamespace

import pytest

from lehr.base.call_with import call_with


def test_all_values_are_there_during_the_call_and_gone_after_it():
    thing, seen = SimpleNamespace(a=1, b=2, c=3), []
    call_with(thing, lambda: seen.append(dict(vars(thing))), a=10, b=20)
    assert seen == [{"a": 10, "b": 20, "c": 3}]
    assert vars(thing) == {"a": 1, "b": 2, "c": 3}


def test_they_are_put_back_after_an_error_too():
    thing = SimpleNamespace(a=1)

    def fails():
        assert thing.a == 2
        raise KeyError("no")

    with pytest.raises(KeyError):
        call_with(thing, fails, a=2)
    assert thing.a == 1


def test_what_the_call_sets_itself_stays():
    thing = SimpleNamespace(a=1, loss=None)
    call_with(thing, lambda: setattr(thing, "loss", 0.5), a=2)
    assert vars(thing) == {"a": 1, "loss": 0.5}


def test_an_attribute_that_is_not_there_is_an_error_before_the_call():
    with pytest.raises(AttributeError):
        call_with(SimpleNamespace(), pytest.fail, a=1)
