"""Where nan and infinity came from is found, and nothing is left of the search."""

import math

import pytest
import torch
from torch import nn

from lehr import Callback, DataBunch, Learner
from lehr.callbacks import Checkpoint, StopOnNonFinite
from lehr.callbacks.decide.non_finite import origin
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class Root(nn.Module):
    """The square root: nan for what is negative."""

    def forward(self, x):
        return x.sqrt()


class Ask(Callback):
    """Asks at one training batch, and sees that nothing is left of it."""

    def __init__(self, at=(0, 0)):
        self.at, self.origin, self.left = at, None, None

    def after_loss(self, run):
        if run.training and (run.epoch, run.batch_index) == self.at:
            entries = run.state_entries()
            kept = {name: entries[name] for name in ("model", "modes", "random", "streams")}
            before = capture(kept)
            self.origin = origin(run)
            self.left = first_difference(before, capture(kept))


def asked(model, batch, loss_func=None, at=(0, 0)):
    ask = Ask(at)
    opt = torch.optim.SGD(model.parameters(), 0.1)
    data = DataBunch([batch])
    loss = loss_func or nn.functional.mse_loss
    Learner(model, opt, loss, data, [ask], progress=False, seed=1).fit(1)
    assert ask.left is None
    return ask.origin


def batch(*bad, value=math.nan):
    xb = torch.ones(6, 3)
    for i in bad:
        xb[i, 1] = value
    return xb, torch.zeros(6, 2)


@pytest.mark.parametrize("training", [True, False])
def test_the_first_layer_and_the_items_are_named(training):
    root = nn.Sequential(Root())
    norm = nn.BatchNorm1d(3, affine=False)
    norm.training = training
    model = nn.Sequential(nn.Linear(3, 3), norm, nn.Dropout(0.1), root, nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3))
        model[0].bias.fill_(1e-3)
    told = asked(model, (torch.tensor([[1.0] * 3] * 2 + [[-1.0] * 3]), torch.zeros(3, 2)))
    assert told.startswith("The first layer whose output is not finite is '3.0' (Root) in item")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_input_that_is_not_finite_is_told_first(value):
    told = asked(nn.Sequential(nn.Linear(3, 2)), batch(5, value=value))
    assert told == "The input is not finite in item 5."


def test_weights_that_were_spoilt_before():
    one, several = (nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)) for _ in range(2))
    with torch.no_grad():
        for model in (one, several):
            model[1].bias[0] = math.nan
        several[0].weight[0] = math.inf
    assert asked(one, batch()) == "The weight 1.bias is spoilt."
    assert asked(several, batch()) == "Weights 0.weight, 1.bias are spoilt."


def test_a_loss_function_that_is_not_finite():
    def log_loss(pred, yb):
        return (pred.sum(1) * 0 + yb[:, 0].log()).mean()

    xb, yb = batch()
    yb = torch.ones(6, 2)
    yb[3, 0] = -1
    told = asked(nn.Sequential(nn.Linear(3, 2)), (xb, yb), log_loss)
    assert told == "The prediction is finite, the loss of it is not in item 3."


def test_many_items_are_not_all_listed():
    xb, yb = -torch.ones(20, 3), torch.zeros(20, 2)
    told = asked(nn.Sequential(Root(), nn.Linear(3, 2)), (xb, yb))
    assert told.endswith("is '0' (Root) in any item.")
    told = asked(nn.Sequential(Root(), nn.Linear(3, 2)), (xb.index_fill(0, torch.tensor(7), 1), yb))
    assert told.endswith("in items 0, 1, 2, 3, 4, 5, 6, 8 and 11 more.")


def test_what_is_finite_is_no_news():
    assert asked(nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)), batch()) == ""
    model = nn.Sequential(nn.Linear(3, 2))
    assert asked(model, batch(), lambda pred, yb: pred.sum() * math.nan) != ""
    assert asked(model, batch(), lambda pred, yb: pred.sum(), at=(9, 9)) is None


