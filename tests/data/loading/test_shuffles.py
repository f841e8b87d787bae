"""Which loaders are known to shuffle."""

import pytest
import torch
from torch.utils import data as torchs

from lehr import data
from lehr.data.loading.shuffles import shuffles

ITEMS = [torch.tensor([float(i)]) for i in range(8)]


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        (torchs.DataLoader(ITEMS, 4), False),
        (torchs.DataLoader(ITEMS, 4, shuffle=True), True),
        (torchs.DataLoader(ITEMS, 4, sampler=torchs.SubsetRandomSampler([1, 2])), True),
        (torchs.DataLoader(ITEMS, 4, sampler=torchs.WeightedRandomSampler([1.0] * 8, 8)), True),
        (
            torchs.DataLoader(
                ITEMS, batch_sampler=torchs.BatchSampler(torchs.RandomSampler(ITEMS), 4, False)
            ),
            True,
        ),
        (torchs.DataLoader(ITEMS, batch_sampler=[[0, 1], [2, 3]]), False),
        (data.DataLoader(ITEMS, batch_size=4), False),
        (data.DataLoader(ITEMS, batch_size=4, shuffle=True), True),
        (ITEMS, False),
        (lambda: iter(ITEMS), False),
    ],
)
def test_shuffles(loader, expected):
    assert shuffles(loader) == expected
