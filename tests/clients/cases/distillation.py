"""Distillation: a student learns the outputs of a larger teacher, which does not change."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner
from lehr.callbacks import Distillation

from . import _numbers

ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def teacher():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 2)).eval()


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    callbacks = [Distillation(teacher(), weight=0.75, temperature=4)]
    return Learner(net, opt, F.cross_entropy, bunch, callbacks, progress=False)


def plain(net):
    opt, fixed = torch.optim.SGD(net.parameters(), lr=0.1), teacher()
    for _ in range(2):
        for x, y in _numbers.TRAIN:
            with torch.no_grad():
                target = (fixed(x) / 4).log_softmax(1)
            pred = net(x)
            soft = F.kl_div((pred / 4).log_softmax(1), target, reduction="none", log_target=True)
            loss = 0.25 * F.cross_entropy(pred, y) + 0.75 * (16 * soft.sum(1).mean())
            loss.backward()
            opt.step()
            opt.zero_grad()
