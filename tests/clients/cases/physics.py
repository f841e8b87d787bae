"""A physics-informed loss: the derivative of the output is part of it, in validation too."""

import torch
from torch import nn

from lehr import DataBunch, Learner

ITEMS = 8
TRAIN = [torch.linspace(0, 1, 8)[:, None] + i / 50 for i in range(4)]
VALID = TRAIN[:1]


def valid():
    return VALID


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, t):
        with torch.enable_grad():
            t = t.requires_grad_()
            u = self.body(t)
            (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        return u, slope


def model():
    return Model()


def decay(out):
    u, slope = out
    return (slope + u).square().mean() + (u[0] - 1).square().sum()


def learner(net):
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    return Learner(net, opt, decay, DataBunch(TRAIN, VALID), progress=False)


def plain(net):
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(2):
        for t in TRAIN:
            decay(net(t)).backward()
            opt.step()
            opt.zero_grad()
