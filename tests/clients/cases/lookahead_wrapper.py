"""An optimizer around another: Lookahead of pytorch_optimizer."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

PACKAGES = ["pytorch_optimizer"]
ITEMS = _numbers.ITEMS
REFUSED = {"resume": "copy.deepcopy says: 'Lookahead' object has no attribute"}


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def optimizer(net):
    from pytorch_optimizer import Lookahead

    return Lookahead(torch.optim.SGD(net.parameters(), lr=0.01))


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    return Learner(net, optimizer(net), F.cross_entropy, bunch, progress=False)


def plain(net):
    _numbers.hand_written(net, optimizer(net))
