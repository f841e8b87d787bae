"""A whole step as one function: what it computes, and when it is compiled."""

import copy
import pickle
import sys
from functools import partial

import pytest
import torch
from torch import nn

from lehr import Changes
from lehr.base.nested import tensors_in
from lehr.loop.step.graphs import FINISH, STEPPED, Function, Graphs, Part, whole_step
from lehr.optim.functional import form_of


@pytest.fixture
def parts():
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    return model, opt, [Part(form_of(opt), ("weight", "bias"))]


def mse(pred, yb):
    return (pred - yb).square().sum()


@torch.no_grad()
def called(step, model, opt, xb, yb, offered=()):
    """What a step returns of a model all of whose parameters one group trains."""
    form, group, params = form_of(opt), opt.param_groups[0], list(model.parameters())
    states, numbers = [form.state_of(opt, group, params)], [form.numbers_of(group)]
    weight = torch.tensor(float(len(xb)))
    return step([params], {}, (xb,), {}, yb, weight, states, numbers, offered)


def test_the_function_makes_the_step_that_the_five_lines_make(parts):
    model, opt, held = parts
    other = copy.deepcopy(model)
    step = whole_step(model, mse, held, target=True, sums=True)
    xb, yb = torch.randn(4, 3), torch.randn(4, 1)
    loss, pred, of_loss, logs = called(step, model, opt, xb, yb)
    expected = other(xb)
    assert torch.equal(pred, expected)
    assert torch.equal(loss, mse(expected, yb))  # as the function returned it: a sum
    assert of_loss == {}
    assert logs == {}
    (mse(expected, yb) / 4).backward()
    torch.optim.SGD(other.parameters(), lr=0.1).step()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)
        assert p.grad is None
        assert p.requires_grad


class Scaled(nn.Linear):
    """Multiplies by an attribute, by a number of this file, and by what a function of it gives."""

    factor = 2.0

    def forward(self, x):
        wide = 10.0 if torch.backends.mkldnn.enabled else 1.0
        return super().forward(x) * self.factor * FACTOR * factor() * wide


FACTOR = 1.0


def factor() -> float:
    return 1.0


@pytest.mark.parametrize(
    ("owner", "name", "value", "times"),
    [
        (Scaled, "factor", 6.0, 3),
        (sys.modules[__name__], "FACTOR", 5.0, 5),
        (sys.modules[__name__], "factor", lambda: 7.0, 7),
        (torch.backends.mkldnn, "enabled", False, 0.1),
    ],
    ids=["attribute", "constant", "function", "switch of torch"],
)
def test_a_change_of_what_a_graph_holds_is_noticed(owner, name, value, times, monkeypatch):
    model = Scaled(3, 1)
    opt = torch.optim.SGD(model.parameters(), lr=0.0)
    held = [Part(form_of(opt), ("weight", "bias"))]
    step = Graphs("eager").of(model, mse, held, target=True, sums=True)
    xb, yb = torch.randn(4, 3), torch.randn(4, 1)

    before = called(step, model, opt, xb, yb)[1]
    monkeypatch.setattr(owner, name, value)
    assert torch.allclose(called(step, model, opt, xb, yb)[1], before * times)


def halved(grads, tensors, numbers, *, skips):
    return Changes({name: grad / 2 for name, grad in grads.items()}, skips=skips)


def noted(weights, tensors, numbers):
    changed = {"bias": weights["bias"] + 1}
    return Changes(changed, {"seen": tensors["seen"] + 1}, {"of": torch.tensor(1.0)})


@pytest.mark.parametrize(
    ("skips", "made"),
    [((None, None), 1), ((None, False), 1), ((True, None), 0), ((False, True), 0)],
)
def test_where_one_function_skips_the_step_nothing_is_written(skips, made, parts, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # else Adam wants a GPU
    model, _, _ = parts
    opt = torch.optim.Adam(model.parameters(), lr=0.1)
    xb, yb, seen = torch.randn(4, 3), torch.randn(4, 1), torch.zeros(())
    mse(model(xb), yb).backward()
    opt.step()
    now = lambda: list(tensors_in((model.state_dict(), opt.state_dict()["state"])))  # noqa: E731
    before = copy.deepcopy(now())
    skips = [skip if skip is None else torch.tensor(skip) for skip in skips]
    inside = [Function(FINISH, partial(halved, skips=skip)) for skip in skips]
    inside.append(Function(STEPPED, noted))
    held = [Part(form_of(opt), ("weight", "bias"))]
    step = whole_step(model, mse, held, target=True, sums=True, inside=inside)
    called(step, model, opt, xb, yb, [({}, {}), ({}, {}), ({"seen": seen}, {})])
    assert seen == made
    changed = [not torch.equal(old, new) for old, new in zip(before, now(), strict=True)]
    assert changed == [bool(made)] * len(before)


def test_a_step_is_made_once_for_a_model_and_its_parts(parts):
    model, _, held = parts
    graphs = Graphs("eager")
    made = graphs.of(model, mse, held, target=True, sums=False)
    assert graphs.of(model, mse, held, target=True, sums=False) is made
    assert graphs.of(model, mse, held, target=True, sums=True) is not made
    assert graphs.of(copy.deepcopy(model), mse, held, target=True, sums=False) is not made
    fewer = [held[0]._replace(names=("weight",))]
    assert graphs.of(model, mse, fewer, target=True, sums=False) is not made


def test_every_step_has_code_of_its_own_so_that_none_counts_for_another(parts):
    model, _, held = parts
    one, two = (whole_step(model, mse, held, target=True, sums=False) for _ in range(2))
    assert one.__code__ is not two.__code__
    assert one.__code__.co_name != two.__code__.co_name


def test_copies_have_the_backend_and_no_graphs(parts):
    model, _, held = parts
    graphs = Graphs("eager")
    made = graphs.of(model, mse, held, target=True, sums=False)
    for other in (copy.deepcopy(graphs), pickle.loads(pickle.dumps(graphs))):
        assert repr(other) == "Graphs('eager')"
        assert other.of(model, mse, held, target=True, sums=False) is not made
