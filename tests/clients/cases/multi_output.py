"""Two heads, a class and a number, with a loss each; both are recorded."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

ITEMS = 12
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        x = torch.randn(6, 3, generator=DRAW)
        yield x, ((x.sum(1) > 0).long(), x.square().sum(1, keepdim=True))


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.kind, self.size = nn.Linear(3, 8), nn.Linear(8, 2), nn.Linear(8, 1)

    def forward(self, x):
        hidden = self.body(x).relu()
        return self.kind(hidden), self.size(hidden)


def model():
    return Model()


def both(pred, target):
    kind, size = pred
    return {"sort": F.cross_entropy(kind, target[0]), "size": F.mse_loss(size, target[1])}


def learner(net):
    opt = torch.optim.Adam(net.parameters())
    return Learner(net, opt, both, DataBunch(TRAIN, VALID), progress=False)


def check(learn, run):
    assert all(name in run.history for name in ("sort", "size", "valid_sort", "valid_size"))


def plain(net):
    opt = torch.optim.Adam(net.parameters())
    for _ in range(2):
        for x, target in TRAIN:
            sum(both(net(x), target).values()).backward()
            opt.step()
            opt.zero_grad()
