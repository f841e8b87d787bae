import pytest
import torch

from lehr import DataBunch
from lehr.inspect.first_batch import first_batch
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def test_it_is_the_batch_that_the_fit_begins_with_and_nothing_is_left_of_it():
    learn = tiny_learner(rehearsal=False)
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


class Says:
    """A loader that has a length, and nothing to yield: its source was read to the end before."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __iter__(self):
        return iter(())


LOOKS = {
    "summary": lambda learn: learn.summary(),
    "audit": lambda learn: learn.audit(),
    "find_lr": lambda learn: learn.find_lr(),
    "rehearse": lambda learn: learn.rehearse(3),
    "fit": lambda learn: learn.fit(1),
    "validate": lambda learn: learn.validate(),
    "predict": lambda learn: learn.predict(learn.data.valid_dl),
    "show_batch": lambda learn: learn.data.show_batch(),
    "check_resume": lambda learn: learn.check_resume(),
}


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize(
    "loader",
    [[], Says(0), Says(3), lambda: iter(())],
    ids=["a list", "sized", "sized, but read to its end", "a function"],
)
def test_whoever_looks_at_a_loader_without_batches_says_that_it_has_none(name, loader):
    learn = tiny_learner(data=DataBunch(loader, loader))
    with pytest.raises(ValueError, match=r"has no batches: it.* Check its data"):
        LOOKS[name](learn)


@pytest.mark.parametrize("name", sorted(LOOKS))
def test_a_look_where_tensors_have_no_values_is_refused_in_our_own_words(name):
    learn = tiny_learner()
    with torch.device("meta"), pytest.raises(ValueError, match="torch's default device is meta"):
        LOOKS[name](learn)
    LOOKS[name](learn)
