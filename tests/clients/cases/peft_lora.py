"""LoRA by peft: the model's own weights stay as they are."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

from . import _numbers

PACKAGES = ["peft"]
ITEMS = _numbers.ITEMS


def valid():
    return _numbers.VALID


def model():
    from peft import LoraConfig, get_peft_model

    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    return get_peft_model(net, LoraConfig(r=2, target_modules=["0", "2"]))


def trained(net):
    return [weight for weight in net.parameters() if weight.requires_grad]


def learner(net):
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.AdamW(trained(net), lr=0.01)
    return Learner(net, opt, F.cross_entropy, bunch, progress=False)


def plain(net):
    _numbers.hand_written(net, torch.optim.AdamW(trained(net), lr=0.01))
