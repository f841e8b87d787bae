"""Models that somebody else has prepared for several processes, as accelerate does."""

from functools import cache

import pytest
import torch

from .jobs import trajectory

CASES = [
    "plain",
    "adam",
    "accumulate",
    "masked, accumulated and clipped",
    "last batch of one item, accumulated",
    "sam, accumulated",
    "cancelled after the loss",
    "a callback calls the model",
    "training metrics that are saved in mid-epoch",
    "a validation in mid-epoch",
]

alone = cache(trajectory)


@pytest.fixture(scope="module")
def ends(values):
    return values(2, "in_a_wrapper", cases=CASES)


@pytest.mark.parametrize("case", CASES)
def test_a_model_that_came_in_a_wrapper_trains_as_one_process_does(case, ends):
    for end in ends:
        assert torch.allclose(end[case]["weights"], alone(case)["weights"], atol=2e-6)
        assert torch.equal(end[case]["weights"], ends[0][case]["weights"])
        assert end[case]["steps"] == alone(case)["steps"]
        for row, expected in zip(end[case]["rows"], alone(case)["rows"], strict=True):
            assert row == pytest.approx(expected, abs=2e-6, nan_ok=True)
        assert torch.equal(end[case]["predicted"], ends[0][case]["predicted"])


def test_the_wrapper_is_left_as_it_was(ends):
    assert all(end[case]["left"] == (True, True) for end in ends for case in CASES)


def test_another_case_would_be_seen_as_far_apart(ends):
    away = ends[0]["plain"]["weights"] - alone("accumulate")["weights"]
    assert away.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("within", "a DistributedDataParallel is within the model, and not around all of it, so"),
        ("of another group", "is in a DistributedDataParallel of 1 of the 2 processes, and Distri"),
        ("of the older kind", "the model is in a FullyShardedDataParallel, torch's older way to s"),
        ("with an argument", "Distributed(find_unused_parameters=…) cannot be had of a model that"),
        ("and partly frozen", "when 4 of its parameters were trained; now 2 are, and it cannot fo"),
    ],
)
def test_another_wrapper_is_refused(how, said, world):
    for kind, text in world(2, "in_other_wrappers", how=how):
        assert kind == "error"
        assert said in text


@pytest.mark.parametrize(
    "how", ["in a DistributedDataParallel", "in a FullyShardedDataParallel", "in shards"]
)
def test_a_learner_must_know_of_the_processes_of_its_model(how, world):
    for kind, text in world(2, "without_an_engine", how=how):
        assert kind == "error"
        assert f"ValueError: the model is {how} of 2 processes, and the Learner knows of" in text
        assert "Write Learner(…, engine=lehr.distributed.Distributed())" in text
