"""The small things for testers are themselves tested."""

import torch
from torch import nn

from lehr.testing import EventLog, tiny_learner


def test_tiny_learners_are_alike_and_draw_nothing():
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    a, b = tiny_learner(), tiny_learner()
    assert torch.equal(torch.rand(2), expected)
    assert a.fit(2).history["loss"] == b.fit(2).history["loss"]


def test_a_model_that_is_given_is_taken_also_if_it_counts_as_false():
    class Head(nn.Sequential):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 2))

        def __len__(self):
            return 0

        def forward(self, x):
            return x @ self.weight

    model = Head()
    assert not model
    assert tiny_learner(model=model).model is model


def test_the_log_can_be_read_and_unknown_names_are_no_events():
    spy = EventLog()
    assert spy.log == []
    assert not hasattr(spy, "after_nothing")
