"""Optimizers of other packages."""

from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

PACKAGES = ["lion_pytorch", "prodigyopt", "pytorch_optimizer"]
ITEMS = _numbers.ITEMS
VARIANTS = [
    "lion_pytorch.Lion",
    "prodigyopt.Prodigy",
    "pytorch_optimizer.AdaBelief",
    "pytorch_optimizer.AdEMAMix",
    "pytorch_optimizer.DAdaptAdam",
    "pytorch_optimizer.Lamb",
    "pytorch_optimizer.Ranger",
    "pytorch_optimizer.Shampoo",
    "pytorch_optimizer.SOAP",
    "pytorch_optimizer.StableAdamW",
]


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def optimizer(net, name):
    import lion_pytorch
    import prodigyopt
    import pytorch_optimizer

    packages = {p.__name__: p for p in (lion_pytorch, prodigyopt, pytorch_optimizer)}
    package, kind = name.split(".")
    return getattr(packages[package], kind)(net.parameters(), lr=0.01)


def learner(net, name):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    return Learner(net, optimizer(net, name), F.cross_entropy, bunch, progress=False)


def plain(net, name):
    _numbers.hand_written(net, optimizer(net, name))
