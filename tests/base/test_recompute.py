"""A forward pass that is computed again has the bits of one that is kept."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from lehr.base.recompute import forward_replaced, recomputed

LAYERS = {
    "dropout": lambda: nn.Sequential(nn.Linear(3, 9), nn.Dropout(0.5), nn.Linear(9, 2)),
    "batch norm": lambda: nn.Sequential(nn.Linear(3, 9), nn.BatchNorm1d(9), nn.Linear(9, 2)),
    "spectral norm": lambda: nn.Sequential(spectral_norm(nn.Linear(3, 9)), nn.Linear(9, 2)),
}


def trained(make, call):
    """Gradients and buffers after two passes, and how often the first layer computed."""
    torch.manual_seed(0)
    model = make()
    calls = []
    handle = model[-1].register_forward_pre_hook(lambda *_: calls.append(1))
    for _ in range(2):
        x = torch.randn(5, 3)
        call(model, x).square().sum().backward()
    handle.remove()
    return [p.grad for p in model.parameters()], list(model.buffers()), len(calls)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_and_buffers_have_the_same_bits(name):
    make = LAYERS[name]
    grads, buffers, calls = trained(make, lambda model, x: model(x))
    again = trained(make, lambda model, x: recomputed(model, model.forward, x))
    assert all(map(torch.equal, grads, again[0]))
    assert all(map(torch.equal, buffers, again[1]))
    assert (calls, again[2]) == (2, 4)


def test_without_its_care_for_buffers_they_would_differ():
    plain = trained(LAYERS["batch norm"], lambda model, x: model(x))
    naive = trained(
        LAYERS["batch norm"],
        lambda model, x: torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False),
    )
    assert not all(map(torch.equal, plain[1], naive[1]))


def test_without_gradients_nothing_is_computed_again():
    layer = nn.BatchNorm1d(3)
    with torch.no_grad():
        out = recomputed(layer, layer.forward, torch.randn(4, 3))
    assert not out.requires_grad
    assert layer.num_batches_tracked == 1


def test_arguments_may_have_any_name():
    def forward(x, *, context_fn):
        return x * context_fn

    x = torch.ones(2, requires_grad=True)
    recomputed(nn.Identity(), forward, x, context_fn=3).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_a_forward_is_put_back_even_one_that_was_the_modules_own():
    layer = nn.Identity()
    with pytest.raises(ZeroDivisionError), forward_replaced(layer, abs):
        raise ZeroDivisionError
    assert "forward" not in vars(layer)
    layer.forward = abs
    with forward_replaced(layer, str):
        assert layer(-1) == "-1"
    assert layer.forward is abs
