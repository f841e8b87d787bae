"""Items become a batch."""

import pytest
import torch

from lehr.foundations.collation import collate


def test_collate_stacks_items():
    """64 items of shape (784,) and their labels become tensors of shapes (64, 784) and (64,)."""
    xb, yb = collate([(torch.full((784,), float(i)), i) for i in range(64)])
    assert (xb.shape, yb.shape, yb.dtype) == ((64, 784), (64,), torch.int64)
    assert torch.equal(xb[:, 0].long(), yb)


def test_ragged_items_raise_an_error_that_names_their_shapes():
    """Items of several shapes raise an error that names the shapes and a way out."""
    items = [(torch.zeros(784), 0), (torch.zeros(783), 1)]
    with pytest.raises(ValueError, match=r"inputs .* one shape; got \[\(783,\), \(784,\)\]") as e:
        collate(items)
    assert "collate_fn" in str(e.value)
    with pytest.raises(ValueError, match="targets of a batch"):
        collate([(torch.zeros(1), [1]), (torch.zeros(1), [1, 2])])
