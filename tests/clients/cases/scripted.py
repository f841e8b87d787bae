"""A model that `torch.jit.script` made."""

import warnings

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

ITEMS = _numbers.ITEMS
REFUSED = {"audit": "script"}


def valid():
    return _numbers.VALID


def model():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would have one use torch.export
        return torch.jit.script(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)))


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, bunch, progress=False)


def plain(net):
    _numbers.hand_written(net, torch.optim.SGD(net.parameters(), lr=0.1))
