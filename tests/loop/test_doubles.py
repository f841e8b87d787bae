"""Doubles take part in a pass inside a run, without beginning again."""

from contextlib import contextmanager

from lehr import Callback, Phase
from lehr.loop.doubles import double


class Prepares(Callback):
    phase = Phase.PREPARE

    def begin_fit(self, run):
        self.begun = True

    def begin_batch(self, run):
        self.batch = run

    @contextmanager
    def around_fit(self, run):
        self.inside = True
        yield


class Measures(Prepares):
    phase = Phase.MEASURE


def test_what_prepares_has_begun_and_anything_else_begins_on_the_copy_alone():
    for kind, begins in ((Prepares, False), (Measures, True)):
        own = kind()
        twin = double(own)
        twin.begin_fit(None)
        twin.begin_batch("a run")
        with twin.around_fit(None):
            pass
        assert vars(own) == {}
        assert twin.batch == "a run"
        assert hasattr(twin, "begun") is begins
        assert not hasattr(twin, "inside")
