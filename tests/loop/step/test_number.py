"""A number that may change while its tensor stays."""

import torch

from lehr.loop.step.number import Number


def test_it_has_the_last_value_in_double_precision():
    number = Number()
    assert number.of(0.1).item() == 0.1
    assert number.of(0.3) is number.of(0.1)
    assert number.of(0.1).item() == 0.1
    assert number.of(0).item() == 0.0


def test_a_tensor_stays_as_it_is():
    rate = torch.tensor(0.5)
    assert Number().of(rate) is rate
