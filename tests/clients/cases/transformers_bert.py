"""BERT for classes of sentences: a data set of dicts, a data collator, the loss in the model."""

import torch
from torch.utils.data import DataLoader

from lehr import DataBunch, Learner

PACKAGES = ["transformers"]
ITEMS = 8
DRAW = torch.Generator().manual_seed(1)


def items(count):
    for _ in range(count):
        words = torch.randint(1, 20, (7,), generator=DRAW)
        words[int(torch.randint(4, 8, (1,), generator=DRAW)) :] = 0
        yield {
            "input_ids": words.tolist(),
            "attention_mask": (words > 0).long().tolist(),
            "label": int(words.sum() > 60),
        }


TRAIN, VALID = list(items(16)), list(items(8))


def loader(data):
    from transformers import default_data_collator

    return DataLoader(data, batch_size=4, collate_fn=default_data_collator)


def valid():
    return loader(VALID)


def select(out):
    return out.logits


def model():
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
        hidden_dropout_prob=0,
        attention_probs_dropout_prob=0,
    )
    return BertForSequenceClassification(config)


def learner(net):
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
    return Learner(net, opt, "loss", DataBunch(loader(TRAIN), loader(VALID)), progress=False)


def plain(net):
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net.train()
    for _ in range(2):
        for batch in loader(TRAIN):
            net(**batch).loss.backward()
            opt.step()
            opt.zero_grad()
