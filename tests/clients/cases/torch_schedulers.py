"""Every scheduler of `torch.optim.lr_scheduler`."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from lehr import DataBunch, Learner
from lehr.callbacks import TorchScheduler

from . import _numbers

ITEMS = _numbers.ITEMS
EVERY_STEP = {
    "CosineAnnealingLR": lambda opt: lr_scheduler.CosineAnnealingLR(opt, 8),
    "CosineAnnealingWarmRestarts": lambda opt: lr_scheduler.CosineAnnealingWarmRestarts(opt, 3),
    "CyclicLR": lambda opt: lr_scheduler.CyclicLR(opt, 0.01, 0.1, step_size_up=2),
    "LinearLR": lambda opt: lr_scheduler.LinearLR(opt, total_iters=6),
    "OneCycleLR": lambda opt: lr_scheduler.OneCycleLR(opt, 0.1, total_steps=8),
    "PolynomialLR": lambda opt: lr_scheduler.PolynomialLR(opt, 8),
    "ChainedScheduler": lambda opt: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(opt, total_iters=3), lr_scheduler.ExponentialLR(opt, 0.9)]
    ),
    "SequentialLR": lambda opt: lr_scheduler.SequentialLR(
        opt,
        [lr_scheduler.LinearLR(opt, total_iters=3), lr_scheduler.CosineAnnealingLR(opt, 5)],
        milestones=[3],
    ),
}
EVERY_EPOCH = {
    "ConstantLR": lambda opt: lr_scheduler.ConstantLR(opt, total_iters=1),
    "ExponentialLR": lambda opt: lr_scheduler.ExponentialLR(opt, 0.5),
    "LambdaLR": lambda opt: lr_scheduler.LambdaLR(opt, lambda epoch: 1 / (1 + epoch)),
    "MultiStepLR": lambda opt: lr_scheduler.MultiStepLR(opt, [1]),
    "MultiplicativeLR": lambda opt: lr_scheduler.MultiplicativeLR(opt, lambda epoch: 0.7),
    "StepLR": lambda opt: lr_scheduler.StepLR(opt, 1),
    "SWALR": lambda opt: SWALR(opt, swa_lr=0.02, anneal_epochs=2),
}
WATCHING = {  # the loss falls, which mode "max" takes for no progress
    "ReduceLROnPlateau": lambda opt: lr_scheduler.ReduceLROnPlateau(opt, "max", 0.3, patience=0),
}
VARIANTS = [
    "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "LinearLR", "OneCycleLR",
    "PolynomialLR", "ChainedScheduler", "SequentialLR", "ConstantLR", "ExponentialLR", "LambdaLR",
    "MultiStepLR", "MultiplicativeLR", "StepLR", "SWALR", "ReduceLROnPlateau",
]  # fmt: skip


def valid():
    return _numbers.VALID


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def learner(net, name):
    if name in EVERY_STEP:
        scheduler = TorchScheduler(EVERY_STEP[name], every="step")
    elif name in WATCHING:
        scheduler = TorchScheduler(WATCHING[name], every="epoch", monitor="valid_loss")
    else:
        scheduler = TorchScheduler(EVERY_EPOCH[name], every="epoch")
    bunch = DataBunch(_numbers.TRAIN, _numbers.VALID)
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    return Learner(net, opt, F.cross_entropy, bunch, [scheduler], progress=False)


def plain(net, name):
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = (EVERY_STEP | EVERY_EPOCH | WATCHING)[name](opt)
    for _ in range(2):
        for x, target in _numbers.TRAIN:
            F.cross_entropy(net(x), target).backward()
            opt.step()
            opt.zero_grad()
            if name in EVERY_STEP:
                scheduler.step()
        if name in EVERY_EPOCH:
            scheduler.step()
        if name in WATCHING:
            with torch.no_grad():
                losses = [(F.cross_entropy(net(x), y).item(), len(y)) for x, y in _numbers.VALID]
            scheduler.step(sum(loss * n for loss, n in losses) / sum(n for _, n in losses))
