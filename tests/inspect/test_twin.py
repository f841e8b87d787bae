"""Copies that know each other as the originals do."""

import threading
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from lehr import Callback
from lehr.inspect.twin import twin
from lehr.testing import tiny_learner


def test_the_copies_belong_together_and_only_the_data_are_shared():
    class Holder(Callback):
        pass

    holder = Holder()
    learn = tiny_learner([holder])
    holder.model = learn.model
    other, [copy] = twin(learn, [holder])
    assert copy is not holder
    assert copy.model is other.model is not learn.model
    assert other.opt.param_groups[0]["params"][0] is next(other.model.parameters())
    assert other.data is learn.data
    assert (other.callbacks, other.run) == ([], None)
    assert twin(learn, [], "other data")[0].data == "other data"


def test_training_one_leaves_the_other():
    learn = tiny_learner()
    before = learn.model[0].weight.clone()
    other, _ = twin(learn, [])
    other.fit(1)
    assert learn.model[0].weight.equal(before)
    assert not other.model[0].weight.equal(before)


def test_what_cannot_be_copied_is_told():
    callback = Callback()
    callback.lock = threading.Lock()
    with pytest.raises(TypeError, match=r"a copy of .* is needed to try this, but .*lock"):
        twin(tiny_learner(), [callback])


def test_the_copy_of_an_optimizer_has_what_torch_leaves_out():
    class Around(torch.optim.SGD):
        def __init__(self, params, lr):
            super().__init__(params, lr)
            self.inner = torch.optim.SGD(self.param_groups, lr)
            self.inner.param_groups, self.count = self.param_groups, [3]

    learn = tiny_learner(opt=lambda params: Around(params, 0.1))
    torch.optim.lr_scheduler.StepLR(learn.opt, 1)  # which wraps its step
    opt = twin(learn, [])[0].opt
    assert opt.inner is not learn.opt.inner
    assert opt.inner.param_groups is opt.param_groups
    assert opt.count == [3]
    assert opt.count is not learn.opt.count
    assert "step" not in vars(opt)
    learn = tiny_learner(opt=torch.optim.LBFGS)
    other, _ = twin(learn, [])
    assert other.opt._params == list(other.model.parameters())


def decayed(model, pred, yb):
    return cross_entropy(pred, yb) + sum(p.square().sum() for p in model.parameters())


class Decayed:
    def __init__(self, model):
        self.model = model

    def __call__(self, pred, yb):
        return decayed(self.model, pred, yb)

    def method(self, pred, yb):
        return self(pred, yb)


THE_MODEL = torch.nn.Linear(3, 2)
SHARED = {
    "closure": lambda model: lambda pred, yb: decayed(model, pred, yb),
    "part": lambda model: (lambda part: lambda pred, yb: decayed(part, pred, yb))(model[0]),
    "parameter": lambda model: (lambda p: lambda pred, yb: pred.sum() + p.sum())(model[0].weight),
    "around": lambda model: (lambda wrap: lambda pred, yb: decayed(wrap, pred, yb))(
        torch.nn.Sequential(model)
    ),
    "inner function": lambda model: (lambda inner: partial(lambda f, pred, yb: f(pred, yb), inner))(
        lambda pred, yb: decayed(model, pred, yb)
    ),
    "global": lambda model: lambda pred, yb: decayed(THE_MODEL, pred, yb),
}
KNOWN = {
    "object": Decayed,
    "method": lambda model: Decayed(model).method,
    "partial": lambda model: partial(decayed, model),
    "partial of a method": lambda model: partial(Decayed(model).method),
}


@pytest.mark.parametrize("way", SHARED)
def test_a_loss_that_reaches_the_model_through_a_function_is_refused(way):
    model = torch.nn.Sequential(THE_MODEL)
    learn = tiny_learner(model=model, loss_func=SHARED[way](model))
    with pytest.raises(TypeError, match=r"reaches what is trained \(.+\) through a function"):
        twin(learn, [])
    with pytest.raises(TypeError, match=r"or as functools\.partial\(f, model\)\.$"):
        learn.check_resume(batches=2)


@pytest.mark.parametrize("way", KNOWN)
def test_a_loss_that_holds_the_model_holds_the_copy(way):
    learn = tiny_learner()
    learn.loss_func = KNOWN[way](learn.model)
    before = learn.model[0].weight.clone()
    other, _ = twin(learn, [])
    other.model[0].weight.data.zero_()
    batch = other.model(torch.ones(2, 3)).detach(), torch.tensor([0, 1])
    assert other.loss_func(*batch) != learn.loss_func(*batch)
    assert learn.check_resume(batches=2).ok
    assert torch.equal(learn.model[0].weight, before)


def test_a_loss_with_trained_weights_of_its_own_in_a_function_is_refused():
    head = torch.nn.Linear(2, 2)
    learn = tiny_learner(
        opt=lambda params: torch.optim.SGD([*params, *head.parameters()], lr=0.1),
        loss_func=lambda pred, yb: cross_entropy(head(pred), yb),
    )
    with pytest.raises(TypeError, match=r"reaches what is trained \(head\)"):
        twin(learn, [])
    teacher = torch.nn.Linear(2, 2)  # the control: of what is not trained, none is needed
    learn = tiny_learner(loss_func=lambda pred, yb: cross_entropy(pred + teacher(pred), yb))
    twin(learn, [])
