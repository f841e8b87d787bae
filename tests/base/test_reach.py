"""What a function or an object can reach is found without calling anything."""

from collections import OrderedDict
from functools import partial

import pytest
import torch
from torch import nn

from lehr.base.reach import held_by, may_hold, reached
from lehr.testing import tiny_learner

LAYER = nn.Linear(1, 1)


class Thing:
    def __init__(self, **parts):
        vars(self).update(parts)

    def method(self):
        return LAYER


def closure(value):
    return lambda: value


@pytest.mark.parametrize(
    ("thing", "held"),
    [
        ([3, 4], {0: 3, 1: 4}),
        (OrderedDict(a=1), {"a": 1}),
        (partial(max, 1, key=2), {"func": max, 0: 1, 1: 2}),
        (closure(5), {"value": 5}),
        (Thing(a=1), {"a": 1}),
        (Thing(a=1).method, {"a": 1, "LAYER": LAYER}),
        (3, {}),
    ],
)
def test_what_is_held_has_the_names_that_it_has_there(thing, held):
    assert held_by(thing) == held


def test_modules_classes_and_tensors_are_not_looked_into():
    for thing in (LAYER, nn.Linear, torch, torch.zeros(2), 3, "text"):
        assert not may_hold(thing)
    for thing in ([], {}, Thing(a=1), closure(1), Thing().method, partial(max)):
        assert may_hold(thing)


def paths(start):
    return [path for path, _ in reached(start)]


def test_the_nearest_is_reached_first_and_each_thing_once():
    far = Thing(inner=Thing(layer=LAYER), layer=nn.ReLU(), again=LAYER)
    assert paths(closure(far)) == ["", "value", "value.inner", "value.layer", "value.again"]
    circle = Thing()
    circle.me = circle
    assert paths(circle) == [""]


def test_a_method_of_a_module_stands_for_the_module():
    assert list(reached(closure(LAYER.forward)))[1:] == [("value", LAYER)]


def test_functions_of_torch_and_objects_of_the_library_are_not_looked_into():
    assert paths(nn.functional.cross_entropy) == [""]
    assert paths(closure(tiny_learner())) == ["", "value"]


def test_after_a_hundred_things_nothing_more_is_looked_at():
    assert len(paths([[] for _ in range(200)])) == 100
