"""Copies that know each other as the originals do."""

import threading

import pytest
import torch

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
