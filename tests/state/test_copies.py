"""Copies of models that copy.deepcopy refuses."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from lehr.inspect.twin import twin
from lehr.state.copies import deep_copy
from lehr.state.differences import first_difference
from lehr.testing import tiny_learner


def with_a_graph():
    model = nn.Linear(3, 2)
    model.kept = {"outputs": [model(torch.ones(1, 3))]}
    return model


def lazy():
    return nn.LazyBatchNorm1d()


def sparse():
    model = nn.Linear(3, 2)
    model.register_buffer("rows", torch.eye(3).to_sparse_csr())
    return model


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("make", [with_a_graph, lazy, sparse])
def test_what_deepcopy_refuses_is_copied_and_shares_nothing(make):
    model = make()
    with pytest.raises((RuntimeError, ValueError, NotImplementedError)):
        copy.deepcopy(model)
    other = deep_copy(nn.Sequential(model))[0]
    assert first_difference(model.state_dict(), other.state_dict()) is None
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert q is not p
        assert is_lazy(p) or q.data_ptr() != p.data_ptr()
    if make is with_a_graph:
        [kept], [copied] = model.kept["outputs"], other.kept["outputs"]
        assert torch.equal(kept, copied)
        assert (kept.requires_grad, copied.requires_grad) == (True, False)


def test_the_twin_of_a_learner_is_copied_like_that():
    learn = tiny_learner(model=with_a_graph())
    other, _ = twin(learn, [])
    assert torch.equal(other.model.kept["outputs"][0], learn.model.kept["outputs"][0])
    assert other.opt.param_groups[0]["params"][0] is other.model.weight


@pytest.mark.filterwarnings("ignore:.torch.jit.script")
def test_what_holds_the_parameters_of_a_script_holds_those_of_its_copy():
    net = torch.jit.script(nn.Linear(2, 2))
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    other, its_opt = deep_copy((net, opt), net)
    assert its_opt.param_groups[0]["params"][0] is next(other.parameters())
    assert next(other.parameters()) is not next(net.parameters())
    assert all(p.is_leaf and p.requires_grad for p in other.parameters())
