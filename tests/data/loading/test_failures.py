import pickle

import pytest

from lehr.data.loading.failures import Failure, WorkerError
from lehr.data.loading.fetch import Fetch, Request
from lehr.data.loading.workers import _Served


class Odd(Exception):
    """Can be pickled, but not be made anew from what was."""

    def __init__(self, one, two):
        super().__init__(one)


class Local(Exception):
    __module__ = "nowhere"


class Broken:
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, index):
        try:
            return {}["missing"]
        except KeyError as error:
            raise self.error from error


def raised(error):
    """The error of a data set, as it arrives from a worker."""
    answer = _Served(Fetch(Broken(error)))[Request([0], 0, 0, 0)]
    assert isinstance(answer, Failure)
    return pickle.loads(pickle.dumps(answer)).error()


def test_the_error_is_the_same_and_says_where_it_was_raised():
    error = raised(ValueError("item 0 is damaged"))
    assert (type(error), str(error)) == (ValueError, "item 0 is damaged")
    (note,) = error.__notes__
    assert note.startswith("In a worker process, at ")
    assert note.endswith("in __getitem__: raise self.error from error.")
    assert "test_failures.py:" in note


def test_the_traceback_has_the_data_set_and_what_it_called_and_nothing_before():
    cause = raised(ValueError("item 0 is damaged")).__cause__
    assert isinstance(cause, WorkerError)
    parts = str(cause).split("Traceback (most recent call last):")[-2:]  # those of this test
    frames = [line for part in parts for line in part.splitlines() if line.startswith("  File")]
    assert len(frames) == 2  # of the error, and of the KeyError that it comes from
    assert all("test_failures.py" in line and "in __getitem__" in line for line in frames)
    assert "KeyError: 'missing'" in str(cause)


@pytest.mark.parametrize("error", [Odd("no item 13", 2), Local("no item 13")])
def test_an_error_that_cannot_be_sent_is_told(error):
    arrived = raised(error)
    assert type(arrived) is RuntimeError
    assert str(arrived).startswith(
        f"a worker process could not read a batch: {type(error).__name__}"
    )
    assert "no item 13" in str(arrived)
    assert "in __getitem__" in arrived.__notes__[0]


def test_notes_survive_the_way():
    error = ValueError("bad")
    error.add_note("mine")
    assert raised(error).__notes__[0] == "mine"


def test_an_error_of_lehrs_own_has_a_note_without_a_line():
    answer = _Served(Fetch([1, "a"]))[Request([0, 1], 0, 0, 0)]  # which no batch can hold
    arrived = answer.error()
    assert arrived.__notes__ == ["In a worker process."]
    assert "loading/fetch.py" in str(arrived.__cause__)
