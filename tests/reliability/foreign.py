"""Loaders that lehr did not make, as small as they can be with the habits of the real ones."""

import torch
from torch.utils.data import DataLoader, TensorDataset


def items(n=32):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    return x, (x.sum(1) > 0).long(), torch.arange(n)


class Streamed:
    """As an iterable data set of Hugging Face, in batches of four.

    It shuffles by the number of its epoch, which it never counts itself. A state that was loaded is
    where every pass of that epoch begins.
    """

    def __init__(self):
        self.epoch, self.place, self.start = 0, None, None
        self.epochs = []

    def __iter__(self):
        first = self.start["place"] if self.start and self.start["epoch"] == self.epoch else 0
        x, y, i = items()
        order = torch.randperm(32, generator=torch.Generator().manual_seed(self.epoch))
        for number, chosen in enumerate(order.split(4)[first:], first + 1):
            self.place = {"epoch": self.epoch, "place": number}
            yield x[chosen], y[chosen], i[chosen]

    def set_epoch(self, epoch):
        self.epochs.append(epoch)
        self.epoch = epoch

    def state_dict(self):
        return self.place and dict(self.place)

    def load_state_dict(self, state_dict):
        self.start = state_dict


class Resumed:
    """As torchdata's StatefulDataLoader: it has a length, a generator of its own, and a state that
    was loaded is where the next pass begins, and no other."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(1)
        self.start, self.place = None, {"place": 0, "generator": self.generator.get_state()}

    def __len__(self):
        return 8

    def __iter__(self):
        start, self.start = self.start, None
        if start is not None and not start["ended"]:
            self.generator.set_state(start["generator"])
        first = start["place"] if start and not start["ended"] else 0
        began = self.generator.get_state()
        x, y, i = items()
        order = torch.randperm(32, generator=self.generator)
        self.place = {"place": first, "generator": began}
        for number, chosen in enumerate(order.split(4)[first:], first + 1):
            self.place = {"place": number, "generator": began}
            yield x[chosen], y[chosen], i[chosen]
        self.place = {"place": 8, "generator": self.generator.get_state(), "ended": True}

    def state_dict(self):
        return {"ended": False, **self.place}

    def load_state_dict(self, state_dict):
        self.start = state_dict
        if state_dict["ended"]:
            self.generator.set_state(state_dict["generator"])


class Prepared:
    """As a loader that accelerate prepared: it has the methods of a state, and none behind them."""

    def __init__(self, loader):
        self.base = loader

    def __iter__(self):
        return iter(self.base)

    def __len__(self):
        return len(self.base)

    def __getattr__(self, name):
        if name == "base":
            raise AttributeError(name)
        return getattr(self.base, name)

    def state_dict(self):
        return self.dl_state_dict

    def load_state_dict(self, state_dict):
        self.base.load_state_dict(state_dict)


def torchs(sampler=None, **arguments):
    """torch's loader over the same items, four a batch; shuffled unless a sampler is given."""
    arguments.setdefault("shuffle", sampler is None)
    return DataLoader(TensorDataset(*items()), 4, sampler=sampler, **arguments)


def prepared():
    return Prepared(torchs(generator=torch.Generator().manual_seed(3)))
