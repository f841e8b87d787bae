import torch

from lehr.inspect.first_batch import first_batch
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def test_it_is_the_batch_that_the_fit_begins_with_and_nothing_is_left_of_it():
    learn = tiny_learner()
    before = capture(learn.state_entries())
    xb, yb = first_batch(learn)
    assert first_difference(before, capture(learn.state_entries())) is None
    seen = []
    split = learn.split_batch
    learn.split_batch = lambda batch: seen.append(batch) or split(batch)
    learn.fit(1)
    assert torch.equal(seen[0][0], xb)
    assert torch.equal(seen[0][1], yb)
    assert not torch.equal(seen[1][0], xb)
