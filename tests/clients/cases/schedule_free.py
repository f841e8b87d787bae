"""schedulefree, whose optimizers hold one set of weights for training and one for measuring."""

from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

PACKAGES = ["schedulefree"]
ITEMS = _numbers.ITEMS
VARIANTS = ["AdamWScheduleFree", "SGDScheduleFree", "RAdamScheduleFree"]


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def optimizer(net, name):
    import schedulefree

    return getattr(schedulefree, name)(net.parameters(), lr=0.01)


def learner(net, name):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    return Learner(net, optimizer(net, name), F.cross_entropy, bunch, progress=False)


def plain(net, name):
    opt = optimizer(net, name)
    for _ in range(2):
        opt.train()
        for x, target in _numbers.TRAIN:
            F.cross_entropy(net(x), target).backward()
            opt.step()
            opt.zero_grad()
        opt.eval()
