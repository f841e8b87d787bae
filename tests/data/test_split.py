import pytest
import torch

from lehr.data.split import random_split


def test_every_index_once_decided_by_the_seed():
    train, valid = random_split(100, 0.2, 0)
    assert sorted(train.tolist() + valid.tolist()) == list(range(100))
    assert len(valid) == 20
    assert torch.equal(valid, random_split(100, 0.2, 0)[1])
    assert not torch.equal(valid, random_split(100, 0.2, 1)[1])


@pytest.mark.parametrize("share", [0, 0.001, 1, -0.5, 2])
def test_an_empty_part(share):
    with pytest.raises(
        ValueError, match=f"valid_share must leave items to both parts; got {share}"
    ):
        random_split(10, share, 0)
