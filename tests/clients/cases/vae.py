"""A variational autoencoder: the target is the input, the loss has two parts."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

ITEMS = 12
NOT_PLAIN = "the noise is drawn from lehr's streams, which depend on the place in the training"
DRAW = torch.Generator().manual_seed(1)
TRAIN = [torch.rand(6, 12, generator=DRAW) for _ in range(4)]
VALID = [torch.rand(6, 12, generator=DRAW) for _ in range(2)]


def valid():
    return VALID


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(12, 4), nn.Linear(2, 12)

    def forward(self, x):
        mean, log_var = self.encode(x).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * (log_var / 2).exp()
        return {"image": self.decode(code).sigmoid(), "mean": mean, "log_var": log_var}


def model():
    return Model()


def elbo(out, x):
    mean, log_var = out["mean"], out["log_var"]
    return {
        "pixels": F.binary_cross_entropy(out["image"], x, reduction="sum") / len(x),
        "kl": -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1).mean(),
    }


def learner(net):
    return Learner(
        net,
        torch.optim.Adam(net.parameters(), lr=0.01),
        elbo,
        DataBunch(TRAIN, VALID),
        split_batch=lambda x: (x, x),
        progress=False,
    )


def check(learn, run):
    assert run.history["kl"][-1] != run.history["pixels"][-1]
