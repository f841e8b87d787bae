import pytest
import torch

from lehr.data.split import normalized, random_split


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


def test_the_training_parts_numbers_scale_both():
    train, valid = normalized(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([3.0, 7.0]))
    assert (train.mean(), train.std()) == (0, 1)
    assert valid.tolist() == [0, 2]
