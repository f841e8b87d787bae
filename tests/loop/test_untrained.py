"""What no optimizer holds is said at every fit."""

import warnings
from functools import partial

import pytest
import torch
from torch import nn

from lehr.callback import Callback
from lehr.loop.untrained import require_trained, warn_of_untrained
from lehr.testing import tiny_learner


class ArcFace(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 2))

    def forward(self, pred, yb):
        return nn.functional.cross_entropy(pred @ self.weight, yb)


def test_a_head_that_was_replaced_is_named_at_every_fit():
    learn = tiny_learner()
    learn.fit(1)
    learn.model[2] = nn.Linear(4, 2)
    text = (
        r"^10 trainable numbers are in no optimizer: 2.weight, 2.bias. No step will change them. "
        r"The optimizer holds 2 parameters that are neither .*: was a part replaced after it was "
        r"made\? Make the optimizer of all parameters, or give it these with opt.add_param_group; "
    )
    for _ in range(2):
        with pytest.warns(UserWarning, match=text) as caught:
            learn.fit(1)
        assert [w.filename for w in caught] == [__file__]


def test_the_weights_of_a_loss_function_are_named():
    with pytest.warns(UserWarning, match=r"^4 .*: the loss function's weight\. No step will chang"):
        tiny_learner(loss_func=ArcFace()).fit(1)


def test_both_are_named_at_once():
    model, loss_func = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), ArcFace()
    opt = torch.optim.SGD(model[0].parameters(), lr=0.1)
    with pytest.warns(UserWarning, match=r"^10 .*: 1.weight, 1.bias; the loss function's weight."):
        tiny_learner(model=model, opt=opt, loss_func=loss_func).fit(1)


def silent(model, opt, loss_func=nn.MSELoss(), callbacks=()):  # noqa: B008 - it has no state
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_untrained(model, opt, loss_func, callbacks)
    return not caught


def test_what_is_frozen_held_or_shared_is_no_concern():
    model, loss_func = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), ArcFace()
    opt = torch.optim.SGD(model[0].parameters(), lr=0.1)
    assert not silent(model, opt)
    model[1].requires_grad_(False)
    assert silent(model, opt)
    assert not silent(model, opt, loss_func)
    opt.add_param_group({"params": loss_func.parameters()})
    assert silent(model, opt, loss_func)
    both = {"a": opt, "b": torch.optim.SGD(model[1].parameters(), lr=0.1)}
    assert silent(model.requires_grad_(True), both, loss_func)
    loss_func.weight = model[1].weight
    assert silent(model, both, loss_func)


def test_what_the_model_shares_with_the_loss_function_is_counted_once():
    model, loss_func = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2, bias=False)), ArcFace()
    loss_func.weight = model[1].weight
    opt = torch.optim.SGD(model[0].parameters(), lr=0.1)
    with pytest.warns(UserWarning, match=r"^4 trainable numbers are in no optimizer: 1.weight\. "):
        warn_of_untrained(model, opt, loss_func)


def test_one_number_and_many_names_and_lazy_ones():
    one = nn.Module()
    one.a, one.scale = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(()))
    opt = torch.optim.SGD([one.a], lr=0.1)
    with pytest.warns(UserWarning, match=r"^1 trainable number is in no optimizer: scale\. No"):
        warn_of_untrained(one, opt, nn.MSELoss())
    many = nn.Sequential(*(nn.Linear(1, 1) for _ in range(5)))
    opt = torch.optim.SGD(many[0].parameters(), lr=0.1)
    with pytest.warns(UserWarning, match=r": 1.weight, .*, 3.bias and 2 more\. No step"):
        warn_of_untrained(many, opt, nn.MSELoss())
    lazy = nn.Sequential(nn.Linear(1, 1), nn.LazyLinear(1))
    opt = torch.optim.SGD(lazy[0].parameters(), lr=0.1)
    with pytest.warns(UserWarning, match=r"^2 trainable parameters are in no optimizer: 1.weight"):
        warn_of_untrained(lazy, opt, nn.MSELoss())


