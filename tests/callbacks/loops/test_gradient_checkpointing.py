"""Activations that are computed again instead of kept."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from lehr.callbacks import (
    EMA,
    SAM,
    Accumulate,
    ActivationStats,
    ClipGradients,
    GradientCheckpointing,
    MixedPrecision,
    MixUp,
)
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def block():
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Tanh())


def learner(*callbacks):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), block(), block(), nn.Linear(4, 2))
    return tiny_learner(callbacks, model=model)


def kept(learn):
    """How many numbers the graph of a training batch keeps."""
    found = []

    def pack(tensor):
        found.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        learn.model(torch.randn(8, 3))
    return sum(found)


TOGETHER = {
    "alone": list,
    "half precision": lambda: [MixedPrecision("bf16")],
    "SAM in windows, clipped": lambda: [SAM(0.1), Accumulate(2), ClipGradients(0.5)],
    "mixed items and an average": lambda: [MixUp(), EMA(0.9)],
}


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("layers", [["1", "2"], nn.Sequential, nn.Dropout])
def test_a_fit_has_the_same_bits_as_without(name, layers):
    plain = learner(*TOGETHER[name]())
    sparing = learner(*TOGETHER[name](), GradientCheckpointing(layers))
    losses = [learn.fit(2).history["loss"] for learn in (plain, sparing)]
    assert losses[0] == losses[1]
    states = [capture({"model": learn.state_entries()["model"]}) for learn in (plain, sparing)]
    assert first_difference(*states) is None
    other = learner(*TOGETHER[name]())
    other.model[2][2].p = 0.0
    assert other.fit(2).history["loss"] != losses[0]


def test_the_graph_keeps_less_and_the_modules_compute_twice():
    class Kept(GradientCheckpointing):
        def begin_train(self, run):
            self.kept, self.calls = kept(run.learn), 0
            run.defer(run.model[1][0].register_forward_pre_hook(self.count).remove)

        def count(self, *_):
            self.calls += 1

    learn = learner()
    whole = kept(learn)
    spy = Kept(["1", "2"])
    learn.fit(1, callbacks=[spy])
    assert spy.kept < whole / 2
    assert spy.calls == 2 * 4


def test_statistics_of_activations_are_those_of_the_first_time():
    plain, spied = ActivationStats(["1.0"]), ActivationStats(["1.0"])
    learner(plain).fit(1)
    learner(spied, GradientCheckpointing(["1"])).fit(1)
    assert plain.train.batches == spied.train.batches
    assert torch.equal(plain.train.values(), spied.train.values())


def test_every_forward_is_its_own_again_after_the_fit():
    learn = learner(GradientCheckpointing(nn.Sequential))
    learn.fit(1)
    assert not any("forward" in vars(module) for module in learn.model.modules())


def test_a_copy_of_the_model_that_is_made_on_the_way_computes_with_its_own_weights():
    class Copies(GradientCheckpointing):
        def begin_train(self, run):
            other = deepcopy(run.model).eval()
            with torch.no_grad():
                for p in other.parameters():
                    p.zero_()
            self.out = other(torch.ones(2, 3))

    copies = Copies(["1", "2"])
    learner(copies).fit(1)
    assert torch.equal(copies.out, torch.zeros(2, 2))
    with torch.no_grad():
        assert not torch.equal(learner().model.eval()(torch.ones(2, 3)), torch.zeros(2, 2))


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(
        TypeError, match=r"layers must be a list of names .* got '1'. Write \['1'\]"
    ):
        GradientCheckpointing("1")
    with pytest.raises(TypeError, match=r"layers must be a list of names or a class .* got 3"):
        GradientCheckpointing(3)
    with pytest.raises(ValueError, match="layers names '7', which is no module of Sequential"):
        learner(GradientCheckpointing(["7"])).fit(1)
    with pytest.raises(ValueError, match="layers is LSTM, but Sequential has no such module"):
        learner(GradientCheckpointing(nn.LSTM)).fit(1)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_what_has_no_forward_to_replace_is_refused():
    class Net(nn.Module):
        def __init__(self, part):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(3, 2)])
            self.part = part

        def forward(self, x):
            return self.part(self.blocks[0](x))

    spared = GradientCheckpointing(["blocks"])
    with pytest.raises(TypeError, match=r'a ModuleList, which has no forward .*"blocks.0"'):
        tiny_learner([spared], model=Net(nn.Tanh())).fit(1)
    scripted = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="'part', a scripted module"):
        tiny_learner([GradientCheckpointing(["part"])], model=Net(scripted)).fit(1)


def test_its_repr_says_how_it_was_made():
    assert repr(GradientCheckpointing(["1"])) == "GradientCheckpointing(['1'])"
    assert repr(GradientCheckpointing(nn.Linear)) == "GradientCheckpointing(Linear)"
