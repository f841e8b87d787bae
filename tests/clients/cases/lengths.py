"""An LSTM over padded sequences and their lengths, and a loss that is a mean over real tokens."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lehr import DataBunch, Learner

ITEMS = 8
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        tokens = torch.randint(0, 7, (4, 5), generator=DRAW)
        lengths = torch.randint(1, 6, (4,), generator=DRAW).sort(descending=True).values
        lengths[0] = 5
        padding = torch.arange(5) >= lengths[:, None]
        yield (tokens, lengths), (tokens % 3).masked_fill(padding, -100)


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.lstm = nn.Embedding(7, 6), nn.LSTM(6, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens, lengths):
        packed = pack_padded_sequence(self.embed(tokens), lengths, batch_first=True)
        hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.head(hidden).mT


def model():
    return Model()


def learner(net):
    return Learner(
        net,
        torch.optim.AdamW(net.parameters(), lr=0.01),
        F.cross_entropy,
        DataBunch(TRAIN, VALID),
        weight=lambda run: int((run.yb != -100).sum()),
        progress=False,
    )


def plain(net):
    opt = torch.optim.AdamW(net.parameters(), lr=0.01)
    for _ in range(2):
        for x, target in TRAIN:
            F.cross_entropy(net(*x), target).backward()
            opt.step()
            opt.zero_grad()
