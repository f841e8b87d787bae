"""A model is called in one way, whatever its input is made of."""

from collections import OrderedDict

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from lehr import DataBunch, audit
from lehr.base.call import arguments_of, call
from lehr.testing import tiny_learner

X, Y = torch.ones(2, 3), torch.zeros(2)


@pytest.mark.parametrize(
    ("xb", "args", "named"),
    [
        (X, (X,), {}),
        ((X, Y), (X, Y), {}),
        ([X, Y], [X, Y], {}),
        ({"a": X}, (), {"a": X}),
        (OrderedDict(b=Y), (), {"b": Y}),
        (None, (None,), {}),
        ("text", ("text",), {}),
        ((), (), {}),
    ],
)
def test_items_are_positional_and_names_are_names(xb, args, named):
    assert arguments_of(xb) == (args, named)

    def model(*args, **named):
        return args, named

    assert call(model, xb) == (tuple(args), dict(named))


class Sum(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, a, b):
        return self.layer(a + b)


@pytest.mark.parametrize("nest", [tuple, list, lambda pair: dict(zip("ab", pair, strict=True))])
def test_fit_summary_and_audit_call_it_alike(nest):
    xb, yb = nest([torch.randn(4, 3), torch.randn(4, 3)]), torch.tensor([0, 1, 0, 1])
    learn = tiny_learner(model=Sum(), data=DataBunch([(xb, yb)]))
    learn.fit(1)
    assert [layer.output for layer in learn.summary().layers] == ["(4, 2)"]
    assert learn.audit().sites[0].kind == "linear"
    assert audit(Sum(), (xb, yb)).sites[0].kind == "linear"


def test_a_packed_sequence_is_one_argument_though_it_is_a_tuple():
    packed = pack_sequence([torch.ones(2, 3)])
    assert arguments_of(packed) == ((packed,), {})
    assert arguments_of((packed, 3)) == ((packed, 3), {})
