"""Quantisation-aware training by torchao."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

PACKAGES = ["torchao"]
ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerGroup
    from torchao.quantization.qat import QATConfig

    net = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 2))
    base = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4, weight_granularity=PerGroup(32)
    )
    quantize_(net, QATConfig(base, step="prepare"), lambda layer, name: name == "2")
    return net


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, bunch, progress=False)


def plain(net):
    _numbers.hand_written(net, torch.optim.SGD(net.parameters(), lr=0.1))
