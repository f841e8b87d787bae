"""Partners and shares."""

from types import SimpleNamespace

import torch

from lehr.callbacks.mixing.pairs import beta, compute_loss, partners


def test_beta_is_drawn_from_the_generator_alone_and_lies_between():
    torch.manual_seed(0)
    drawn = [beta(0.4, torch.Generator().manual_seed(i)) for i in range(400)]
    torch.manual_seed(1)
    again = [beta(0.4, torch.Generator().manual_seed(i)) for i in range(400)]
    assert drawn == again
    assert len(set(drawn)) > 300
    assert all(0 <= value <= 1 for value in drawn)
    mean = sum(drawn) / 400
    variance = sum((value - mean) ** 2 for value in drawn) / 400
    assert abs(mean - 0.5) < 0.06
    assert abs(variance - 1 / (4 * (2 * 0.4 + 1))) < 0.02  # of Beta(α, α)


def test_partners_are_found_in_every_tensor():
    order = torch.tensor([2, 0, 1])
    found = partners({"a": torch.arange(3), "b": [torch.arange(3) * 10]}, order)
    assert found["a"].tolist() == [2, 0, 1]
    assert found["b"][0].tolist() == [20, 0, 10]


def test_where_nobody_is_mixed_the_loss_is_computed_once():
    calls = []
    compute_loss(SimpleNamespace(yb=None), lambda: calls.append(1), None)
    assert calls == [1]
