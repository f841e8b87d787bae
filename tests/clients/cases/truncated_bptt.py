"""Truncated back-propagation through time: the hidden state goes from batch to batch."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner
from lehr.callbacks import TruncatedBPTT

DRAW = torch.Generator().manual_seed(1)
TEXT = torch.randint(0, 7, (3, 33), generator=DRAW)
PIECES = [(TEXT[:, i : i + 8], TEXT[:, i + 1 : i + 9]) for i in range(0, 32, 8)]


def valid():
    return PIECES


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.lstm = nn.Embedding(7, 6), nn.LSTM(6, 8, batch_first=True)
        self.head = nn.Linear(8, 7)

    def forward(self, tokens, hidden=None):
        out, hidden = self.lstm(self.embed(tokens), hidden)
        return self.head(out).mT, hidden


def model():
    return Model()


def learner(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.5)
    bunch = DataBunch(PIECES, PIECES)
    return Learner(net, opt, F.cross_entropy, bunch, [TruncatedBPTT()], progress=False)


def plain(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(2):
        hidden = None
        for tokens, target in PIECES:
            out, hidden = net(tokens, hidden)
            hidden = tuple(part.detach() for part in hidden)
            F.cross_entropy(out, target).backward()
            opt.step()
            opt.zero_grad()
