"""Numbers in tensors: the same tensor, whatever its value."""

import torch

from lehr.loop.step.scalars import Number, Numbers


def test_it_has_the_last_value_in_double_precision():
    number = Number()
    assert number.of(0.1).item() == 0.1
    assert number.of(0.3) is number.of(0.1)
    assert number.of(0.1).item() == 0.1
    assert number.of(0).item() == 0.0
    assert number.of(torch.tensor([0.5])) is number.of(0)  # another tensor is copied into it
    assert number.of(torch.tensor(0.25)).item() == 0.25
    assert number.of(0.5).item() == 0.5


def test_each_is_made_once_by_its_name_where_it_is_read():
    numbers = Numbers(torch.device("meta"))
    assert numbers["lr"] is numbers["lr"]
    assert numbers["lr"] is not numbers["inside", 0, "share"]
    assert list(numbers) == ["lr", ("inside", 0, "share")]
    assert numbers["lr"].of(0.5).device.type == "meta"
    assert Numbers()["lr"].of(0.5).device.type == "cpu"
