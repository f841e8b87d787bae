import pytest
import torch

from lehr.foundations.data import Dataset, SliceLoader
from lehr.foundations.fit import DataBunch, Learner, get_model
from lehr.foundations.losses import cross_entropy


@pytest.fixture
def make_learner():
    """A maker of small Learners of the lesson's, always the same: so many batches in each pass."""

    def make(train=2, valid=1, bs=4):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn((train + valid) * bs, 3, generator=generator)
        y = (x.sum(1) > 0).long()
        cut = train * bs
        halves = Dataset(x[:cut], y[:cut]), Dataset(x[cut:], y[cut:])
        data = DataBunch(*(SliceLoader(half, bs) for half in halves), c=2)
        torch.manual_seed(0)
        return Learner(*get_model(data, lr=0.1, nh=4), cross_entropy, data)

    return make
