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