def test_a_dropped_item_is_found_with_the_mask_that_dropped_it():
    class Inverse(nn.Module):
        def forward(self, x):
            return 1 / x

    class See(Callback):
        def after_pred(self, run):
            if run.training:
                self.bad = (~torch.isfinite(run.pred).all(1)).nonzero().flatten().tolist()

    see, ask = See(), Ask()
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.3), Inverse())
    opt = torch.optim.SGD(model.parameters(), 0.1)
    data = DataBunch([(torch.randn(6, 3), torch.zeros(6, 2))])
    Learner(model, opt, nn.functional.mse_loss, data, [see, ask], progress=False, seed=2).fit(1)
    assert 0 < len(see.bad) < 6
    assert ask.origin.endswith(f"(Inverse) in items {', '.join(map(str, see.bad))}.")


class Negative(Callback):
    """One batch that the model has no root of, in one item."""

    state = ()

    def begin_batch(self, run):
        if run.training and (run.epoch, run.batch_index) == (1, 1):
            run.xb = run.xb.clone()
            run.xb[5] = -1


def rooted(*callbacks):
    torch.manual_seed(0)
    model = nn.Sequential(Root(), nn.Linear(3, 2))
    learn = tiny_learner([Negative(), *callbacks], model=model)
    learn.data.train_dl.dataset.x.abs_()
    return learn


def test_the_message_of_the_stop_names_it():
    text = r"at step 5 \(epoch 1, batch 1\)\. The first layer whose output is not finite is '0' "
    with pytest.raises(FloatingPointError, match=text + r"\(Root\) in item 5\. Lower lr"):
        rooted(StopOnNonFinite()).fit(2)


@pytest.mark.parametrize("keeps", [True, False])
def test_read_late_the_step_is_made_again_if_a_state_is_kept(tmp_path, keeps):
    keeper = [Checkpoint(tmp_path, every="2 steps")] if keeps else []
    with pytest.raises(FloatingPointError) as caught:
        rooted(StopOnNonFinite(every=3), *keeper).fit(2)
    assert "at step 5 (epoch 1, batch 1)" in str(caught.value)
    assert ("'0' (Root) in item 5." in str(caught.value)) is keeps


def test_targets_that_are_not_finite_are_counted():
    yb = torch.zeros(6, 2)
    yb[1, 0] = yb[4, 1] = yb[4, 0] = math.nan
    found = asked(nn.Linear(3, 2), (torch.ones(6, 3), yb))
    assert found == (
        "The prediction is finite, the loss of it is not in items 1, 4. "
        "The targets hold 3 nan of 12 numbers in items 1, 4."
    )


def test_a_loss_that_passes_over_nan_targets_is_not_blamed_on_them():
    def masked(pred, yb):
        known = yb.isfinite()
        return (pred[known] - yb[known]).square().mean() / (pred[0] - pred[0]).sum()

    yb = torch.zeros(6, 2)
    yb[1, 0] = math.nan
    root = nn.Sequential(nn.Linear(3, 2), Root())
    nn.init.constant_(root[0].weight, -1.0)
    nn.init.zeros_(root[0].bias)
    found = asked(root, (torch.ones(6, 3), yb), masked)
    assert found.startswith("The first layer whose output is not finite")
    assert "targets" not in found


@pytest.mark.parametrize("reaches", [True, False])
def test_a_loss_that_cannot_be_copied_does_not_hide_that_it_is_not_finite(tmp_path, reaches):
    model = nn.Linear(3, 2)

    def loss(pred, yb):
        value = nn.functional.cross_entropy(pred, yb)
        return value + 0 * model.weight.sum() if reaches else value

    class Spoils(Callback):
        def after_step(self, run):
            if run.n_steps == 2:
                run.model.weight.data.fill_(math.nan)

    learn = tiny_learner([Spoils()], model=model, loss_func=loss)
    saver = Checkpoint(tmp_path, every="1 steps")
    with pytest.raises(FloatingPointError, match=r"^loss was nan at step 2"):
        learn.fit(1, [saver, StopOnNonFinite(every=4)])
