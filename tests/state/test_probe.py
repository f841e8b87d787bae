"""A probe leaves no trace, whatever happened inside."""

import pytest
import torch
from torch import nn

from lehr.state.differences import first_difference
from lehr.state.entries import ModelState, RandomState
from lehr.state.probe import probe
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


@pytest.fixture
def entries():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
    opt = torch.optim.Adam(model.parameters())
    return {"model": ModelState(model), "opt": opt, "random": RandomState()}


def step(entries):
    entries["model"].model(torch.randn(4, 2)).sum().backward()
    entries["opt"].step()


def test_everything_changes_inside_and_nothing_outside(entries):
    before = capture(entries)
    with probe(entries):
        step(entries)
        inside = capture(entries)
    for name in entries:
        assert first_difference(before[name], inside[name])
    assert first_difference(before, capture(entries)) is None


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_goes_on_and_leaves_no_trace(entries, error):
    before = capture(entries)
    with pytest.raises(error), probe(entries):
        step(entries)
        raise error
    assert first_difference(before, capture(entries)) is None


def test_probes_nest(entries):
    with probe(entries):
        step(entries)
        between = capture(entries)
        with probe(entries):
            step(entries)
            assert first_difference(between, capture(entries))
        assert first_difference(between, capture(entries)) is None


def test_what_is_no_entry_keeps_its_change(entries):
    model = entries["model"].model
    del entries["model"]
    before = model[0].weight.detach().clone()
    with probe(entries):
        step({**entries, "model": ModelState(model)})
    assert not torch.equal(before, model[0].weight)


def test_a_lasting_change_can_be_made_again_after_the_probe(entries):
    with probe(entries):
        step(entries)
        inside = capture(entries)
    entries["opt"].zero_grad()  # gradients were no entry here
    step(entries)
    assert first_difference(inside, capture(entries)) is None


@pytest.mark.parametrize("how", ["probe", "find_lr"])
def test_a_shared_tensor_still_drives_the_groups_of_an_optimizer(how):
    lr = torch.tensor(0.1)

    def opt(params):
        halves = [{"params": [p]} for p in params]
        return torch.optim.Adam(halves, lr=lr, foreach=False)

    learn = tiny_learner(opt=opt)
    learn.fit(1)
    groups = [*learn.opt.param_groups]
    before = capture(learn.state_entries())
    if how == "find_lr":
        assert len(learn.find_lr(steps=20).lrs) > 1
    else:
        with learn.probe():
            learn.fit(2)
            lr.fill_(3)
            assert first_difference(before, capture(learn.state_entries()))
    assert first_difference(before, capture(learn.state_entries())) is None
    for group, old in zip(learn.opt.param_groups, groups, strict=True):
        assert group is old
        assert group["lr"] is lr
    lr.fill_(9)
    assert {float(group["lr"]) for group in learn.opt.param_groups} == {9.0}
