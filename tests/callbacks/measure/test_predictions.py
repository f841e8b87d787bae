"""Predictions are gathered in the order of the batches."""

import pytest
import torch
import torch.nn.functional as F

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


def test_what_cannot_be_joined_says_so():
    gather = Predictions()
    gather._batches = ["text", "text"]
    with pytest.raises(TypeError, match=r"predictions must be tensors.*got str. Watch after_pred"):
        gather.joined()


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


def test_no_more_is_kept_of_an_output_than_was_handed_out():
    gather = Predictions()
    learn = tiny_learner(model=WritesInPlace(), batch_size=4)
    learn.validate(callbacks=[gather])
    assert gather._batches[0].untyped_storage().nbytes() == 8 * 3 * 4
