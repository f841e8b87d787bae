"""An LSTM over a `PackedSequence` of sequences of different lengths."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence

from lehr import DataBunch, Learner

ITEMS = 10
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        sequences = [torch.randn(length, 3, generator=DRAW) for length in (5, 4, 4, 2, 1)]
        yield pack_sequence(sequences), torch.tensor([s.sum() > 0 for s in sequences]).long()


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 8), nn.Linear(8, 2)

    def forward(self, packed):
        _, (hidden, _) = self.lstm(packed)
        return self.head(hidden[-1])


def model():
    return Model()


def learner(net):
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    return Learner(net, opt, F.cross_entropy, DataBunch(TRAIN, VALID), progress=False)


def check(learn, run):
    assert run.weight == 5  # sequences, not time steps


def plain(net):
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(2):
        for x, target in TRAIN:
            F.cross_entropy(net(x), target).backward()
            opt.step()
            opt.zero_grad()
