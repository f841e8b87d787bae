"""A Wasserstein GAN with gradient penalty: two networks, two optimizers, five steps to one."""

import torch
from torch import nn

from lehr import Callback, DataBunch, Learner

FIT = {"epochs": 2}
NOT_PLAIN = "the noise is drawn from lehr's streams, which depend on the place in the training"
DRAW = torch.Generator().manual_seed(1)
TRAIN = [torch.randn(8, 2, generator=DRAW) + 2 for _ in range(12)]


def valid():
    return TRAIN[:2]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.make = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        self.judge = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, real):
        fake = self.make(torch.randn_like(real))
        return {
            "real": real,
            "fake": fake,
            "on_fake": self.judge(fake),
            "on_real": self.judge(real),
        }


def model():
    return Model()


class Critic(Callback):
    """Trains the judge in five batches of six, and the maker in the sixth."""

    batches_per_step = 1
    state = ()

    def __init__(self, judge):
        self.judge = judge

    def compute_loss(self, run, proceed):
        out = run.pred
        if run.n_steps % 6 == 5 or not run.training:
            run.loss = -out["on_fake"].mean()
            return
        mix = torch.lerp(out["real"], out["fake"].detach(), torch.rand(len(out["real"]), 1))
        mix.requires_grad_()
        (slope,) = torch.autograd.grad(self.judge(mix).sum(), mix, create_graph=True)
        penalty = 10 * (slope.norm(dim=1) - 1).square().mean()
        run.loss = self.judge(out["fake"].detach()).mean() - out["on_real"].mean() + penalty

    def step(self, run, proceed):
        run.opt["make" if run.n_steps % 6 == 5 else "judge"].step()
        run.stepped = True


def learner(net):
    opt = {
        "make": torch.optim.Adam(net.make.parameters(), lr=1e-3, betas=(0.0, 0.9)),
        "judge": torch.optim.Adam(net.judge.parameters(), lr=1e-3, betas=(0.0, 0.9)),
    }
    callbacks = [Critic(net.judge)]
    bunch = DataBunch(TRAIN, TRAIN[:2])
    return Learner(net, opt, lambda pred, yb: None, bunch, callbacks, progress=False)
