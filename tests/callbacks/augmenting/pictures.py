"""A Learner of small pictures, and a look at what its model is given."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import Callback, Learner
from lehr.data import DataBunch, DataLoader, Dataset
from lehr.events import Phase

N, SIZE = 40, (12, 10)


class Net(nn.Sequential):
    """Takes pictures of any type and size."""

    def forward(self, x):
        return super().forward(x.float().mean((2, 3)))


class Look(Callback):
    """Keeps what each batch is after all callbacks of ours have changed it."""

    phase = Phase.PREPARE
    state = ()

    def __init__(self):
        self.train, self.valid, self.masks = [], [], []

    def begin_batch(self, run):
        seen = self.train if run.training else self.valid
        seen.append(run.xb.clone())
        if run.training:
            self.masks.append(run.yb.clone())


def pictures(dtype=torch.float32, size=SIZE, n=N):
    """Each with other pixels."""
    draw = torch.Generator().manual_seed(1)
    return torch.randint(1, 250, (n, 3, *size), generator=draw).to(dtype)


def learner(*callbacks, x=None, y=None, shuffle=False, batch_size=8, seed=3, **more):
    x = pictures() if x is None else x
    y = torch.arange(len(x)) % 2 if y is None else y
    train = DataLoader(Dataset(x, y), batch_size, shuffle=shuffle)
    bunch = DataBunch(train, DataLoader(Dataset(x, y), batch_size))
    torch.manual_seed(0)
    net = Net(nn.Linear(3, 2))
    opt = torch.optim.SGD(net.parameters(), lr=1e-4)
    arguments = {"loss_func": F.cross_entropy, "progress": False, "rehearsal": False, **more}
    return Learner(net, opt, data=bunch, callbacks=callbacks, seed=seed, **arguments)


def seen(*callbacks, epochs=1, **arguments):
    """All pictures that the model is given, epoch by epoch: ``(epochs, n, …)``."""
    look = Look()
    learner(*callbacks, look, **arguments).fit(epochs)
    everything = torch.cat(look.train)
    return everything.view(epochs, -1, *everything.shape[1:])
