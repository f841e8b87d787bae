"""Wrappers are seen through, however they are nested; nothing else is."""

import pytest
import torch
from torch import nn
from torch.distributed import HashStore, destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

from lehr.state.wrappers import bare, bare_names


def compiled(model):
    return torch.compile(model, backend="eager")


@pytest.fixture
def group():
    init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    destroy_process_group()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model,
        compiled,
        nn.DataParallel,
        DistributedDataParallel,
        lambda model: compiled(nn.DataParallel(model)),
        lambda model: nn.DataParallel(compiled(model)),
        lambda model: compiled(DistributedDataParallel(model)),
        lambda model: DistributedDataParallel(compiled(nn.DataParallel(model))),
    ],
)
def test_the_model_is_found_in_any_nesting_and_its_names_read_as_if_bare(wrap, group):
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1)))
    wrapped = wrap(model)
    assert bare(wrapped) is model
    assert [*map(bare_names(wrapped), wrapped.state_dict())] == [*model.state_dict()]


def test_wrapped_parts_have_the_names_of_bare_ones():
    inner = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    names = list(nn.Sequential(nn.Sequential(*inner), nn.Linear(1, 1)).state_dict())
    inner[1] = nn.DataParallel(compiled(inner[1]))
    model = nn.Sequential(compiled(inner), nn.Linear(1, 1))
    assert bare(model) is model
    raw = [*model.state_dict()]
    assert raw != names
    assert [*map(bare_names(model), raw)] == names
    assert bare_names(model)("0._orig_mod") == "0"


def test_a_part_that_stands_at_two_places_is_wrapped_at_both():
    part = nn.DataParallel(nn.Linear(1, 1))
    name = bare_names(nn.ModuleDict({"a": part, "ab": part, "c": nn.Linear(1, 1)}))
    assert [*map(name, ["a.module.bias", "ab.module.bias", "c.bias"])] == [
        "a.bias",
        "ab.bias",
        "c.bias",
    ]


def test_a_models_own_part_called_module_is_no_wrapper():
    model = nn.ModuleDict({"module": nn.Linear(1, 1)})
    assert bare(model) is model
    assert bare_names(model)("module.bias") == "module.bias"
