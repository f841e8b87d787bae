from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import ConcatDataset, DistributedSampler, Subset
from torch.utils.data import DataLoader as TorchLoader

from lehr.state.differences import first_difference
from lehr.state.epochs import EpochState, epoch_entries, tell_epoch
from lehr.state.snapshot import capture, restore


class Counted:
    def __init__(self, **parts):
        self.epochs, self.epoch = [], 0
        vars(self).update(parts)

    def set_epoch(self, epoch):
        self.epochs.append(epoch)
        self.epoch = epoch

    def __iter__(self):
        return iter(())


def test_loader_samplers_and_dataset_are_told_each_once():
    inner, both, dataset = Counted(), Counted(), Counted()
    batch_sampler = Counted(sampler=inner)
    loader = Counted(sampler=both, batch_sampler=batch_sampler, dataset=dataset, more=both)
    loader.sampler = batch_sampler.sampler = both
    tell_epoch(loader, 5, key=0)
    assert [part.epochs for part in (loader, both, batch_sampler, dataset)] == [[5]] * 4
    assert inner.epochs == []  # it is no part any more


def test_datasets_inside_of_others_are_told():
    one, other = Counted(), Counted()
    nested = ConcatDataset([Sized(one), Subset(Sized(other), [0])])
    loader = TorchLoader(Subset(nested, [0, 1]))
    tell_epoch(loader, 4, key=0)
    assert one.epochs == other.epochs == [4]
    assert sorted(epoch_entries("x", loader)) == [
        "x.dataset.dataset.datasets.0.dataset.epoch",
        "x.dataset.dataset.datasets.1.dataset.dataset.epoch",
    ]


def test_a_dataset_that_is_its_own_part_is_told_once():
    circle = Counted()
    circle.dataset = circle
    tell_epoch(Counted(dataset=circle), 4, key=0)
    assert circle.epochs == [4]


class Sized:
    """Wraps a dataset, as Subset does."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return 2


def test_each_of_several_loaders_is_told_and_what_they_share_once():
    shared = Counted()
    a, b = Counted(dataset=shared), Counted(dataset=shared)
    tell_epoch({"a": a, "b": b}, 2, key=0)
    assert [part.epochs for part in (a, b, shared)] == [[2]] * 3
    assert sorted(epoch_entries("x", {"a": a, "b": b})) == [
        *("x.a.dataset.epoch", "x.a.epoch", "x.b.epoch"),
    ]


@pytest.mark.parametrize("loader", [[1, 2], lambda: [1], TorchLoader([1]), {"set_epoch": print}])
def test_who_has_no_such_method_is_left_alone(loader):
    tell_epoch(loader, 1, key=0)
    assert epoch_entries("x", loader) == {}


def test_what_it_draws_is_keyed_and_leaves_no_trace():
    drawn = []
    loader = SimpleNamespace(set_epoch=lambda epoch: drawn.append(torch.rand(1).item()))
    before = torch.get_rng_state()
    for key in (1, 1, 2):
        tell_epoch(loader, 0, key=key)
    assert torch.equal(before, torch.get_rng_state())
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("epoch", [3, torch.tensor(3)])
def test_the_number_is_put_back_where_it_can_be_read(epoch):
    sampler = Counted(epoch=epoch)
    entries = epoch_entries("x", Counted(sampler=sampler, epoch=None))
    assert list(entries) == ["x.sampler.epoch"]
    before = capture(entries)
    sampler.set_epoch(8)
    assert first_difference(before, capture(entries)) == "x.sampler.epoch.epoch: 3 against 8"
    restore(entries, before)
    assert sampler.epochs == [8, 3]
    restore(entries, before)
    assert sampler.epochs == [8, 3]  # it knows


@pytest.mark.parametrize("epoch", [True, 1.5, "1", torch.zeros(2), None])
def test_anything_else_is_no_number_of_an_epoch(epoch):
    assert epoch_entries("x", Counted(epoch=epoch)) == {}


def test_torchs_sampler_says_its_number():
    sampler = DistributedSampler(range(4), num_replicas=1, rank=0)
    EpochState(sampler).load_state_dict({"epoch": 2})
    assert (sampler.epoch, EpochState(sampler).state_dict()) == (2, {"epoch": 2})
