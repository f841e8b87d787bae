"""Losses are read many at a time, and none is lost."""

import math
from types import SimpleNamespace

import pytest
import torch

from lehr.engine import ALONE, Engine
from lehr.record.unread import Place, UnreadLosses, first_non_finite
from lehr.state.disk.plain import flatten, unflatten


def filled(n):
    losses = UnreadLosses()
    for i in range(n):
        losses.add(torch.tensor(float(i)), Place(i, 0, i))
    return losses


def test_what_is_read_is_forgotten():
    losses = filled(3)
    assert losses.read() == [(Place(i, 0, i), float(i)) for i in range(3)]
    assert losses.read() == []


def test_a_loss_whose_tensor_is_used_again_keeps_its_value():
    losses, buffer = UnreadLosses(), torch.tensor(1.0)
    losses.add(buffer, Place(0, 0, 0))
    buffer.fill_(2.0)
    assert losses.read()[0][1] == 1.0


def at(**fields):
    """A run between `after_loss` and the end of its batch."""
    run = {"training": True, "weight": 4, "loss": torch.tensor(8.0), "mean_loss": torch.tensor(2.0)}
    return SimpleNamespace(**{**run, "engine": ALONE, **fields}, n_steps=3, epoch=1, batch_index=2)


@pytest.mark.parametrize(("mean", "loss"), [(False, 8.0), (True, 2.0)])
def test_the_loss_of_a_batch_is_kept_with_its_place(mean, loss):
    losses = UnreadLosses()
    assert losses.add_of(at(), mean=mean)
    assert losses.read() == [(Place(step=3, epoch=1, batch=2), loss)]


@pytest.mark.parametrize("left_out", [{"training": False}, {"weight": 0}, {"loss": torch.zeros(2)}])
def test_a_batch_that_does_not_count_is_left_out(left_out):
    losses = UnreadLosses()
    assert not losses.add_of(at(**left_out))
    assert len(losses) == 0


def test_they_can_be_saved():
    losses, other = filled(3), UnreadLosses()
    state = unflatten(*flatten({"it": losses.state_dict()}))
    other.load_state_dict(state["it"])
    assert other.read() == losses.read()


def test_the_first_bad_one_is_found():
    places = [Place(i, 0, i) for i in range(3)]
    for bad in (math.nan, math.inf, -math.inf):
        assert first_non_finite(list(zip(places, [0.0, bad, bad], strict=True))) == 1
    assert first_non_finite(list(zip(places, [0.0, -1.0, 1e300], strict=True))) is None


class Two(Engine):
    """Two processes; in the other one, each loss is 4, of 3 items."""

    world = 2

    def sum(self, values):
        return values + torch.tensor([[12.0] * values.shape[1], [3.0] * values.shape[1]])


@pytest.mark.parametrize(("weight", "read"), [(1, (2.0 + 12.0) / 4), (0, 4.0)])
def test_what_is_read_is_the_mean_over_all_processes(weight, read):
    engine = Two()
    losses = UnreadLosses(engine)
    assert losses.add_of(at(engine=engine, weight=weight))
    assert [value for _, value in losses.read()] == [read]


class OfTwo(Engine):
    """One of two processes, of which the other one adds these sums."""

    world = 2

    def __init__(self, rank, other):
        self.rank, self.other = rank, torch.tensor(other, dtype=torch.float64)

    def sum(self, values):
        return values + self.other


@pytest.mark.parametrize("rank", [0, 1])
def test_before_it_is_saved_the_first_process_has_the_losses_of_all(rank):
    engine = OfTwo(rank, [[2.0, 3.0], [2.0, 1.0]])  # sums, and their weights
    losses = UnreadLosses(engine)
    losses.add(torch.tensor(4.0), Place(0, 0, 0), 2.0)
    losses.add(torch.tensor(math.nan), Place(1, 0, 1), 0.0)
    losses.merge()
    state = losses.state_dict()
    assert state["weights"] == ([4.0, 1.0] if rank == 0 else [0.0, 0.0])
    other = UnreadLosses(OfTwo(1 - rank, [[0.0, 0.0], [0.0, 0.0]]))
    other.load_state_dict(state)
    assert other.read() == []  # what one process has, the other has not as well
    again = UnreadLosses(OfTwo(rank, [[0.0, 0.0], [0.0, 0.0]]))
    again.load_state_dict(state)
    both = [(Place(0, 0, 0), 2.5), (Place(1, 0, 1), 3.0)]
    assert again.read() == (both if rank == 0 else [])
