"""A `datasets` stream that is shuffled anew in each epoch, by its number."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lehr import DataBunch, Learner

PACKAGES = ["datasets"]
ITEMS = 8
DRAW = torch.Generator().manual_seed(1)
X = torch.randn(24, 3, generator=DRAW)


def stream(x):
    from datasets import Dataset

    table = Dataset.from_dict({"x": x.tolist(), "y": (x.sum(1) > 0).long().tolist()})
    return table.to_iterable_dataset().with_format("torch")


def train():
    return stream(X[:16]).shuffle(seed=3, buffer_size=8)


def valid():
    return DataLoader(stream(X[16:]), batch_size=4)


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def learner(net):
    return Learner(
        net,
        torch.optim.SGD(net.parameters(), lr=0.1),
        F.cross_entropy,
        DataBunch(DataLoader(train(), batch_size=4), valid()),
        split_batch=lambda batch: (batch["x"], batch["y"]),
        progress=False,
    )


def plain(net):
    opt, data = torch.optim.SGD(net.parameters(), lr=0.1), train()
    for epoch in range(2):
        data.set_epoch(epoch)
        for batch in DataLoader(data, batch_size=4):
            F.cross_entropy(net(batch["x"]), batch["y"]).backward()
            opt.step()
            opt.zero_grad()
