"""A model in bfloat16; the loss is computed in float32."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


class Model(nn.Sequential):
    def forward(self, x):
        return super().forward(x.bfloat16()).float()


def model():
    return Model(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).bfloat16()


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, bunch, progress=False)


def plain(net):
    _numbers.hand_written(net, torch.optim.SGD(net.parameters(), lr=0.1))
