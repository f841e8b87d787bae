"""TensorDicts of the package tensordict, as batches and as what the model returns."""

import torch
from tensordict import TensorDict
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

PACKAGES = ["tensordict"]
ITEMS = 12
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        x = torch.randn(6, 3, generator=DRAW)
        yield TensorDict({"x": x, "label": (x.sum(1) > 0).long()}, [6])


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x):
        hidden = self.body(x).relu()
        inner = TensorDict({"hidden": hidden}, [len(x)])
        return TensorDict({"logits": self.head(hidden), "inner": inner}, [len(x)])


def model():
    return Model()


def loss(out, label):
    return F.cross_entropy(out["logits"], label)


def learner(net):
    opt = torch.optim.Adam(net.parameters())
    return Learner(net, opt, loss, DataBunch(TRAIN, VALID), progress=False)


def check(learn, run):
    pred = learn.predict(VALID)
    assert pred["logits"].shape == (ITEMS, 2)
    assert pred["inner"]["hidden"].shape == (ITEMS, 8)


def plain(net):
    opt = torch.optim.Adam(net.parameters())
    for _ in range(2):
        for batch in TRAIN:
            loss(net(batch["x"]), batch["label"]).backward()
            opt.step()
            opt.zero_grad()
