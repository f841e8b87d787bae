"""Counters and flags, and what follows from them."""

import pytest

from lehr.loop.position import COUNTERS, Position


def at(n_steps=0, *, window_start=0, in_batch=False, training=True, **length):
    position = Position(**length)
    position.n_steps, position.window_start = n_steps, window_start
    position.in_batch, position.training = in_batch, training
    return position


def test_every_counter_is_a_field_and_no_other_can_be_set():
    position = Position(epochs=2)
    assert all(hasattr(position, name) for name in (*COUNTERS, *Position.__slots__))
    with pytest.raises(AttributeError):
        position.n_step = 1


@pytest.mark.parametrize(
    ("length", "planned"),
    [
        ({"epochs": 3, "steps_per_epoch": 4}, 12),
        ({"steps": 5}, 5),
        ({"steps": 5, "steps_per_epoch": 4}, 5),
        ({"epochs": 3}, None),
        ({"epochs": 0, "steps_per_epoch": 4}, 0),
        ({}, None),
    ],
)
def test_the_planned_steps_are_those_given_or_those_of_all_epochs(length, planned):
    assert Position(**length).planned_steps == planned


@pytest.mark.parametrize(
    ("length", "counts"),
    [
        ({"epochs": 3, "steps_per_epoch": 4, "train_batches": 4}, True),
        ({"epochs": 3, "steps_per_epoch": 2, "train_batches": 4}, False),  # two batches a step
        ({"epochs": 3, "train_batches": 4}, False),
        ({"steps": 8, "steps_per_epoch": 4, "train_batches": 4}, False),
    ],
)
def test_whether_the_length_counts_a_step_for_each_batch(length, counts):
    assert Position(**length).counts_a_step_a_batch is counts


def test_pos_is_that_of_the_window_in_a_batch_and_that_of_the_steps_elsewhere():
    assert at(3, steps=4).pos == 0.75
    assert at(3, window_start=2, in_batch=True, steps=4).pos == 0.5
    assert at(4, steps=4).pos == 1.0  # when all is done
    assert at(4, window_start=4, in_batch=True, training=False, steps=4).pos == 1.0  # validation


def test_pos_needs_the_length_of_the_run():
    for length in ({}, {"epochs": 3}, {"epochs": 0, "steps_per_epoch": 4}):
        with pytest.raises(
            ValueError, match=r"^run\.pos needs the length of the run, .* fit\(step"
        ):
            _ = Position(**length).pos


def test_more_steps_than_were_planned_are_an_error_in_a_training_batch():
    match = r"^run\.pos must stay below 1, but 4 steps of 4 are done and another is under way"
    with pytest.raises(ValueError, match=match):
        _ = at(4, window_start=4, in_batch=True, steps=4).pos


def test_epochs_have_fractions_where_the_number_of_batches_is_known():
    position = Position(epochs=3, train_batches=4)
    position.epoch, position.epoch_start, position.n_iter = 2, 8, 9
    assert position.n_epochs == 2.25
    position.train_batches = None
    assert position.n_epochs == 2.0
