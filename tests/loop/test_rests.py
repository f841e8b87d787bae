"""Where a run can be entered."""

import pytest

from lehr.loop.rests import Entry, GoBack, Rest


def test_a_rest_is_a_stage_and_an_epoch():
    assert Rest("batch", 2) == ("batch", 2)
    assert Entry("batch", 2, print).load is print


def test_nobody_takes_going_back_for_an_error():
    with pytest.raises(GoBack):
        try:
            raise GoBack
        except Exception:
            pytest.fail("it was swallowed")
