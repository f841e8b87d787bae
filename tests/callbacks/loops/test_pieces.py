"""A batch in pieces."""

import pytest
import torch
from torch import nn

from lehr.callbacks.loops.pieces import check_cut, in_pieces


def test_pieces_give_the_output_and_the_gradient_of_the_whole():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2).double()
    x = torch.randn(7, 3, dtype=torch.float64)
    grads = []
    for size in (7, 3, 1):
        layer.zero_grad()
        out = in_pieces(layer, layer.forward, 7, size, x)
        torch.testing.assert_close(out, layer(x))
        out.square().sum().backward()
        grads.append(layer.weight.grad.clone())
    torch.testing.assert_close(grads[0], grads[1])
    torch.testing.assert_close(grads[0], grads[2])
    assert not torch.allclose(grads[0], grads[0] * 3 / 7)


def test_what_counts_no_items_is_given_to_each_piece_whole():
    seen = []

    def forward(x, shared, *, words):
        seen.append((len(x), len(shared), words))
        return x, shared.sum() + torch.zeros(len(x)), words

    out = in_pieces(nn.Identity(), forward, 5, 2, torch.zeros(5), torch.ones(3), words="same")
    assert seen == [(1, 3, "same"), (2, 3, "same"), (2, 3, "same")]
    assert [len(out[0]), len(out[1]), out[2]] == [5, 5, "same"]


def test_no_piece_is_much_smaller_than_another():
    """Four items in pieces of at most three are two and two; BatchNorm refuses a single one."""
    norm = nn.BatchNorm1d(2)
    assert in_pieces(norm, norm.forward, 4, 3, torch.randn(4, 2)).shape == (4, 2)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        in_pieces(norm, norm.forward, 4, 1, torch.randn(4, 2))


def test_an_output_without_items_is_refused():
    with pytest.raises(TypeError, match=r"for 2 items cannot be put together: in \(\) float32"):
        in_pieces(nn.Identity(), torch.sum, 4, 2, torch.ones(4))


def test_an_input_without_items_is_refused():
    check_cut({"x": torch.zeros(4, 2)}, 4)
    with pytest.raises(TypeError, match=r"the batch of 4 items cannot be cut into micro-batches"):
        check_cut({"x": torch.zeros(2, 4), "n": 4}, 4)
