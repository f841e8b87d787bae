"""A teacher that is the moving average of the student, of batches without targets."""

from copy import deepcopy

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner
from lehr.callbacks import EMATeacher

from . import _numbers

ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def follow(teacher, net):
    with torch.no_grad():
        for average, weight in zip(teacher.parameters(), net.parameters(), strict=True):
            average.lerp_(weight, 0.1)


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(
        net, opt, F.cross_entropy, bunch, [EMATeacher(0.9, distance=F.mse_loss)], progress=False
    )


def plain(net):
    opt, teacher = torch.optim.SGD(net.parameters(), lr=0.1), deepcopy(net)
    for _ in range(2):
        for x, target in _numbers.TRAIN:
            with torch.no_grad():
                same = teacher(x)
            pred = net(x)
            (F.cross_entropy(pred, target) + F.mse_loss(pred, same)).backward()
            opt.step()
            opt.zero_grad()
            follow(teacher, net)
