"""A Wasserstein GAN with gradient penalty: two networks, two optimizers, five steps to one."""

import torch
from torch import nn

from lehr import DataBunch, Learner
from lehr.callbacks import GAN

FIT = {"epochs": 2}
NOT_PLAIN = "the noise is drawn from lehr's streams, which depend on the place in the training"
DRAW = torch.Generator().manual_seed(1)
TRAIN = [torch.randn(8, 2, generator=DRAW) + 2 for _ in range(12)]


def valid():
    return TRAIN[:2]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        self.critic = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, noise):
        return self.critic(self.generator(noise))


def model():
    return Model()


def learner(net):
    opts = {
        "generator": torch.optim.Adam(net.generator.parameters(), lr=1e-3, betas=(0.0, 0.9)),
        "critic": torch.optim.Adam(net.critic.parameters(), lr=1e-3, betas=(0.0, 0.9)),
    }
    bunch = DataBunch(TRAIN, TRAIN[:2])
    callbacks = [GAN(2, n_crit=5, n_gen=1, penalty=10)]
    return Learner(net, opts, GAN.wasserstein, bunch, callbacks, progress=False)
