"""How large gradients and updates are."""

import pytest
import torch
from torch import nn

from lehr import Callback
from lehr.callbacks import Accumulate, ClipGradients, GradientStats
from lehr.callbacks.measure.gradient_stats import GRADIENT, UPDATE, WEIGHT
from lehr.testing import tiny_learner


def test_with_plain_sgd_the_update_is_the_rate_times_the_gradient():
    class First(Callback):
        state = ()

        def step(self, run, proceed):
            weight = run.model[0].weight
            self.seen = getattr(self, "seen", []) + [(weight.grad.norm(), weight.detach().norm())]
            proceed()

    stats, first = GradientStats(), First()
    tiny_learner([stats, first]).fit(1)
    for table, (gradient, weight) in zip(stats.steps.values(), first.seen, strict=True):
        assert table[0, GRADIENT] == gradient
        assert table[0, WEIGHT] == weight
        assert table[0, UPDATE].item() == pytest.approx(0.1 * gradient.item(), rel=1e-4)
    assert torch.equal(
        stats.ratios(), stats.steps.values()[..., UPDATE] / stats.steps.values()[..., WEIGHT]
    )


def test_the_gradient_is_that_which_the_optimizer_gets():
    stats = GradientStats()
    tiny_learner([stats, ClipGradients(1e-3)]).fit(1)
    norms = stats.steps.values()[:, :, GRADIENT].square().sum(1).sqrt()
    torch.testing.assert_close(norms, torch.full_like(norms, 1e-3), rtol=1e-2, atol=0)


def test_only_some_steps_and_only_parameters_that_are_trained():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    stats = GradientStats(every=3)
    opt = torch.optim.SGD(model[2].parameters(), lr=0.1)
    tiny_learner([stats], model=model, opt=opt).fit(2)
    assert stats.steps.layers == ["2.weight", "2.bias"]
    assert stats.steps.batches == [0, 3, 6]


def test_training_is_as_without():
    with_it, without = tiny_learner([GradientStats()]), tiny_learner()
    assert with_it.fit(2).history["loss"] == without.fit(2).history["loss"]


def test_a_number_that_cannot_be_used():
    with pytest.raises(ValueError, match="every must be at least 1; got 0"):
        GradientStats(0)


def test_its_repr_says_how_it_was_made():
    assert repr(GradientStats(5)) == "GradientStats(5)"


def test_the_axis_of_its_table_is_the_step_and_before_a_fit_there_is_none():
    stats = GradientStats()
    assert stats.layer_tables() == []
    tiny_learner([stats, Accumulate(2)]).fit(1)
    (table,) = stats.layer_tables()
    assert (table.axis, table.batches) == ("optimizer step", [0, 1])
    assert table.thinned(1).axis == "optimizer step"
