"""A loader without an end: the training is counted in steps."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

ITEMS = 12
FIT = {"steps": 6, "validate_every": "3 steps"}


class Endless:
    """Every pass begins anew and does not end."""

    def __iter__(self):
        draw = torch.Generator().manual_seed(1)
        while True:
            x = torch.randn(6, 3, generator=draw)
            yield x, (x.sum(1) > 0).long()


def valid():
    batches = iter(Endless())
    return [next(batches), next(batches)]


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def learner(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, DataBunch(Endless(), valid()), progress=False)


def plain(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for (x, target), _ in zip(Endless(), range(6), strict=False):
        F.cross_entropy(net(x), target).backward()
        opt.step()
        opt.zero_grad()
