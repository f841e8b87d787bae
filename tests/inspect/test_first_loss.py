"""The loss of the first batch, as callbacks would have it."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from lehr import Callback
from lehr.callbacks import (
    GAN,
    GradientCheckpointing,
    MicroBatches,
    MixUp,
    StopOnNonFinite,
    TruncatedBPTT,
)
from lehr.inspect.first_loss import FirstLoss
from lehr.state.copies import deep_copy
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class Scope:
    """Counts how often it is opened, and whether it is open."""

    def __init__(self):
        self.opened, self.open = 0, False

    @contextmanager
    def __call__(self):
        self.opened, self.open = self.opened + 1, True
        yield
        self.open = False


def test_the_model_that_is_given_is_called_once_in_the_scope_and_without_dropout():
    modes, scope = [], Scope()

    class Net(nn.Sequential):
        def forward(self, x):
            modes.append((self.training, self[1].training, scope.open))
            return super().forward(x)

    learn = tiny_learner([MixUp()], model=Net(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)))
    other = deep_copy(learn.model)
    before = capture(learn.state_entries())
    first = FirstLoss(learn, other, scope, 8)
    assert (modes, scope.opened) == ([(True, False, True)], 1)
    assert first_difference(before, capture(learn.state_entries())) is None
    assert (first.pred.shape, first.parts) == ((8, 2), False)
    first.loss.backward()
    assert all(p.grad is not None for p in other.parameters())
    assert all(p.grad is None for p in learn.model.parameters())


def test_it_is_the_first_loss_of_the_fit_whatever_others_look_at():
    callbacks = [MixUp(), StopOnNonFinite()]
    learn = tiny_learner(callbacks)
    first = FirstLoss(learn, deep_copy(learn.model), Scope(), 8)
    losses = learn.fit(1).history["loss"]
    assert first.loss.item() == losses[0] != losses[1]


def recurrent():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(1, 2)

        def forward(self, x, state=None):
            return self.head(x), x.mean()

    return tiny_learner([TruncatedBPTT(2)], model=Net(), split_batch=as_sequence, loss_func=mean)


def as_sequence(batch):
    return batch[0][..., None], batch[1]


def mean(pred, yb):
    return pred.mean()


def adversarial():
    model = nn.ModuleDict({"generator": nn.Linear(2, 3), "critic": nn.Linear(3, 1)})
    opt = {name: torch.optim.SGD(model[name].parameters(), 0.1) for name in model}
    return tiny_learner([GAN(2)], model=model, opt=opt, loss_func=GAN.wasserstein)


class Skips(Callback):
    """Takes the place of the whole batch."""

    state = ()

    def one_batch(self, run, proceed): ...


class Twice(Callback):
    state = ()

    def predict(self, run, proceed):
        proceed()
        proceed()


@pytest.mark.parametrize(
    "learn",
    [
        adversarial,
        recurrent,
        lambda: tiny_learner([Skips()]),
        lambda: tiny_learner([Twice()]),
    ],
)
def test_where_the_model_is_not_given_the_whole_batch_at_once_there_is_no_loss(learn):
    learn = learn()
    before = capture(learn.state_entries())
    assert FirstLoss(learn, deep_copy(learn.model), Scope(), 8).loss is None
    assert first_difference(before, capture(learn.state_entries())) is None


@pytest.mark.filterwarnings("ignore:batches are cut into micro-batches")
@pytest.mark.parametrize("saves", [lambda: MicroBatches(3), lambda: GradientCheckpointing(["0"])])
def test_what_saves_memory_is_left_out_and_is_there_again_afterwards(saves):
    scope = Scope()
    learn = tiny_learner([saves()])
    other = deep_copy(learn.model)
    own = other[1].forward = lambda x: x * 2
    first = FirstLoss(learn, other, scope, 8)
    assert scope.opened == 1
    assert first.loss is not None
    first.loss.backward()
    assert other[0].weight.grad is not None
    assert vars(other[1])["forward"] is own
    assert "forward" not in vars(other[0])
    assert "forward" not in vars(other)
