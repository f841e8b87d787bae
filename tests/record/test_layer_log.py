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
