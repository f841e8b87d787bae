"""A loss and a miner of pytorch-metric-learning."""

import torch
from torch import nn

from lehr import DataBunch, Learner

PACKAGES = ["pytorch_metric_learning"]
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


class Mined(nn.Module):
    def __init__(self):
        from pytorch_metric_learning import losses, miners

        super().__init__()
        self.mine, self.loss = miners.MultiSimilarityMiner(), losses.TripletMarginLoss()

    def forward(self, code, kind):
        return self.loss(code, kind, self.mine(code, kind))


def learner(net):
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    return Learner(net, opt, Mined(), DataBunch(TRAIN, VALID), progress=False)


def plain(net):
    opt, loss_func = torch.optim.Adam(net.parameters(), lr=0.01), Mined()
    for _ in range(2):
        for x, kind in TRAIN:
            loss_func(net(x), kind).backward()
            opt.step()
            opt.zero_grad()
