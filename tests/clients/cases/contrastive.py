"""Contrastive pairs: two views of each item, and no target."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        item = torch.randn(6, 5, generator=DRAW)
        noise = torch.randn(2, 6, 5, generator=DRAW) / 10
        yield {"first": item + noise[0], "second": item + noise[1]}


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, first, second):
        return F.normalize(self.encode(first), dim=1), F.normalize(self.encode(second), dim=1)


def model():
    return Model()


def info_nce(codes):
    first, second = codes
    return F.cross_entropy(first @ second.T / 0.1, torch.arange(len(first)))


def learner(net):
    opt = torch.optim.AdamW(net.parameters(), lr=0.01)
    return Learner(net, opt, info_nce, DataBunch(TRAIN, VALID), progress=False)


def plain(net):
    opt = torch.optim.AdamW(net.parameters(), lr=0.01)
    for _ in range(2):
        for pair in TRAIN:
            info_nce(net(**pair)).backward()
            opt.step()
            opt.zero_grad()
