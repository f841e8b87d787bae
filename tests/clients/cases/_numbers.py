"""Small data that many cases share, and the loop that a user would write by hand."""

import torch
from torch.nn import functional as F

DRAW = torch.Generator().manual_seed(1)
ITEMS = 12


def batches(count):
    """Batches of six items: three numbers, and whether their sum is positive."""
    for _ in range(count):
        x = torch.randn(6, 3, generator=DRAW)
        yield x, (x.sum(1) > 0).long()


TRAIN, VALID = list(batches(4)), list(batches(2))


def hand_written(net, opt, loss_func=F.cross_entropy, epochs=2):
    """The loop to compare with."""
    net.train()
    for _ in range(epochs):
        for x, target in TRAIN:
            loss_func(net(x), target).backward()
            opt.step()
            opt.zero_grad()