def test_an_optimizer_of_another_model_is_refused_at_every_fit():
    learn = tiny_learner()
    learn.model = nn.Linear(3, 2)
    with pytest.raises(
        ValueError, match=r"opt holds 4 parameters, none of which is one of the mod"
    ):
        learn.fit(1)
    require_trained(learn.model, torch.optim.SGD(learn.model.parameters(), lr=0.1))


def test_an_evaluation_says_nothing():
    learn = tiny_learner()
    learn.model[2] = nn.Linear(4, 2)
    learn.validate()
    learn.rehearse(2)
    learn.predict(torch.zeros(1, 3))


# Loss functions around modules -------------------------------------------------------------------


ARC = ArcFace()


class Margin(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 2))

    def loss(self, pred, yb):
        return nn.functional.cross_entropy(pred @ self.weight, yb)


class Objective:
    def __init__(self, **parts):
        vars(self).update(parts)

    def __call__(self, pred, yb):
        return self.arc(pred, yb)

    def method(self, pred, yb):
        return self(pred, yb)


def around(loss_func):
    return lambda pred, yb: loss_func(pred, yb)


def with_scale(pred, yb, *, scale, weight=None):
    return scale * nn.functional.cross_entropy(pred, yb)


@pytest.mark.parametrize(
    ("loss_func", "name"),
    [
        (around(ArcFace()), "loss_func.weight"),
        (lambda pred, yb: ARC(pred, yb), "ARC.weight"),
        (around(around(ArcFace())), "loss_func.loss_func.weight"),
        (Margin().loss, "weight"),
        (around(Margin().loss), "loss_func.weight"),
        (partial(ArcFace()), "func.weight"),
        (partial(with_scale, scale=nn.Parameter(torch.ones(2, 2))), "0"),
        (Objective(arc=ArcFace()), "arc.weight"),
        (Objective(arc=ArcFace()).method, "arc.weight"),
        (Objective(arc=around(ArcFace())), "arc.loss_func.weight"),
        (Objective(parts=[{"arc": ArcFace()}]), "parts.0.arc.weight"),
    ],
)
def test_the_weights_of_what_a_loss_function_reaches_are_named(loss_func, name):
    model = nn.Linear(3, 2)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match=rf"^4 .*: the loss function's {name}\. No step will chan"):
        warn_of_untrained(model, opt, loss_func)


def test_such_a_loss_function_is_warned_of_at_every_fit():
    learn = tiny_learner(loss_func=around(ArcFace()))
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"the loss function's loss_func\.weight\."):
            learn.fit(1)


class Critic(Callback):
    def __init__(self, opt=None):
        self.opt = opt


def test_what_a_loss_function_rightly_reaches_is_no_concern():
    model, arc = nn.Linear(3, 2), ArcFace()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    penalty = [lambda pred, yb: model.weight.norm(), lambda pred, yb: model(pred)]
    for loss_func in (*penalty, nn.functional.cross_entropy, nn.MSELoss(), around(Objective())):
        assert silent(model, opt, loss_func)
    assert not silent(model, opt, around(arc))
    assert silent(model, opt, around(ArcFace().eval()))  # a teacher
    assert silent(model, opt, around(ArcFace().requires_grad_(False)))
    both = torch.optim.SGD([*model.parameters(), *arc.parameters()], lr=0.1)
    assert silent(model, both, around(arc))


def test_an_optimizer_of_ones_own_may_hold_what_a_loss_function_reaches():
    model, arc = nn.Linear(3, 2), ArcFace()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    own = torch.optim.SGD(arc.parameters(), lr=0.1)

    class Outside(Callback):
        def after_step(self, run):
            own.step()

    assert silent(model, opt, around(arc), [Critic(own)])
    assert silent(model, opt, around(arc), [Outside()])
    assert silent(model, opt, Objective(arc=arc, opt=own))
    assert not silent(model, opt, around(arc), [Critic()])
    assert not silent(model, opt, around(arc), [Critic(opt)])
