"""T5: an encoder and a decoder, whose caches are in the output too."""

import torch

from lehr import DataBunch, Learner

PACKAGES = ["transformers"]
DRAW = torch.Generator().manual_seed(1)


def batches(count):
    for _ in range(count):
        words = torch.randint(2, 20, (3, 6), generator=DRAW)
        yield {"input_ids": words, "labels": words.flip(1)}


TRAIN, VALID = list(batches(4)), list(batches(2))


def valid():
    return VALID


def select(out):
    return out.logits


def model():
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=20,
            d_model=8,
            d_kv=4,
            d_ff=16,
            num_layers=1,
            num_heads=2,
            dropout_rate=0,
            decoder_start_token_id=0,
        )
    )


def learner(net):
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
    return Learner(net, opt, "loss", DataBunch(TRAIN, VALID), progress=False)


def plain(net):
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net.train()
    for _ in range(2):
        for batch in TRAIN:
            net(**batch).loss.backward()
            opt.step()
            opt.zero_grad()
