"""The arithmetic of the update window, away from the loop."""

import pytest
import torch

from lehr.window import Window


class FakeRun:
    def __init__(self, params):
        self.params, self.closes = params, True

    def trained_parameters(self):
        return self.params


def gradient(window, parts):
    """The gradient of sum(w * x_i) / items, gathered part by part."""
    w = torch.ones(1, dtype=torch.float64, requires_grad=True)
    run = FakeRun([w])
    for i, part in enumerate(parts):
        run.closes = i == len(parts) - 1
        run.weight = len(part)
        total = (w * part).sum()
        run.loss = total / len(part) if window.loss_is_mean else total
        window.batches += 1
        window.weight += run.weight
        window.share(run).backward()
    if window.batches > 1:
        window.finish(run)
    return w.grad.item()


@pytest.mark.parametrize("loss_is_mean", [True, False])
def test_parts_of_unequal_size_give_the_gradient_of_the_whole(loss_is_mean):
    whole = torch.arange(10, dtype=torch.float64)
    for parts in ([whole], whole.split(5), whole.split(3), [whole[:1], whole[1:]]):
        window = Window(keeps=False, loss_is_mean=loss_is_mean)
        assert gradient(window, parts) == pytest.approx(4.5, abs=1e-12)


def test_replaying_without_batches_is_an_error():
    window = Window(keeps=True, loss_is_mean=True)
    with pytest.raises(RuntimeError, match=r"has no batches to replay. Set regrads = True"):
        window.replay(FakeRun([]), None, None, None)


def test_clear_forgets():
    window = Window(keeps=True, loss_is_mean=True)
    window.batches, window.weight = 3, 12.0
    window.clear()
    assert (window.batches, window.weight) == (0, 0.0)
