"""Doubles take part in a pass inside a run, without beginning again."""

from contextlib import contextmanager

from lehr import Callback
from lehr.loop.doubles import double


class Own(Callback):
    def begin_fit(self, run):
        self.begun = True

    def begin_batch(self, run):
        self.batch = run

    @contextmanager
    def around_fit(self, run):
        self.inside = True
        yield


def test_one_that_has_begun_does_not_begin_again_and_its_scope_stays_shut():
    for begins in (False, True):
        own = Own()
        twin = double(own, begins=begins)
        twin.begin_fit(None)
        twin.begin_batch("a run")
        with twin.around_fit(None):
            pass
        assert vars(own) == {}
        assert twin.batch == "a run"
        assert hasattr(twin, "begun") is begins
        assert not hasattr(twin, "inside")
