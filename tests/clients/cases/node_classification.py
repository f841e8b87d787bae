"""One big graph: every batch is the whole graph, some nodes train, others validate."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

DRAW = torch.Generator().manual_seed(1)
NODES = torch.randn(20, 4, generator=DRAW)
LINKS = (torch.rand(20, 20, generator=DRAW) < 0.2).float()
KINDS = (NODES.sum(1) > 0).long()
TRAIN = [((NODES, LINKS), KINDS.where(torch.arange(20) < 14, -100))]
VALID = [((NODES, LINKS), KINDS.where(torch.arange(20) >= 14, -100))]
FIT = {"epochs": 4}
ITEMS = 20


def valid():
    return VALID


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, nodes, links):
        return links @ self.second((links @ self.first(nodes)).relu())


def model():
    return Model()


def learner(net):
    return Learner(
        net,
        torch.optim.Adam(net.parameters(), lr=0.01),
        F.cross_entropy,
        DataBunch(TRAIN, VALID),
        weight=lambda run: int((run.yb >= 0).sum()),
        progress=False,
    )


def plain(net):
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(4):
        for graph, kinds in TRAIN:
            F.cross_entropy(net(*graph), kinds).backward()
            opt.step()
            opt.zero_grad()
