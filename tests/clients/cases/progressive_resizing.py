"""Progressive resizing: images grow from epoch to epoch."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import Callback, DataBunch, Learner

ITEMS = 12
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        image = torch.randn(6, 1, 16, 16, generator=DRAW)
        yield image, (image.mean((1, 2, 3)) > 0).long()


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


def model():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def resized(image, epoch):
    return F.interpolate(image, size=(8, 16)[epoch])


class Resize(Callback):
    """Shrinks the images of the first epoch."""

    state = ()
    moves = ("batches",)
    evaluates = False

    def begin_batch(self, run):
        if run.training:
            run.xb = resized(run.xb, min(run.epoch, 1))


def learner(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    bunch = DataBunch(TRAIN, VALID)
    return Learner(net, opt, F.cross_entropy, bunch, [Resize()], progress=False)


def plain(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(2):
        for image, target in TRAIN:
            F.cross_entropy(net(resized(image, epoch)), target).backward()
            opt.step()
            opt.zero_grad()
