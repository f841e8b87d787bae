"""A model that `torch.compile` made."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    return torch.compile(net, backend="aot_eager")


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.AdamW(net.parameters())
    return Learner(net, opt, F.cross_entropy, bunch, progress=False)


def plain(net):
    _numbers.hand_written(net, torch.optim.AdamW(net.parameters()))
