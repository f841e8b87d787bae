"""Several processes train as one does: D1, D3, D4, D6 and D7 of the guarantees."""

from functools import cache
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lehr.distributed.data_parallel import DataParallel
from tests.tier import NIGHTLY

from .jobs import CASES, trajectory

WEIGHTS = 1e-6  # float32; the sums are made in another order
NUMBERS = 1e-6
# Means that are only of the shares' own weights, or over sums in another order of many steps.
LOOSE = {"closure": 1e-5, "adam": 2e-6}
CASES_OF = {
    2: list(CASES),
    3: [  # whose shares of a batch are unequal; of one item, two processes have nothing
        *("plain", "masked items", "accumulate by items", "last batch of one item, accumulated"),
        *("sam, accumulated", "a loader of single items", "cancelled after the loss"),
    ],
}
if NIGHTLY:
    CASES_OF[3] = CASES_OF[2]
ENDS = [(case, processes) for processes, cases in CASES_OF.items() for case in cases]


@pytest.fixture(scope="module")
def ends(values):
    """What each process of so many came to, for every case; run once for each number."""
    return cache(lambda processes: values(processes, "trajectories", cases=CASES_OF[processes]))


alone = cache(trajectory)


def apart(one, other) -> float:
    return (one["weights"] - other["weights"]).abs().max().item()


@pytest.mark.parametrize(("case", "processes"), ENDS)
def test_it_is_the_trajectory_of_one_process(case, processes, ends):
    reference = alone(case)
    for end in (end[case] for end in ends(processes)):
        assert apart(end, reference) <= LOOSE.get(case, WEIGHTS)
        assert end["steps"] == reference["steps"]
        assert len(end["rows"]) == len(reference["rows"])
        for row, expected in zip(end["rows"], reference["rows"], strict=True):
            assert row == pytest.approx(expected, abs=LOOSE.get(case, NUMBERS), nan_ok=True)
        assert end["loss"] == pytest.approx(reference["loss"], abs=2e-6, nan_ok=True)


@pytest.mark.parametrize(("case", "processes"), ENDS)
def test_all_processes_end_with_the_same_bits(case, processes, ends):
    first, *others = (end[case] for end in ends(processes))
    for other in others:
        assert torch.equal(first["weights"], other["weights"])
        assert first["rows"] == other["rows"]


def test_a_mean_of_the_means_of_processes_would_be_far_off(values):
    for weights in values(2, "mean_of_means"):
        assert (weights - alone("masked items")["weights"]).abs().max() > 1e-2


def test_other_cases_would_be_seen_as_far_apart(ends):
    (first, _), cases = ends(2), ("plain", "masked items", "accumulate", "clip")
    for one in cases:
        for other in set(cases) - {one}:
            assert apart(first[one], alone(other)) > 1e-3


def test_who_has_parameters_without_a_part_in_the_loss_is_told_what_to_do():
    model, made = nn.Linear(1, 1), DataParallel.__new__(DataParallel)
    run = SimpleNamespace(training=True, model=model)
    vars(made).update(run=run, model=model, parallel=SimpleNamespace(), past=False, closes=True)

    def predict():
        raise RuntimeError("pass find_unused_parameters=True to DistributedDataParallel")

    with pytest.raises(RuntimeError) as raised:
        made.predicting(predict)()
    assert "give Distributed(find_unused_parameters=True), or" in raised.value.__notes__[0]
    assert run.model is model
