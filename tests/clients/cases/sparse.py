"""An embedding with sparse gradients and `SparseAdam`, beside a dense layer and SGD."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

ITEMS = 12
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        words = torch.randint(0, 20, (6, 4), generator=DRAW)
        yield words, (words.sum(1) > 38).long()


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


def model():
    return nn.Sequential(nn.EmbeddingBag(20, 8, sparse=True, mode="sum"), nn.Linear(8, 2))


def optimizers(net):
    return {
        "words": torch.optim.SparseAdam(net[0].parameters(), lr=0.01),
        "head": torch.optim.SGD(net[1].parameters(), lr=0.1),
    }


def learner(net):
    return Learner(net, optimizers(net), F.cross_entropy, DataBunch(TRAIN, VALID), progress=False)


def plain(net):
    opts = optimizers(net).values()
    for _ in range(2):
        for words, target in TRAIN:
            F.cross_entropy(net(words), target).backward()
            for opt in opts:
                opt.step()
                opt.zero_grad()
