"""A graph that was made before finds its tensors as they were."""

import pytest
import torch
from torch import nn
from torch.autograd import grad_mode

from lehr import Callback
from lehr.state.versions import versions_kept
from lehr.testing import tiny_learner


def made():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    return model, model(torch.randn(8, 3)).square().sum()


def written(model):
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.copy_(tensor.clone())


def test_a_graph_survives_that_its_parameters_were_written_to_and_put_back():
    model, loss = made()
    expected = torch.autograd.grad(loss, model[0].weight, retain_graph=True)[0]
    with versions_kept(model, None, torch.sum):
        written(model)
    loss.backward()
    assert model[0].weight.grad.equal(expected)


def test_without_it_torch_refuses():
    model, loss = made()
    written(model)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_where_torch_has_no_such_function_it_refuses_in_its_own_words(monkeypatch):
    monkeypatch.delattr(grad_mode, "_unsafe_preserve_version_counter")
    model, loss = made()
    with versions_kept(model):
        written(model)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_fit_with_probes_between_its_steps_needs_no_such_function(monkeypatch):
    class Probes(Callback):
        def after_step(self, run):
            run.learn.rehearse(1)

    losses = []
    for missing in (False, True):
        if missing:
            monkeypatch.delattr(grad_mode, "_unsafe_preserve_version_counter")
        losses.append(tiny_learner([Probes()]).fit(1).history["loss"])
    assert losses[0] == losses[1]


def test_what_is_written_later_is_still_seen():
    model, loss = made()
    with versions_kept(model):
        written(model)
    written(model)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_tensors_without_a_version_are_passed_over():
    with torch.inference_mode():
        frozen = nn.Linear(2, 2)
    with versions_kept(nn.LazyLinear(3), frozen):
        pass
