"""What a callback offers to a graph."""

import torch

from lehr import Changes, GraphPart


def doubled(values, tensors, numbers, *, times=2):
    return Changes({name: value * times for name, value in values.items()})


def test_what_is_left_out_is_empty():
    part = GraphPart(doubled)
    assert (part.tensors, part.numbers, part.fixed, part.done) == ({}, {}, {}, None)
    changes = part.function({"w": torch.ones(1)}, part.tensors, part.numbers)
    assert changes.values["w"] == 2
    assert (changes.tensors, changes.logs) == ({}, {})


def test_another_graph_is_needed_for_another_function_or_fixed_argument_only():
    part = GraphPart(doubled, numbers={"a": 1.0}, fixed={"times": 3})
    assert part.shape == part._replace(numbers={"a": 2.0}).shape
    assert part.shape != part._replace(fixed={"times": 4}).shape
    assert part.shape != part._replace(function=print).shape
