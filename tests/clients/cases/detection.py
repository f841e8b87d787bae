"""Detection: a list of images of different sizes goes in, a list of dicts comes out."""

import torch
from torch import nn

from lehr import DataBunch, Learner

ITEMS = 8
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        sizes = torch.randint(4, 8, (4, 2), generator=DRAW).tolist()
        images = [torch.randn(1, *size, generator=DRAW) for size in sizes]
        yield images, [{"boxes": torch.rand(n + 1, 4, generator=DRAW)} for n in range(4)]


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


class Model(nn.Module):
    """One box for each image."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 4)

    def forward(self, images):
        boxes = [self.head(self.conv(image).relu().mean((1, 2)))[None] for image in images]
        return [{"boxes": box, "scores": box.sum(1)} for box in boxes]


def model():
    return Model()


def box_loss(boxes, targets):
    pairs = zip(boxes, targets, strict=True)
    return sum((f["boxes"] - t["boxes"]).abs().mean() for f, t in pairs) / len(boxes)


def learner(net):
    return Learner(
        net,
        torch.optim.SGD(net.parameters(), lr=0.1),
        box_loss,
        DataBunch(TRAIN, VALID),
        split_batch=lambda batch: ((batch[0],), batch[1]),
        progress=False,
    )


def plain(net):
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        for images, targets in TRAIN:
            box_loss(net(images), targets).backward()
            opt.step()
            opt.zero_grad()
