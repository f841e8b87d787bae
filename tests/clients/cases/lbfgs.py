"""LBFGS, which asks for the loss several times a step."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner
from lehr.callbacks import Closure

from . import _numbers

ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.LBFGS(net.parameters(), max_iter=4)
    return Learner(net, opt, F.cross_entropy, bunch, [Closure()], progress=False)


def plain(net):
    opt = torch.optim.LBFGS(net.parameters(), max_iter=4)

    def closure(x, target):
        opt.zero_grad()
        loss = F.cross_entropy(net(x), target)
        loss.backward()
        return loss

    for _ in range(2):
        for batch in _numbers.TRAIN:
            opt.step(partial(closure, *batch))
