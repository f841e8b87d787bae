"""Shards of webdataset."""

import io
import tarfile
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

PACKAGES = ["webdataset"]
ITEMS = 8
X = torch.randn(24, 3, generator=torch.Generator().manual_seed(1))
FOLDER = tempfile.TemporaryDirectory()


def shard(name, x):
    path = Path(FOLDER.name) / f"{name}.tar"
    with tarfile.open(path, "w") as tar:
        for i, row in enumerate(x):
            file = io.BytesIO()
            torch.save(row.clone(), file)
            for ending, data in (("pth", file.getvalue()), ("cls", b"%d" % (row.sum() > 0))):
                entry = tarfile.TarInfo(f"{i:03}.{ending}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return str(path)


def loader(name, x):
    import webdataset

    data = webdataset.WebDataset(shard(name, x), shardshuffle=False, empty_check=False)
    return webdataset.WebLoader(data.decode().to_tuple("pth", "cls").batched(4), batch_size=None)


def train():
    return loader("train", X[:16])


def valid():
    return loader("valid", X[16:])


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def learner(net):
    bunch = DataBunch(train(), valid())
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    return Learner(net, opt, F.cross_entropy, bunch, progress=False)


def plain(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        for x, target in train():
            F.cross_entropy(net(x), target).backward()
            opt.step()
            opt.zero_grad()
