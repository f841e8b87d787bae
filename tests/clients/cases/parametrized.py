"""Parametrised layers: weight norm, spectral norm, an orthogonal weight, a pruned one."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from lehr import DataBunch, Learner

from . import _numbers

ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(3, 8)),
        nn.ReLU(),
        parametrizations.spectral_norm(nn.Linear(8, 8)),
        parametrizations.orthogonal(nn.Linear(8, 8)),
        nn.Tanh(),
        prune.l1_unstructured(nn.Linear(8, 2), "weight", amount=0.3),
    )


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    return Learner(net, opt, F.cross_entropy, bunch, progress=False)


def plain(net):
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(2):
        net.train()
        for x, target in _numbers.TRAIN:
            F.cross_entropy(net(x), target).backward()
            opt.step()
            opt.zero_grad()
