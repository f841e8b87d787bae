"""Models that are built on the meta device."""

from functools import cache

import pytest
import torch
from torch import nn

from lehr.distributed import Distributed
from lehr.distributed.meta import check_init, is_meta, materialize
from lehr.state.differences import first_difference
from lehr.state.disk.weights import save_weights
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


class Turned(nn.Module):
    """A layer with numbers that its state_dict does not have."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("angles", torch.arange(3.0), persistent=False)

    def forward(self, xb):
        return xb * self.scale + self.angles


class TurnedAnew(Turned):
    """One that can make them."""

    def reset_parameters(self):
        self.angles.copy_(torch.arange(3.0))


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(7)
    model = jobs.build()
    save_weights(model, tmp_path / "w.safetensors")
    return str(tmp_path / "w.safetensors"), model.state_dict()


def test_each_process_reads_its_part_from_a_file(saved, values):
    path, expected = saved
    for end in values(2, "from_a_file", path=path):
        assert first_difference(end["state"], dict(expected)) is None
        assert 0 < end["read"] == end["own"] < 40


def test_one_process_reads_all_of_it(saved):
    path, expected = saved
    learn = tiny_learner(model=on_meta(jobs.build), engine=Distributed(init=path))
    assert first_difference(dict(learn.model.state_dict()), dict(expected)) is None


def test_a_file_does_not_have_what_the_state_dict_lacks(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(nn.Sequential(Turned(), nn.Linear(3, 2)), path)
    model = on_meta(lambda: nn.Sequential(Turned(), nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"how 0 \(Turned\) is to be initialized"):
        tiny_learner(model=model, engine=Distributed(init=path))
    model = on_meta(lambda: nn.Sequential(TurnedAnew(), nn.Linear(3, 2)))
    tiny_learner(model=model, engine=Distributed(init=path))
    assert model[0].angles.tolist() == [0.0, 1.0, 2.0]
    assert model[0].scale.tolist() == [1.0, 1.0, 1.0]


def test_a_file_of_another_model_is_refused(saved):
    model = on_meta(lambda: nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="do not fit the model"):
        tiny_learner(model=model, engine=Distributed(init=saved[0]))


def test_an_init_that_is_none_is_refused():
    with pytest.raises(TypeError, match="the path of a file of weights, or None; got 3"):
        Distributed(init=3)
