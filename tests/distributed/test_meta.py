"""Models that are built on the meta device."""

from functools import cache

import pytest
import torch
from torch import nn

from lehr.distributed import Distributed
from lehr.distributed.meta import check_init, is_meta, materialize
from lehr.testing import tiny_learner

from . import jobs

LARGEST = 16  # numbers that one of its modules has

alone = cache(lambda: jobs.without_values("alone"))


@pytest.fixture(scope="module")
def ends(values):
    return values(2, "both_without_values")


@pytest.mark.parametrize("how", ["sharded", "whole"])
def test_it_trains_as_one_that_was_built_with_values(how, ends):
    for end in (end[how] for end in ends):
        assert torch.equal(end["begun"], alone()["begun"])
        assert torch.allclose(end["weights"], alone()["weights"], atol=1e-6)
        size = alone()["begun"].numel()
        assert end["most"] <= (size if how == "whole" else size / 2) + LARGEST


def test_one_process_gives_values_too():
    torch.manual_seed(5)
    with torch.device("meta"):
        model = jobs.build()
    learn = tiny_learner(model=model, engine=Distributed())
    assert torch.equal(jobs.weights_of(learn), alone()["begun"])


def on_meta(make):
    with torch.device("meta"):
        return make()


def test_a_part_with_values_is_refused():
    model = nn.Sequential(on_meta(lambda: nn.Linear(2, 3)), nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"a part, such as 1.weight, is not"):
        is_meta(model)


class Own(nn.Module):
    """A layer that does not say how it is initialized."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))


def test_a_module_that_cannot_be_initialized_is_named():
    model = on_meta(lambda: nn.Sequential(nn.Linear(2, 2), Own()))
    with pytest.raises(ValueError, match=r"how 1 \(Own\) is to be initialized"):
        check_init(model, None)
    check_init(model, print)
    with pytest.raises(ValueError, match=r"there is no method reset_parameters"):
        tiny_learner(model=model, engine=Distributed())


def test_values_must_be_set_in_place():
    def replace(module):
        module.weight = nn.Parameter(torch.ones(3, 2))

    layer = on_meta(lambda: nn.Linear(2, 3))
    with pytest.raises(ValueError, match=r"init has replaced weight of a Linear"):
        materialize(layer, replace, torch.device("cpu"))


def test_a_function_of_the_users_gives_them():
    layer = on_meta(lambda: nn.Linear(2, 3))
    materialize(layer, lambda module: nn.init.constant_(module.weight, 2.0), torch.device("cpu"))
    assert layer.weight.tolist() == [[2.0, 2.0]] * 3
    assert layer.bias.tolist() == [0.0] * 3
