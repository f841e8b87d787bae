"""The entries that every training has."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import RandomSampler, WeightedRandomSampler

from lehr.data import DataLoader, Dataset
from lehr.state.differences import first_difference
from lehr.state.entries import (
    GradState,
    ModelState,
    ModeState,
    RandomState,
    loader_entries,
    modules,
)
from lehr.state.generators import GeneratorState
from lehr.state.snapshot import capture, restore

from .parts import Box, Wrapper, compiled, small_model, with_hidden_buffer


def test_a_model_is_put_back_in_place():
    model = with_hidden_buffer()
    entries = {"model": ModelState(model)}
    snapshot = capture(entries)
    objects = [*model.parameters(), *model.buffers()]
    with torch.no_grad():
        for t in objects:
            t.add_(1)
    changed = capture(entries)
    assert all(
        first_difference(snapshot["model"][k], changed["model"][k]) for k in snapshot["model"]
    )
    restore(entries, snapshot)
    assert first_difference(snapshot, capture(entries)) is None
    assert all(
        a is b for a, b in zip(objects, [*model.parameters(), *model.buffers()], strict=True)
    )


def test_buffers_kept_out_of_the_models_own_state_are_part_of_it():
    model = with_hidden_buffer()
    own, ours = {*model.state_dict()}, {*ModelState(model).state_dict()}
    assert ours - own == {"#hidden", "#0.deep"}
    assert own < ours


def test_a_model_without_hidden_buffers_has_its_own_keys_only():
    model = small_model()
    assert ModelState(model).state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("wrap", [Wrapper, lambda m: torch.compile(m, backend="eager")])
def test_a_wrapped_model_has_the_keys_of_the_bare_one_and_states_cross_both_ways(wrap):
    bare, other = with_hidden_buffer(), with_hidden_buffer()
    wrapped = wrap(other)
    assert any(key.startswith("_orig_mod.") for key in wrapped.state_dict())
    with torch.no_grad():
        for t in (*other.parameters(), *other.buffers()):
            t.add_(1)
    for source, target in [(wrapped, bare), (bare, wrapped)]:
        with torch.no_grad():
            source.state_dict(keep_vars=True)[next(iter(source.state_dict()))].mul_(3)
        snapshot = capture({"model": ModelState(source)})
        assert first_difference(snapshot, capture({"model": ModelState(target)}))
        restore({"model": ModelState(target)}, snapshot)
        assert first_difference(snapshot, capture({"model": ModelState(target)})) is None
    assert ModelState(wrapped).state_dict().keys() == ModelState(bare).state_dict().keys()


def test_a_model_refuses_the_state_of_another():
    with pytest.raises(RuntimeError, match="Missing key"):
        ModelState(small_model()).load_state_dict({})


def test_every_module_is_listed_the_model_first():
    model = small_model()
    assert [name for name, _ in modules(model)] == ["", "0", "1", "2", "3"]
    assert modules(model)[0][1] is model


def test_modes_and_frozen_parameters_come_back_one_by_one():
    model = small_model()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    entries = {"modes": ModeState(model)}
    snapshot = capture(entries)
    assert snapshot["modes"]["training"] == {"": True, "0": True, "1": False, "2": True, "3": True}
    for change in (model.eval, model.train, lambda: model.requires_grad_(True)):
        change()
        assert first_difference(snapshot, capture(entries))
        restore(entries, snapshot)
        assert first_difference(snapshot, capture(entries)) is None
    assert model[0].weight.requires_grad is False
    assert model[0].bias.requires_grad is True


def test_gradients_come_back_and_so_does_their_absence():
    model = nn.Linear(2, 1)
    entries = {"gradients": GradState(model)}
    none = capture(entries)
    assert none == {"gradients": {"weight": None, "bias": None}}
    model(torch.ones(1, 2)).sum().backward()
    some = capture(entries)
    model.weight.grad.add_(1)
    assert first_difference(some, capture(entries)).startswith("gradients.weight: 2 of 2")
    restore(entries, some)
    assert first_difference(some, capture(entries)) is None
    restore(entries, none)
    assert model.weight.grad is None
    assert model.bias.grad is None


def test_gradients_follow_a_model_that_has_moved_and_the_rest_is_restored():
    model = nn.Linear(2, 1).double()
    model(torch.ones(1, 2).double()).sum().backward()
    model.bias.grad = None
    box = Box(1)
    entries = {"gradients": GradState(model), "after": box}
    snapshot = capture(entries)
    model.to("meta")
    model.weight.grad = None
    box.value = 2
    restore(entries, snapshot)
    assert model.weight.grad.device.type == "meta"
    assert model.weight.grad.dtype == torch.float64
    assert model.bias.grad is None
    assert box.value == 1


def test_all_global_generators_are_one_entry():
    entries = {"random": RandomState()}
    snapshot = capture(entries)

    def draws():
        return torch.rand(()).item(), float(np.random.rand()), random.random()

    first = draws()
    assert first_difference(snapshot, capture(entries)).startswith("random.torch[0]: ")
    assert draws() != first
    restore(entries, snapshot)
    assert first_difference(snapshot, capture(entries)) is None
    assert draws() == first
    restore(entries, snapshot)


def test_a_generator_of_somebody_else_is_an_entry():
    generator = torch.Generator().manual_seed(3)
    entries = {"g": GeneratorState(generator)}
    snapshot = capture(entries)
    first = torch.rand(3, generator=generator)
    assert first_difference(snapshot, capture(entries)).startswith("g.state: ")
    assert not torch.equal(first, torch.rand(3, generator=generator))
    restore(entries, snapshot)
    assert torch.equal(first, torch.rand(3, generator=generator))


ITEMS = [1, 2, 3]


def new():
    return torch.Generator()


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: DataLoader(Dataset(torch.zeros(3), torch.zeros(3)), 2), ["dl"]),
        (lambda: [ITEMS], []),
        (lambda: TorchLoader(ITEMS), []),
        (lambda: TorchLoader(ITEMS, shuffle=True, generator=new()), ["dl.generator"]),
        (
            lambda: TorchLoader(ITEMS, sampler=RandomSampler(ITEMS, generator=new())),
            ["dl.sampler.generator"],
        ),
        (
            lambda: TorchLoader(
                ITEMS, sampler=WeightedRandomSampler([1.0], 2, generator=new()), generator=new()
            ),
            ["dl.generator", "dl.sampler.generator"],
        ),
        (
            lambda: TorchLoader(
                ITEMS,
                batch_sampler=torch.utils.data.BatchSampler(
                    RandomSampler(ITEMS, generator=new()), 2, False
                ),
            ),
            ["dl.batch_sampler.sampler.generator"],
        ),
    ],
    ids=["ours", "list", "plain", "shuffled", "sampler", "two_generators", "batch_sampler"],
)
def test_a_loader_is_its_generators_each_once(make, names):
    assert list(loader_entries("dl", make())) == names


def test_a_loader_with_a_state_of_its_own_is_its_entry():
    loader = Box({"position": 3})
    assert loader_entries("train_dl", loader) == {"train_dl": loader}


def test_a_shuffled_loader_repeats_its_order_after_a_restore():
    loader = TorchLoader(range(50), shuffle=True, generator=torch.Generator().manual_seed(0))
    entries = loader_entries("train_dl", loader)
    snapshot = capture(entries)
    first = [int(item) for item in loader]
    assert [int(item) for item in loader] != first
    restore(entries, snapshot)
    assert [int(item) for item in loader] == first


@pytest.mark.parametrize("kind", [ModeState, GradState, ModelState])
def test_states_of_a_compiled_model_fit_the_bare_one(kind):
    model = nn.Linear(2, 2)
    compiled = torch.compile(model, backend="eager")
    state = capture({"it": kind(compiled)})["it"]
    kind(model).load_state_dict(state)
    assert first_difference(state, capture({"it": kind(model)})["it"]) is None


@pytest.mark.parametrize("kind", [ModeState, GradState, ModelState])
def test_states_of_a_model_with_wrapped_parts_fit_the_bare_one_and_back(kind):
    def built(wrap):
        torch.manual_seed(0)
        norm = nn.BatchNorm1d(2)
        norm.register_buffer("hidden", torch.zeros(1), persistent=False)
        inner = nn.Sequential(nn.Linear(2, 2), norm)
        whole = nn.Sequential(wrap(inner), nn.Linear(2, 2))
        whole(torch.ones(3, 2)).sum().backward()
        return whole, inner

    (whole, inner), (bare, part) = built(lambda m: nn.DataParallel(compiled(m))), built(lambda m: m)
    for model, change in ((inner, 1), (part, 2)):
        with torch.no_grad():
            for p in (*model.parameters(), model[1].hidden):
                p.add_(change)
        model[0].weight.requires_grad_(change == 1)
        model[0].weight.grad.mul_(change + 1)
        model[change - 1].eval()
    for source, target in ((whole, bare), (bare, whole)):
        state = capture({"it": kind(source)})["it"]
        if target is bare:
            assert first_difference(state, capture({"it": kind(target)})["it"])
        assert not any("_orig_mod" in key or "module" in key for key in names_in(state))
        kind(target).load_state_dict(state)
        assert first_difference(state, capture({"it": kind(target)})["it"]) is None


def names_in(state):
    for key, value in state.items():
        yield key
        if isinstance(value, dict):
            yield from names_in(value)


def test_the_wrapper_of_a_part_has_the_mode_of_what_it_wraps():
    model = nn.Sequential(nn.DataParallel(nn.Dropout()))
    state = capture({"modes": ModeState(model)})
    model.eval()
    restore({"modes": ModeState(model)}, state)
    assert model[0].training
    assert model[0].module.training


def test_a_buffer_that_has_grown_is_put_back():
    class Cache(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("cache", torch.zeros(2), persistent=False)

    model = nn.Sequential(Cache())
    entries = {"model": ModelState(model)}
    before = capture(entries)
    for other in (torch.ones(5), torch.ones(2).double()):
        model[0].cache = other
        assert first_difference(before, capture(entries))
        restore(entries, before)
        assert first_difference(before, capture(entries)) is None


def test_a_buffer_that_has_grown_goes_to_the_device_of_the_old_one():
    model = nn.Module()
    model.register_buffer("cache", torch.zeros(2, device="meta"), persistent=False)
    ModelState(model).load_state_dict({"#cache": torch.ones(5)})
    assert (model.cache.device.type, len(model.cache)) == ("meta", 5)
