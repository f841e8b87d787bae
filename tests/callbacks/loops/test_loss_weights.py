"""Weights for the parts of a loss."""

import math

import pytest
import torch
from torch.nn import functional as F

from lehr.callbacks import Accumulate, LossWeights, MixUp, ParamScheduler
from lehr.schedules import sched_lin
from lehr.testing import tiny_learner


def both(pred, yb):
    return {"fit": F.cross_entropy(pred, yb), "size": pred.square().mean()}


def weights(learn):
    return torch.cat([p.detach().flatten() for p in learn.model.parameters()])


def trained(*callbacks, loss_func=both, **named):
    learn = tiny_learner(callbacks, loss_func=loss_func, **named)
    return learn, learn.fit(2)


def test_the_weighted_sum_is_trained_and_the_parts_are_recorded_as_they_are():
    learn, run = trained(LossWeights({"fit": 0.5, "size": 3.0}))
    other, control = trained(
        loss_func=lambda p, y: 0.5 * both(p, y)["fit"] + 3.0 * both(p, y)["size"]
    )
    assert torch.equal(weights(learn), weights(other))
    for name in ("loss", "valid_loss"):
        assert run.history[name] == control.history[name]
    assert run.history["valid_loss"][0] == pytest.approx(
        0.5 * run.history["valid_fit"][0] + 3 * run.history["valid_size"][0]
    )
    unweighted, _ = trained()
    assert not torch.equal(weights(learn), weights(unweighted))


def test_a_weight_of_one_changes_nothing():
    assert torch.equal(
        weights(trained(LossWeights({"fit": 1, "size": 1}))[0]), weights(trained()[0])
    )


def test_a_part_whose_weight_is_zero_has_no_share_even_if_it_is_nan():
    def broken(pred, yb):
        return {"fit": F.cross_entropy(pred, yb), "size": pred.sum() * math.nan}

    learn, _ = trained(LossWeights({"fit": 1.0, "size": 0.0}), loss_func=broken)
    alone, _ = trained(loss_func=lambda pred, yb: F.cross_entropy(pred, yb))
    assert torch.equal(weights(learn), weights(alone))


@pytest.mark.parametrize("size", [1.0, math.nan])
def test_weights_that_are_all_zero_are_an_error(size):
    def broken(pred, yb):
        return {"fit": F.cross_entropy(pred, yb), "size": pred.sum() * size}

    learn = tiny_learner([LossWeights({"fit": 0.0, "size": 0.0})], loss_func=broken)
    with pytest.raises(
        ValueError, match=r"every weight of LossWeights is 0 \(fit, size\), so there is nothing"
    ):
        learn.fit(1)
    learn.callbacks[0].weights["fit"] = 1.0
    assert learn.fit(1).n_steps == 4


def test_weights_follow_a_schedule():
    schedule = ParamScheduler("callbacks.loss_weights.weights.size", sched_lin(2.0, 0.0))
    callback = LossWeights({"fit": 1.0, "size": 0.7})
    _, run = trained(callback, schedule)
    history = run.history
    for i in range(8):
        weight = 2.0 * (1 - i / 8)
        assert history["loss"][i] == pytest.approx(history["fit"][i] + weight * history["size"][i])
    assert callback.weights == {"fit": 1.0, "size": 0.7}


def test_it_goes_together_with_mixed_items_and_windows():
    made = [trained(LossWeights({"fit": 0.5, "size": 2.0}), MixUp(), Accumulate(2))[0]]
    made += [trained(Accumulate(2), MixUp(), LossWeights({"fit": 0.5, "size": 2.0}))[0]]
    control = trained(
        MixUp(),
        Accumulate(2),
        loss_func=lambda p, y: 0.5 * both(p, y)["fit"] + 2 * both(p, y)["size"],
    )[0]
    assert torch.equal(weights(made[0]), weights(made[1]))
    torch.testing.assert_close(weights(made[0]), weights(control))
    assert not torch.allclose(weights(made[0]), weights(trained(MixUp(), Accumulate(2))[0]))


def test_a_part_may_be_missing_in_some_batches():
    class Sometimes:
        calls = 0

        def __call__(self, pred, yb):
            self.calls += 1
            parts = both(pred, yb)
            return parts if self.calls % 2 else {"fit": parts["fit"]}

    _, run = trained(LossWeights({"fit": 1.0, "size": 1.0}), loss_func=Sometimes(), rehearsal=False)
    assert len(run.history["size"]) < len(run.history["fit"])


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="weighs the parts of a loss, but loss_func returned one"):
        tiny_learner([LossWeights({"fit": 1.0})]).fit(1)
    with pytest.raises(ValueError, match=r"has a part 'size', .* Did you mean sise\?"):
        trained(LossWeights({"fit": 1.0, "sise": 0.1}))
    with pytest.raises(ValueError, match="weights must be a dict with a number for each part"):
        LossWeights({})
    with pytest.raises(ValueError, match=r"weights must be a dict .* got \[1\]"):
        LossWeights([1])
    with pytest.raises(TypeError, match=r"weights\['fit'\] must be a real number; got 'much'"):
        LossWeights({"fit": "much"})
    assert repr(LossWeights({"fit": 1})) == "LossWeights({'fit': 1.0})"
