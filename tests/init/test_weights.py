import pytest
import torch
from torch import nn

from lehr.init.weights import check_weight, per_group


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        ([1.0], TypeError, r"weight must be a tensor; got list\. Give e\.g\. layer\.weight\."),
        (torch.ones(2, 2).long(), TypeError, r"floating-point numbers; got torch\.int64\. Convert"),
        (torch.ones(3), ValueError, r"at least 2 dimensions; got shape \(3,\)\. Leave biases"),
        (torch.ones(0, 3), ValueError, r"must not be empty; got shape \(0, 3\)\. Give each size"),
        (nn.LazyLinear(3).weight, ValueError, r"lazy parameter without one\. Call the model on"),
    ],
)
def test_it_refuses_what_is_no_weight(weight, error, message):
    with pytest.raises(error, match=message):
        check_weight(weight)


def test_a_convolution_needs_three_dimensions():
    check_weight(torch.ones(1, 1, 1), least_dims=3)
    with pytest.raises(ValueError, match=r"at least 3 dimensions; got shape \(2, 2\)\. Use orthog"):
        check_weight(torch.ones(2, 2), least_dims=3)


def test_groups_are_views_of_the_weight():
    weight = torch.zeros(6, 2)
    per_group(weight, 3)[1].fill_(1)
    assert weight.sum(1).tolist() == [0, 0, 2, 2, 0, 0]


@pytest.mark.parametrize("groups", [0, 4, -1])
def test_groups_divide_the_first_size(groups):
    with pytest.raises(
        ValueError, match=rf"divide the weight's first size, 6; got {groups}\. Give"
    ):
        per_group(torch.zeros(6, 2), groups)
