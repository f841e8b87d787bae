"""Model, optimizer and loaders that accelerate has prepared."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lehr import DataBunch, Learner

PACKAGES = ["accelerate"]
ITEMS = 8
X = torch.randn(24, 3, generator=torch.Generator().manual_seed(1))


def loader(x):
    return DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size=4)


def valid():
    return loader(X[16:])


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def learner(net):
    from accelerate import Accelerator

    net, opt, train, valid = Accelerator(cpu=True).prepare(
        net, torch.optim.SGD(net.parameters(), lr=0.1), loader(X[:16]), loader(X[16:])
    )
    return Learner(net, opt, F.cross_entropy, DataBunch(train, valid), progress=False)


def plain(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        for x, target in loader(X[:16]):
            F.cross_entropy(net(x), target).backward()
            opt.step()
            opt.zero_grad()
