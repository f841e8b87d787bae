"""Masked words, drawn anew in every epoch by a data collator."""

import torch
from torch.utils.data import DataLoader

from lehr import DataBunch, Learner

PACKAGES = ["transformers", "tokenizers"]
ITEMS = 8
NOT_PLAIN = (
    "the collator draws the masks from generators that lehr keys by the place in the training"
)
DRAW = torch.Generator().manual_seed(1)
WORDS = torch.randint(2, 20, (24, 6), generator=DRAW).tolist()


def loader(words):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    words_of = {"[MASK]": 0, "[PAD]": 1, **{f"w{i}": i for i in range(2, 20)}}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words_of, "[PAD]")),
        mask_token="[MASK]",
        pad_token="[PAD]",
    )
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.4)
    return DataLoader([{"input_ids": w} for w in words], batch_size=4, collate_fn=collate)


def valid():
    return loader(WORDS[16:])


def select(out):
    return out.logits


def model():
    from transformers import BertConfig, BertForMaskedLM

    return BertForMaskedLM(
        BertConfig(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=8,
        )
    )


def learner(net):
    return Learner(
        net,
        torch.optim.AdamW(net.parameters(), lr=1e-3),
        "loss",
        DataBunch(loader(WORDS[:16]), valid()),
        weight=lambda run: int((run.batch["labels"] != -100).sum()),
        progress=False,
    )
