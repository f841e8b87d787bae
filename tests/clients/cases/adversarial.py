"""Adversarial training: each batch is moved to where the loss is larger (FGSM)."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import Callback, DataBunch, Learner

from . import _numbers

ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def attacked(net, x, target):
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(net(x), target), x)
    return (x + 0.1 * slope.sign()).detach()


class FGSM(Callback):
    """Moves the inputs of training."""

    state = ()
    moves = ("batches",)
    evaluates = False

    def begin_batch(self, run):
        if run.training:
            run.xb = attacked(run.model, run.xb, run.yb)


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, bunch, [FGSM()], progress=False)


def plain(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        for x, target in _numbers.TRAIN:
            F.cross_entropy(net(attacked(net, x, target)), target).backward()
            opt.step()
            opt.zero_grad()
