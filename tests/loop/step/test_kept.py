"""The gradients that a CUDA graph gathers stay where they were."""

import pytest
import torch
from torch import nn

from lehr.callbacks import Accumulate
from lehr.loop.step.graphs import Graphs
from lehr.loop.step.kept import KeptGradients
from lehr.loop.step.layout import Layout
from lehr.testing import tiny_learner


def test_gradients_of_every_window_are_in_the_same_place():
    kept, weight, places = KeptGradients(), nn.Parameter(torch.zeros(3)), []
    for fill in (None, 1.0, None):  # none yet; that of an eager step; the next window's
        weight.grad = None if fill is None else torch.full_like(weight, fill)
        place = kept.of(weight)
        assert weight.grad is place
        assert torch.equal(place, torch.full_like(weight, fill or 0.0))
        places.append(place)
        place.add_(5.0)
    assert places[0] is places[1] is places[2]
    assert torch.equal(kept.of(weight), torch.full((3,), 5.0))  # within a window
    weight.grad, weight.data = None, weight.data.double()
    assert kept.of(weight).dtype == torch.float64


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of torch.jit, within torch
def test_no_window_of_several_fits_gives_a_captured_step_another_place(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda step, **how: step)
    monkeypatch.setattr(Graphs, "captures_on", lambda self, device: True)
    gathered, seen = Layout.gathered, []

    def noted(self):
        seen.append(tuple(tensor.data_ptr() for part in gathered(self) for tensor in part))
        return gathered(self)

    monkeypatch.setattr(Layout, "gathered", noted)
    learners = [tiny_learner([Accumulate(2)], items=64, compile=how) for how in ("eager", False)]
    for learn in learners:
        torch.manual_seed(0)
        for p in learn.model.parameters():
            nn.init.normal_(p)
        learn.fit(2)
        learn.fit(1)
    assert len(seen) > 6
    assert len(set(seen)) == 1
    for p, q in zip(*(learn.model.parameters() for learn in learners), strict=True):
        torch.testing.assert_close(p, q)
