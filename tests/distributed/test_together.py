"""What one process does so that a run is one run."""

from types import SimpleNamespace

import pytest

from lehr.distributed.control import PartedError
from lehr.distributed.together import Together


def test_a_step_that_the_loop_does_not_see_is_an_error(world):
    for kind, text in world(2, "steps_alone"):
        assert kind == "error"
        assert "a callback made an optimizer step without the loop" in text


def test_a_weight_that_changes_too_late_is_an_error(world):
    for kind, text in world(2, "weighs_late"):
        assert kind == "error"
        assert "but the other processes were told" in text


@pytest.fixture(scope="module")
def ends(values):
    return values(2, "many", calls={"when_sent": {}, "leaves_nothing": {}})


def test_the_message_of_a_step_is_sent_before_its_gradient_is_taken(ends):
    for log in (end["when_sent"] for end in ends):
        assert log == ["predicted", "sent", "gradient"] * 6


def test_a_gradient_that_is_taken_anew_before_it_was_exchanged_is_an_error(world):
    for kind, text in world(2, "regrads_early"):
        assert kind == "error"
        assert "run.regrad() was called before the window had closed" in text


def test_a_gradient_that_is_taken_anew_in_one_process_alone_is_an_error(world):
    for kind, text in world(2, "regrads_alone"):
        assert kind == "error"
        assert "RemoteRankError: the processes have parted: rank 0" in text


def test_in_and_outside_of_runs_nothing_is_left(ends):
    assert [end["leaves_nothing"] for end in ends] == [0, 0]


@pytest.mark.parametrize(
    ("error", "told"), [(ValueError("mine"), []), (PartedError("theirs"), ["theirs"])]
)
def test_of_a_run_within_another_only_what_others_have_caused_is_told(error, told):
    said, made = [], Together.__new__(Together)
    failures = SimpleNamespace(tell=lambda error, run: said.append(str(error)))
    vars(made).update(run=None, engine=SimpleNamespace(runs=["outer"], failures=failures))
    made._tell(error)
    assert said == told
