"""Above so many processes, the message of a step is read one step late."""

from functools import cache

import pytest
import torch

from . import jobs


@pytest.fixture(scope="module")
def ends(values):
    return values(2, "late")


alone = cache(jobs.trajectory)


@pytest.mark.parametrize(
    ("case", "how"), [*((case, "whole") for case in jobs.LATE), (jobs.LATE[1], "sharded")]
)
def test_it_is_the_trajectory_of_one_process(case, how, ends):
    for end in (end[case, how] for end in ends):
        assert (end["weights"] - alone(case)["weights"]).abs().max() <= 1e-6
        assert end["steps"] == alone(case)["steps"]
        for row, expected in zip(end["rows"], alone(case)["rows"], strict=True):
            assert row == pytest.approx(expected, abs=1e-6)


def test_a_batch_without_weight_is_a_step_without_a_gradient(ends):
    learn = jobs.learner(None, weight=jobs.some)
    reference = jobs.outcome(learn, learn.fit(2))
    for end in (end["without weight"] for end in ends):
        assert torch.allclose(end["weights"], reference["weights"], atol=1e-6)
        assert (reference["steps"], end["steps"]) == (9, 12)


def test_a_stop_in_one_process_stops_all_one_step_later(ends):
    for end in ends:
        assert end["after_loss"] == (8, "enough (rank 1)")  # it is asked for in step 7
        assert end["after_step"] == (9, "enough (rank 1)")  # the next message says so
        assert end["after_validate"] == (12, "enough (rank 1)")


def test_a_message_is_read_when_the_next_one_is_sent(ends):
    for end in ends:
        assert end["log"][:5] == ["sent 0", "sent 1", "read 0", "sent 3", "read 1"]
        assert len(end["log"]) == 12
