"""Generators that a foreign loader holds are found whatever their attribute is called."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lehr import Callback
from lehr.callbacks import Checkpoint
from lehr.state.differences import first_difference
from lehr.state.generators import generators_of
from lehr.state.snapshot import capture, restore
from lehr.testing import tiny_learner


class Shuffles:
    """A sampler that draws its order from a generator of its own."""

    def __init__(self, rng, order):
        self.rng, self.order = rng, order

    def __len__(self):
        return 32

    def __iter__(self):
        return iter(self.order(self.rng))


SAMPLERS = {
    "torch": lambda: Shuffles(
        torch.Generator().manual_seed(3), lambda rng: torch.randperm(32, generator=rng).tolist()
    ),
    "numpy": lambda: Shuffles(
        np.random.default_rng(3), lambda rng: [int(i) for i in rng.permutation(32)]
    ),
    "numpy, another": lambda: Shuffles(
        np.random.Generator(np.random.Philox(3)), lambda rng: [int(i) for i in rng.permutation(32)]
    ),
    "numpy, legacy": lambda: Shuffles(
        np.random.RandomState(3), lambda rng: [int(i) for i in rng.permutation(32)]
    ),
    "python": lambda: Shuffles(random.Random(3), lambda rng: rng.sample(range(32), 32)),
}


def loader(sampler):
    x = torch.arange(96.0).reshape(32, 3) / 96
    return DataLoader(TensorDataset(x, torch.arange(32) % 2), 8, sampler=sampler)


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
def test_it_goes_on_where_it_was(make):
    sampler = make()
    entries = dict(generators_of(loader(sampler)))
    assert list(entries) == ["sampler.rng"]
    snapshot, first = capture(entries), list(sampler)
    assert list(sampler) != first
    restore(entries, snapshot)
    assert list(sampler) == first


def test_those_of_the_process_and_of_the_machine_are_not_the_loaders():
    for rng in (
        torch.default_generator,
        random.seed.__self__,
        np.random.random_sample.__self__,
        random.SystemRandom(),
        np.random.PCG64(3),
        None,
    ):
        assert list(generators_of(loader(Shuffles(rng, None)))) == []


def test_a_dataset_s_is_found_and_each_once():
    rng = random.Random(3)
    both = loader(Shuffles(rng, None))
    both.dataset.again, both.dataset.noise = rng, torch.Generator()
    assert [path for path, _ in generators_of(both)] == ["sampler.rng", "dataset.noise"]


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("ask", ["rehearse", "find_lr", "summary", "nothing", "fit"])
def test_a_probe_takes_nothing_from_it(make, ask):
    def trained(ask):
        learn = tiny_learner(seed=1)
        learn.data.train_dl = loader(make())
        if ask == "fit":
            learn.fit(1)
        elif ask == "rehearse":
            learn.rehearse(2)
        elif ask != "nothing":
            getattr(learn, ask)()
        return learn.fit(2).history["loss"]

    assert (trained(ask) == trained("nothing")) is (ask != "fit")


class PowerCut(Callback):
    replays = False

    def after_step(self, run):
        if run.n_steps == 6:
            raise SystemError("the lights went out")


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
def test_a_run_that_goes_on_reads_the_same_order(make, tmp_path):
    def training(*more):
        learn = tiny_learner(more, seed=1)
        learn.data.train_dl = loader(make())
        return learn

    with pytest.raises(SystemError, match="the lights went out"):
        training(Checkpoint(tmp_path / "saved", every="1 epoch"), PowerCut()).fit(3)
    again, straight = training(Checkpoint(tmp_path / "saved", every="1 epoch")), training()
    assert again.fit(3, resume="auto").n_steps == straight.fit(3).n_steps == 12
    ours, theirs = capture({"model": again.model}), capture({"model": straight.model})
    assert first_difference(ours, theirs) is None
