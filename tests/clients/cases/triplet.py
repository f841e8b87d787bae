"""Triplets, mined in the batch: the hardest positive and the hardest negative of each item."""

import torch
from torch import nn

from lehr import DataBunch, Learner

ITEMS = 16
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        kind = torch.arange(8) % 3
        yield torch.randn(8, 4, generator=DRAW) + kind[:, None], kind


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


def model():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def hardest_triplets(code, kind):
    distance = torch.cdist(code, code)
    same = kind[:, None] == kind
    furthest = distance.masked_fill(~same, 0).amax(1)
    nearest = distance.masked_fill(same, torch.inf).amin(1)
    return (furthest - nearest + 0.5).relu().mean()


def learner(net):
    opt = torch.optim.RMSprop(net.parameters())
    return Learner(net, opt, hardest_triplets, DataBunch(TRAIN, VALID), progress=False)


def plain(net):
    opt = torch.optim.RMSprop(net.parameters())
    for _ in range(2):
        for x, kind in TRAIN:
            hardest_triplets(net(x), kind).backward()
            opt.step()
            opt.zero_grad()
