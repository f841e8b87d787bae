"""Two inputs: an image and a vector."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

ITEMS = 12
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        image = torch.randn(6, 1, 4, 4, generator=DRAW)
        vector = torch.randn(6, 3, generator=DRAW)
        yield (image, vector), (vector.sum(1) > 0).long()


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.vector, self.head = nn.Linear(16, 8), nn.Linear(3, 8), nn.Linear(16, 2)

    def forward(self, image, vector):
        both = torch.cat([self.image(image.flatten(1)), self.vector(vector)], dim=1)
        return self.head(both.relu())


def model():
    return Model()


def learner(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, DataBunch(TRAIN, VALID), progress=False)


def plain(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        for (image, vector), target in TRAIN:
            F.cross_entropy(net(image, vector), target).backward()
            opt.step()
            opt.zero_grad()
