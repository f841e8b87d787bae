"""A vision transformer with a loss function of one's own, on the logits of its output."""

import torch
from torch.nn import functional as F

from lehr import DataBunch, Learner

PACKAGES = ["transformers"]
ITEMS = 8
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        image = torch.randn(4, 1, 8, 8, generator=DRAW)
        yield image, (image.mean((1, 2, 3)) > 0).long()


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


def select(out):
    return out.logits


def model():
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            image_size=8,
            patch_size=4,
            num_channels=1,
            hidden_dropout_prob=0,
            attention_probs_dropout_prob=0,
        )
    )


def of_logits(out, target):
    return F.cross_entropy(out.logits, target)


def learner(net):
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
    return Learner(net, opt, of_logits, DataBunch(TRAIN, VALID), progress=False)


def check(learn, run):
    assert learn.predict(VALID, select=lambda out: out.logits).shape == (8, 2)


def plain(net):
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net.train()
    for _ in range(2):
        for image, target in TRAIN:
            of_logits(net(image), target).backward()
            opt.step()
            opt.zero_grad()
