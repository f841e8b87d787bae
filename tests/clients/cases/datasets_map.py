"""A `datasets` table in torch format, read by torch's DataLoader."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lehr import DataBunch, Learner

PACKAGES = ["datasets"]
ITEMS = 8
DRAW = torch.Generator().manual_seed(1)
X = torch.randn(24, 3, generator=DRAW)


def table(x):
    from datasets import Dataset

    return Dataset.from_dict({"x": x.tolist(), "y": (x.sum(1) > 0).long().tolist()}).with_format(
        "torch"
    )


def train():
    return DataLoader(table(X[:16]), batch_size=4)


def valid():
    return DataLoader(table(X[16:]), batch_size=4)


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def learner(net):
    return Learner(
        net,
        torch.optim.SGD(net.parameters(), lr=0.1),
        F.cross_entropy,
        DataBunch(train(), valid()),
        split_batch=lambda batch: (batch["x"], batch["y"]),
        progress=False,
    )


def plain(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        for batch in train():
            F.cross_entropy(net(batch["x"]), batch["y"]).backward()
            opt.step()
            opt.zero_grad()
