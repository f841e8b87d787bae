"""Predictions are gathered in the order of the batches."""

import weakref

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal

from lehr import Callback
from lehr.callbacks.measure.predictions import Predictions
from lehr.testing import tiny_learner


def test_those_of_the_last_validation_are_kept_beside_its_loss():
    gather = Predictions()
    learn = tiny_learner([gather], items=40, batch_size=4)
    run = learn.fit(2)
    ds = learn.data.valid_ds
    torch.testing.assert_close(gather.joined(), learn.model.eval()(ds.x).detach())
    loss = F.cross_entropy(gather.joined(), ds.y).item()
    assert run.history["valid_loss"][-1] == pytest.approx(loss, abs=1e-6)


def test_without_the_loss_no_targets_are_needed():
    learn = tiny_learner()
    assert learn.predict([(torch.zeros(3, 3), None), torch.zeros(2, 3)]).shape == (5, 2)


def test_what_cannot_be_copied_says_so():
    learn = tiny_learner(model=Returns(lambda y: (row for row in y)))
    match = r"^no copy can be kept of what the model returns: generator cannot be .* select="
    with pytest.raises(TypeError, match=match):
        learn.predict(torch.zeros(2, 3))
    assert len(learn.predict(torch.zeros(4, 3), select=list)) == 4


class Returns(torch.nn.Module):
    """Returns what a function makes of the output."""

    def __init__(self, made):
        super().__init__()
        self.body, self.made = torch.nn.Linear(3, 2), made

    def forward(self, xb):
        return self.made(self.body(xb))


class WritesInPlace(torch.nn.Module):
    """Every output is a part of the same buffer, as that of a captured step is."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.place = torch.zeros(8, 100)

    def forward(self, xb):
        self.place[:, :3] = xb.detach()
        return self.place[: len(xb), :3]


def test_an_output_that_is_overwritten_by_the_next_stays_what_it_was():
    learn = tiny_learner(model=WritesInPlace())
    inputs = learn.data.valid_ds.x
    pred = learn.predict(list(inputs.split(8)))
    assert torch.equal(pred, inputs)
    assert not torch.equal(pred[:8], pred[8:])


def test_an_output_in_any_object_that_is_overwritten_by_the_next_stays_what_it_was():
    class Boxed(WritesInPlace):
        def forward(self, xb):
            return Normal(super().forward(xb), 1.0)

    learn = tiny_learner(model=Boxed())
    inputs = learn.data.valid_ds.x
    pred = learn.predict(list(inputs.split(8)))
    assert torch.equal(torch.cat([each.loc for each in pred]), inputs)


def test_no_more_is_kept_of_an_output_than_was_handed_out():
    gather = Predictions()
    learn = tiny_learner(model=WritesInPlace(), batch_size=4)
    learn.validate(callbacks=[gather])
    assert gather._batches[0].untyped_storage().nbytes() == 8 * 3 * 4


def test_only_what_is_selected_is_kept_and_everything_else_is_freed():
    outputs = []

    def made(y):
        wide = y.repeat(1, 1000)
        outputs.append(weakref.ref(wide))
        alive.append(sum(output() is not None for output in outputs))
        return wide

    alive = []
    gather = Predictions(select=lambda out: out[:, :1])
    tiny_learner(model=Returns(made), items=64, batch_size=4).validate(callbacks=[gather])
    assert max(alive[:8]) <= 2  # that of this batch, and the one before
    assert [part.untyped_storage().nbytes() for part in gather._batches] == [8 * 4] * 4
    assert gather.joined().shape == (32, 1)


def test_the_targets_are_those_that_the_loss_has_seen():
    class Turns(Callback):
        moves = ("batches",)

        def begin_batch(self, run):
            run.yb = 1 - run.yb

    gather = Predictions(targets=True)
    learn = tiny_learner([Turns()])
    learn.validate(callbacks=[gather])
    assert torch.equal(gather.joined_targets(), 1 - learn.data.valid_ds.y)


def test_a_selection_that_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match=r"^select must be a function .*lambda out.*; got 'logits'"):
        Predictions(select="logits")


def test_before_a_pass_there_is_nothing():
    gather = Predictions(targets=True)
    for joined in (gather.joined, gather.joined_targets):
        with pytest.raises(ValueError, match="there are no predictions"):
            joined()


def test_targets_that_were_not_wanted_are_none():
    gather = Predictions()
    tiny_learner().validate(callbacks=[gather])
    assert gather.joined_targets() is None
