"""The small things for testers are themselves tested."""

import torch

from lehr.testing import EventLog, tiny_learner


def test_tiny_learners_are_alike_and_draw_nothing():
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    a, b = tiny_learner(), tiny_learner()
    assert torch.equal(torch.rand(2), expected)
    assert a.fit(2).history["loss"] == b.fit(2).history["loss"]


def test_the_log_can_be_read_and_unknown_names_are_no_events():
    spy = EventLog()
    assert spy.log == []
    assert not hasattr(spy, "after_nothing")
