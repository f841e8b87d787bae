"""Numbers of several processes as one."""

import math

import pytest
import torch

from lehr import whole
from lehr.engine import ALONE, Engine
from lehr.record.means import Mean
from lehr.record.merging import merge_object, merged, over_all


class Two(Engine):
    """Two processes; the other one gives what it was made with."""

    world = 2

    def __init__(self, other):
        self.other = other

    def gather(self, value):
        other = self.other
        return [value, other.state_dict() if hasattr(other, "state_dict") else other]

    def sums(self, named):
        both = {name: torch.zeros(2) for name in (*named, *self.other)}
        for numbers in (named, self.other):
            for name, pair in numbers.items():
                both[name] += torch.tensor(pair)
        return {name: total.tolist() for name, total in both.items()}

    def sum(self, values):
        return values + self.other


def mean(value: float, weight: float) -> Mean:
    made = Mean()
    made.add(value, weight)
    return made


def test_a_merged_mean_is_over_the_items_of_all():
    both = merged({"a": mean(1.0, 3)}, Two({"a": (10.0, 1.0), "b": (4.0, 2.0), "c": (0.0, 0.0)}))
    assert {name: one.value for name, one in both.items()} == {"a": 13 / 4, "b": 2.0, "c": None}
    assert merged({"a": mean(1.0, 3)}, ALONE)["a"].value == 1.0


def test_values_of_batches_are_weighted_and_nan_without_weight_counts_for_nothing():
    other = torch.tensor([[4.0, 3.0, 0.0], [2.0, 1.0, 0.0]], dtype=torch.float64)
    values, weights = over_all(Two(other), torch.tensor([1.0, math.nan, math.nan]), [2, 0, 0])
    assert values[:2].tolist() == [1.5, 3.0]
    assert math.isnan(values[2])
    assert weights == [4, 1, 0]


def test_objects_are_merged_in_the_order_of_the_batches():
    mine, other = whole(torch.add), whole(torch.add)
    for i in range(3):
        mine.update(torch.tensor([2.0 * i]), torch.zeros(1))
        if i < 2:
            other.update(torch.tensor([2.0 * i + 1]), torch.zeros(1))
    merge_object(mine, "add", Two(other))
    assert mine.compute().tolist() == [0, 1, 2, 3, 4]


def test_an_object_that_cannot_be_sent_is_refused():
    class Own:
        """Of a class that only this test knows."""

        def merge_state(self, others): ...

    said = r"the metric 'own' gathers in each of several processes, and cannot be sent to the other"
    with pytest.raises(TypeError, match=said):
        merge_object(Own(), "own", Two(None))


def test_a_function_that_cannot_be_sent_stays_where_it_is():
    mine, other = (whole(lambda pred, target: pred.sum()) for _ in range(2))
    mine.update(torch.ones(2), None)
    other.update(torch.ones(3), None)
    merge_object(mine, "sum", Two(other))
    assert mine.compute() == 5


def test_an_object_that_cannot_be_merged_is_refused():
    with pytest.raises(
        TypeError, match=r"the metric 'own' gathers in each of 2 processes, and can"
    ):
        merge_object(object(), "own", Two(None))
    merge_object(object(), "own", ALONE)
