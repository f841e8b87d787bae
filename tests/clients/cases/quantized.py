"""Quantisation-aware training: observers in buffers, rounding in the forward pass."""

import warnings

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    from torch.ao import quantization

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch moves this to a package of its own
        net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).train()
        net.qconfig = quantization.get_default_qat_qconfig("x86")
        return quantization.prepare_qat(net)


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, bunch, progress=False)


NOT_PLAIN = "the validation moves the observers too, which the loop below would have to copy"
