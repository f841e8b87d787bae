import pytest
import torch

from lehr.data.split import check_split, random_split


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


def test_a_split_that_cannot_be_had():
    for split in ("tset", None):
        with pytest.raises(ValueError, match=f"split must be one of valid, test; got {split!r}"):
            check_split(split, object(), ("valid", "test"))
    with pytest.raises(ValueError, match=r"split='all' divides nothing, .* Give preparation="):
        check_split("all", None, ("valid", "all"))
    assert check_split("all", object(), ("valid", "all")) == "all"
