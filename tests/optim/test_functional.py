"""torch's functional optimizers, called with what an optimizer holds, make its step."""

import copy

import pytest
import torch

from lehr.optim.functional import DECAY, form_of, refusal_of

KNOWN = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
    "Adam": {"lr": 0.1, "amsgrad": True},
    "AdamW": {"lr": 0.1},
    "NAdam": {"lr": 0.1},
    "RAdam": {"lr": 0.1},
    "RMSprop": {"lr": 0.1, "momentum": 0.9, "centered": True},
    "Adagrad": {"lr": 0.1, "lr_decay": 0.1},
    "Adamax": {"lr": 0.1},
    "Adadelta": {"lr": 0.1},
    "Rprop": {"lr": 0.1},
    "ASGD": {"lr": 0.1},
    "Muon": {"lr": 0.1},
}


def made(name, **arguments):
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(3, 2))
    return p, getattr(torch.optim, name)([p], **arguments)


@pytest.mark.parametrize("name", KNOWN)
def test_the_function_steps_on_the_state_that_the_optimizer_has(name):
    p, opt = made(name, **KNOWN[name])
    form, group = form_of(opt), opt.param_groups[0]
    p.grad = torch.ones(3, 2)
    if name != "Adagrad":  # which makes its state at once
        assert form.state_of(opt, group, [p]) is None
    opt.step()
    q, other = made(name, **KNOWN[name])
    q.data, other.state[q] = p.data.clone(), copy.deepcopy(opt.state[p])
    q.grad = p.grad.clone()
    before = p.detach().clone()
    opt.step()
    with torch.no_grad():
        # Outside of torch.compile, "capturable" asks for a GPU.
        form = form._replace(switches={**form.switches, **_here(form)})
        numbers = form.numbers_of(group)
        form.update([q], [q.grad], form.state_of(other, group, [q]), numbers)
    assert torch.allclose(p, q, atol=1e-6)
    assert not torch.allclose(before, q, atol=1e-6)
    for key, value in opt.state[p].items():
        assert torch.allclose(value, other.state[q][key], atol=1e-6)


DECAYED = {
    **{name: {} for name in KNOWN if name not in ("Rprop", "Muon")},
    "Adam, decoupled": {"decoupled_weight_decay": True},
    "NAdam, decoupled": {"decoupled_weight_decay": True},
    "SGD, upwards": {"maximize": True, "momentum": 0.9},
    "AdamW, upwards": {"maximize": True},
}


@pytest.mark.parametrize("name", DECAYED)
def test_a_weight_decay_in_a_tensor_is_that_of_the_optimizer(name):
    how = {"lr": 0.1, "weight_decay": 0.3, **DECAYED[name]}
    (p, opt), (q, other) = (made(name.partition(",")[0], **how) for _ in range(2))
    p.grad = torch.linspace(-1, 1, 6).reshape(3, 2)
    q.grad = p.grad.clone()
    for one in (opt, other):
        one.step()  # which makes the states
    opt.step()
    form, group = form_of(other), other.param_groups[0]
    form = form._replace(switches={**form.switches, **_here(form)})
    numbers = form.numbers_of(group) | {DECAY: torch.tensor(0.3, dtype=torch.float64)}
    with torch.no_grad():
        form.update([q], [q.grad], form.state_of(other, group, [q]), numbers)
    assert torch.allclose(p, q, atol=1e-6)
    with torch.no_grad():  # the control
        form.update([q], [q.grad], form.state_of(other, group, [q]), numbers | {DECAY: 0})
    opt.step()
    assert not torch.allclose(p, q, atol=1e-6)


def _here(form):
    return {"capturable": False} if "capturable" in form.switches else {}


def test_a_state_that_is_not_wanted_is_none():
    p, opt = made("SGD", lr=0.1)
    assert form_of(opt).state_of(opt, opt.param_groups[0], [p]) == [[None]]
    p, opt = made("SGD", lr=0.1, momentum=0.9)
    assert form_of(opt).state_of(opt, opt.param_groups[0], [p]) is None


def test_numbers_are_read_where_the_group_has_them():
    _, opt = made("Rprop", lr=0.1, etas=(0.4, 1.3))
    numbers = form_of(opt).numbers_of(opt.param_groups[0])
    assert (numbers["etaminus"], numbers["etaplus"]) == (0.4, 1.3)


class Mine(torch.optim.SGD):
    """A step of its own, perhaps."""


@pytest.mark.parametrize("kind", [torch.optim.LBFGS, torch.optim.Adafactor, Mine])
def test_an_optimizer_without_such_a_function_has_no_form(kind):
    p = torch.nn.Parameter(torch.zeros(1))
    assert form_of(kind([p], lr=0.1)) is None
    assert form_of(torch.optim.SGD([p], lr=0.1)) is not None


def test_what_has_no_form_is_told_why():
    p = torch.nn.Parameter(torch.zeros(1))
    assert refusal_of(torch.optim.SGD([p], lr=0.1)) is None
    assert refusal_of(torch.optim.Adafactor([p])).startswith("Adafactor reads numbers from its")
    assert refusal_of(Mine([p], lr=0.1)).startswith("Mine has no function in torch.optim")


def test_a_rate_that_would_be_rounded_stays_a_number():
    muon = form_of(torch.optim.Muon([torch.zeros(2, 2)]))
    assert "lr" in muon.free
    assert "lr" not in muon.tensors
    assert "lr" in form_of(torch.optim.SGD([torch.zeros(1)])).tensors
