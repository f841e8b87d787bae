"""Distillation: a student learns the outputs of a larger teacher, which does not change."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import Callback, DataBunch, Learner

from . import _numbers

ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def teacher():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 2)).eval()


def distance(student, target):
    return F.kl_div(student.log_softmax(1), target.softmax(1), reduction="batchmean")


class Teacher(Callback):
    """Puts the teacher's output where the target was."""

    state = ()
    moves = ("batches",)

    def __init__(self, net):
        self.net = net

    def begin_batch(self, run):
        with torch.no_grad():
            run.yb = self.net(run.xb)


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, distance, bunch, [Teacher(teacher())], progress=False)


def plain(net):
    opt, fixed = torch.optim.SGD(net.parameters(), lr=0.1), teacher()
    for _ in range(2):
        for x, _ in _numbers.TRAIN:
            with torch.no_grad():
                target = fixed(x)
            distance(net(x), target).backward()
            opt.step()
            opt.zero_grad()
