"""Tables of numbers of layers."""

import pytest
import torch

from lehr.record.layer_log import LayerLog


def test_tables_come_back_in_order_however_many_there_are():
    for count in (0, 1, 64, 65, 200):
        log = LayerLog(["a", "b"], 3)
        tables = [torch.full((2, 3), float(i)) for i in range(count)]
        for i, table in enumerate(tables):
            log.add(10 * i, table)
        assert log.batches == [10 * i for i in range(count)]
        assert log.values().shape == (count, 2, 3)
        assert torch.equal(log.values(), torch.stack(tables) if count else torch.empty(0, 2, 3))


def test_reading_in_between_changes_nothing():
    log = LayerLog(["a"], 1)
    for i in range(70):
        log.add(i, torch.tensor([[float(i)]]))
        if i % 9 == 0:
            log.values()
    assert log.values().flatten().tolist() == list(map(float, range(70)))


def test_its_state_is_taken_on_by_one_of_the_same_layers_alone():
    log, same, other = LayerLog(["a"], 1), LayerLog(["a"], 1), LayerLog(["b"], 1)
    log.add(3, torch.ones(1, 1))
    same.load_state_dict(log.state_dict())
    same.add(4, torch.zeros(1, 1))
    assert same.batches == [3, 4]
    assert same.values().flatten().tolist() == [1, 0]
    assert log.batches == [3]
    with pytest.raises(KeyError, match="the records are of the layers a; here are b"):
        other.load_state_dict(log.state_dict())
    assert other.batches == []


def test_memory_is_bounded_and_what_is_held_spans_everything_evenly():
    log = LayerLog(["a"], 1, capacity=8)
    for i in range(100):
        log.add(i, torch.tensor([[float(i)]]))
        assert len(log.batches) == len(log.values()) < 8
    assert log.batches == log.values().flatten().tolist() == [0, 16, 32, 48, 64, 80, 96]
    with pytest.raises(ValueError, match="capacity must be at least 2; got 1"):
        LayerLog(["a"], 1, capacity=1)


@pytest.mark.parametrize("stop", [3, 7, 8, 9, 50])
def test_one_that_goes_on_from_a_state_holds_what_the_other_does(stop):
    straight, first = LayerLog(["a"], 1, capacity=8), LayerLog(["a"], 1, capacity=8)
    for i in range(100):
        straight.add(i, torch.tensor([[float(i)]]))
        if i < stop:
            first.add(i, torch.tensor([[float(i)]]))
    again = LayerLog(["a"], 1, capacity=8)
    again.load_state_dict(first.state_dict())
    for i in range(stop, 100):
        again.add(i, torch.tensor([[float(i)]]))
    assert again.batches == straight.batches
    assert torch.equal(again.values(), straight.values())
