"""Which step is the faster one is chosen once, and goes on with a run."""

import copy
import pickle
from itertools import cycle

import pytest
import torch

from lehr.loop.step.graphs import Graphs
from lehr.loop.step.verdict import Verdict, waiting_for


class Clock:
    """A stand-in: eager and fused steps, in turns, take so long."""

    def __init__(self, eager, fused):
        self.now, self.steps = 0.0, cycle([0.0, eager, 0.0, fused])

    def __call__(self):
        self.now += next(self.steps)
        return self.now


@pytest.mark.parametrize(("eager", "fused"), [(3.0, 2.0), (2.0, 2.0), (2.0, 3.0)])
def test_the_faster_one_is_chosen_and_the_fused_one_if_they_are_the_same(eager, fused):
    verdict, calls = Verdict(Clock(eager, fused)), []
    times = verdict.measured(lambda: calls.append("eager"), lambda: calls.append("fused"))
    assert times == [eager, fused]
    assert calls == ["eager", "fused"] * 9
    assert verdict.decided("it", *times).fused is (fused <= eager)


def test_the_first_two_of_each_and_one_that_is_slow_by_chance_do_not_count():
    times = iter([9, 1, 9, 1, 2, 5, 2, 5, 2, 90, 2, 5, 90, 5, 2, 5, 2, 5])
    readings = iter([reading for time in times for reading in (0, time)])
    assert Verdict(lambda: next(readings)).measured(lambda: None, lambda: None) == [2, 5]


def test_a_choice_is_for_what_was_measured():
    verdict = Verdict()
    assert not verdict.holds_for("a")
    verdict.decided("a", 1, 2)
    assert verdict.holds_for("a")
    assert not verdict.holds_for("b")
    assert (verdict.fused, verdict.seconds) == (None, None)


def test_another_run_goes_on_with_the_choice_and_without_the_times():
    mine, theirs = Verdict().decided("a", 0.001, 0.002), Verdict()
    theirs.load_state_dict(mine.state_dict())
    assert theirs.in_words() == "the eager step was the faster one when the run was begun"
    assert theirs.holds_for("whatever is here")
    assert not theirs.holds_for("something else")
    mine.load_state_dict({"fused": None})  # of before the first batch
    assert mine.in_words() == "the eager step is the faster one (1.000 ms against 2.000 ms)"
    mine.load_state_dict({"fused": True})
    assert (mine.fused, mine.seconds) == (True, None)
    assert repr(Verdict()) == "Verdict(fused=None)"
    assert Verdict().in_words() == ""


def test_copies_of_a_learners_graphs_have_the_choice():
    graphs = Graphs("eager", measures=True)
    graphs.verdict.decided("a", 2, 1)
    for other in (copy.deepcopy(graphs), pickle.loads(pickle.dumps(graphs))):
        assert other.measures
        assert other.verdict.fused
    assert copy.deepcopy(graphs).verdict is graphs.verdict


def test_a_device_is_waited_for(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    waiting_for(torch.zeros(1))(None)
    assert waited == []
    waiting_for(torch.zeros(1, device="meta"))(None)
    assert waited == [torch.device("meta")]
