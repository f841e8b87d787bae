"""torch's DataLoader with two worker processes."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lehr import DataBunch, Learner

ITEMS = 8
DRAW = torch.Generator().manual_seed(1)
X = torch.randn(32, 3, generator=DRAW)
ITEM_PAIRS = TensorDataset(X, (X.sum(1) > 0).long())


def train():
    return DataLoader(ITEM_PAIRS, batch_size=8, num_workers=2, persistent_workers=True)


def valid():
    return DataLoader(TensorDataset(*ITEM_PAIRS[:8]), batch_size=4)


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def learner(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, DataBunch(train(), valid()), progress=False)


def plain(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        for x, target in train():
            F.cross_entropy(net(x), target).backward()
            opt.step()
            opt.zero_grad()
