"""GPT-2: labels of -100 do not count, the weights of first and last layer are tied."""

import torch

from lehr import DataBunch, Learner

PACKAGES = ["transformers"]
ITEMS = 6
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        words = torch.randint(0, 20, (3, 8), generator=DRAW)
        yield {"input_ids": words, "labels": words.masked_fill(words % 5 == 0, -100)}


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


def select(out):
    return out.logits


def model():
    from transformers import GPT2Config, GPT2LMHeadModel

    none = {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=20, n_positions=8, n_embd=8, n_layer=1, n_head=2, **none)
    )


def learner(net):
    return Learner(
        net,
        torch.optim.AdamW(net.parameters(), lr=1e-3),
        "loss",
        DataBunch(TRAIN, VALID),
        weight=lambda run: int((run.batch["labels"][:, 1:] != -100).sum()),
        progress=False,
    )


def check(learn, run):
    assert learn.model.lm_head.weight is learn.model.transformer.wte.weight


def plain(net):
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net.train()
    for _ in range(2):
        for batch in TRAIN:
            net(**batch).loss.backward()
            opt.step()
            opt.zero_grad()
