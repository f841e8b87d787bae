"""Augmentation of whole batches by kornia."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import Callback, DataBunch, Learner

PACKAGES = ["kornia"]
NOT_PLAIN = "the augmentation draws from lehr's streams, which depend on the place in the training"
ITEMS = 12
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        image = torch.rand(6, 1, 8, 8, generator=DRAW)
        yield image, (image.mean((1, 2, 3)) > 0.5).long()


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


def model():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


class Augment(Callback):
    """Transforms the batches of training."""

    state = ()
    moves = ("batches",)
    evaluates = False

    def __init__(self, transform):
        self.transform = transform

    def begin_batch(self, run):
        if run.training:
            run.xb = self.transform(run.xb)


def learner(net):
    import kornia.augmentation as K

    augment = Augment(nn.Sequential(K.RandomHorizontalFlip(), K.RandomErasing(p=0.5)))
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    bunch = DataBunch(TRAIN, VALID)
    return Learner(net, opt, F.cross_entropy, bunch, [augment], progress=False)
