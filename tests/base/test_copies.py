"""A copy on the CPU shares nothing with what was copied."""

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal

from lehr.base.copies import copied_to_cpu


class Cache:
    """Keeps tensors in attributes, as those of transformers do."""

    def __init__(self, *layers):
        self.layers = list(layers)


def test_tensors_are_copied_without_their_graph_and_without_the_rest_of_their_storage():
    buffer = torch.zeros(100, requires_grad=True)
    copied = copied_to_cpu({"a": (buffer * 1)[:3]})["a"]
    assert not copied.requires_grad
    assert copied.untyped_storage().nbytes() == 3 * 4
    plain = torch.zeros(3)
    assert copied_to_cpu(plain).data_ptr() != plain.data_ptr()


def test_what_is_in_other_objects_is_copied_too():
    x = torch.zeros(2, requires_grad=True)
    y = x * 1  # a tensor that is no leaf; copy.deepcopy alone refuses it
    copied = copied_to_cpu([Cache(y, y)])[0]
    assert copied.layers[0] is copied.layers[1]
    assert not copied.layers[0].requires_grad
    with torch.no_grad():
        y += 1
    assert copied.layers[0].tolist() == [0.0, 0.0]
    assert y.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "made",
    [
        lambda x: Normal(x, 1.0),
        lambda x: Categorical(logits=x),
        lambda x: Independent(Normal(x, 2.0), 1),
    ],
)
def test_distributions_are_copied_whole(made):
    x = torch.randn(3, 2, requires_grad=True)
    before = made(x * 1)
    copied = copied_to_cpu(before)
    assert type(copied) is type(before)
    assert copied.batch_shape == before.batch_shape
    sample = before.sample()
    assert torch.equal(copied.log_prob(sample), before.log_prob(sample).detach())
    assert not copied.log_prob(sample).requires_grad


def test_what_cannot_be_copied_is_refused_by_its_class():
    with pytest.raises(TypeError, match=r"^generator cannot be copied: cannot pickle 'generator'"):
        copied_to_cpu({"a": (i for i in range(3))})
