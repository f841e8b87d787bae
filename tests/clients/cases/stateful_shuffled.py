"""The StatefulDataLoader of torchdata, shuffled by a sampler with a generator of its own."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lehr import DataBunch, Learner

PACKAGES = ["torchdata"]
ITEMS = 8
X = torch.randn(24, 3, generator=torch.Generator().manual_seed(1))


def loader(x, *, shuffle=False):
    from torchdata.stateful_dataloader import StatefulDataLoader

    torch.manual_seed(5)  # from which the sampler draws the seed of its generator
    data = TensorDataset(x, (x.sum(1) > 0).long())
    return StatefulDataLoader(data, batch_size=4, shuffle=shuffle)


def valid():
    return loader(X[16:])


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def learner(net):
    bunch = DataBunch(loader(X[:16], shuffle=True), loader(X[16:]))
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, bunch, progress=False)


def plain(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    train = loader(X[:16], shuffle=True)
    for _ in range(2):
        for x, target in train:
            F.cross_entropy(net(x), target).backward()
            opt.step()
            opt.zero_grad()
