"""Complex weights."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.wave = nn.Linear(3, 4, dtype=torch.complex64)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.wave(x.to(torch.complex64)).abs())


def model():
    return Model()


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    return Learner(net, opt, F.cross_entropy, bunch, progress=False)


def plain(net):
    _numbers.hand_written(net, torch.optim.Adam(net.parameters(), lr=0.01))
