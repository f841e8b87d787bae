"""Parts of batches."""

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from lehr.base.sharing import WHOLE, Share, part_of, without_items


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_parts_make_the_whole_and_differ_by_at_most_one(world):
    for items in range(20):
        parts = [range(items)[Share(rank, world).of(items)] for rank in range(world)]
        assert [i for part in parts for i in part] == list(range(items))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_part_has_the_form_of_the_batch():
    batch = {"ids": torch.arange(5), "names": list("abcde"), "scale": torch.tensor(2.0), "n": 3}
    part = part_of(batch, Share(1, 2))
    assert part["ids"].tolist() == [3, 4]
    assert part["names"] == ["d", "e"]
    assert (part["scale"].item(), part["n"]) == (2.0, 3)
    assert torch.equal(part_of(batch, WHOLE)["ids"], batch["ids"])


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match=r"a batch of 5 items has a tensor of shape \(2,\)"):
        part_of((torch.zeros(5), torch.zeros(2)), Share(0, 2))
    with pytest.raises(ValueError, match=r"a batch of None cannot be shared out"):
        part_of(None, Share(0, 2))
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged)
    with pytest.raises(ValueError, match=r"a nested tensor cannot be shared out"):
        part_of((nested,), Share(0, 2))
    packed = pack_sequence([torch.zeros(3), torch.zeros(2)])
    with pytest.raises(ValueError, match=r"a batch of 2 items has a tensor of shape \(5,\)"):
        part_of(packed, Share(0, 2))


def test_a_batch_without_items_has_its_form():
    x, y, scale = without_items((torch.ones(3, 2), torch.ones(3), torch.tensor(1.0)))
    assert (x.shape, y.shape, scale.shape) == ((0, 2), (0,), ())
