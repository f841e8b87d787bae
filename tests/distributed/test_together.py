"""What one process does so that a run is one run."""

import pytest


def test_a_step_that_the_loop_does_not_see_is_an_error(world):
    for kind, text in world(2, "steps_alone"):
        assert kind == "error"
        assert "a callback made an optimizer step without the loop" in text


def test_a_weight_that_changes_too_late_is_an_error(world):
    for kind, text in world(2, "weighs_late"):
        assert kind == "error"
        assert "but the other processes were told" in text


def test_the_message_of_a_step_is_sent_before_the_prediction_unless_a_callback_may_interfere(
    values,
):
    for early, late in values(2, "when_sent"):
        assert early == ["sent", "predicted"] * 6
        assert late == ["predicted", "sent"] * 6


@pytest.mark.parametrize("processes", [2])
def test_in_and_outside_of_runs_nothing_is_left(processes, values):
    assert values(processes, "leaves_nothing") == [0] * processes
