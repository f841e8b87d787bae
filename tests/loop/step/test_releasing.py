"""Validation with gradients on: for what differentiates, and without a trace."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr import Callback, DataBunch
from lehr.testing import tiny_learner


class Forces(nn.Module):
    """An energy, and the force that is its gradient."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1), nn.Dropout(0.5))

    def forward(self, x):
        x = x.detach().requires_grad_()
        energy = self.net(x).sum()
        return torch.autograd.grad(energy, x, create_graph=True)[0]


def force_learner(callbacks=(), **kwargs):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    data = [(x, -x) for x in torch.randn(4, 8, 3, generator=generator)]
    arguments = {"loss_func": F.mse_loss, "valid_grad": True, **kwargs}
    return tiny_learner(callbacks, model=Forces(), data=DataBunch(data, data[:2]), **arguments)


def test_a_model_that_differentiates_is_validated_and_predicts():
    learn = force_learner()
    run = learn.fit(3)
    loss = run.history["valid_loss"]
    assert loss[2] < loss[0]
    learn.model.eval()
    pred = torch.cat([learn.model(x) for x, _ in learn.data.valid_dl])
    assert torch.equal(learn.predict(learn.data.valid_dl), pred.detach())
    assert not learn.predict(learn.data.valid_dl).requires_grad


def test_without_the_switch_the_error_names_it():
    with pytest.raises(RuntimeError, match="does not require grad") as caught:
        force_learner(valid_grad=False, rehearsal=False).fit(1)
    assert caught.value.__notes__[-1] == (
        "Gradients are off in validation and prediction. If the loss or the model differentiates, "
        "give the Learner valid_grad=True."
    )


def test_an_error_in_training_does_not_name_it():
    def broken(pred, yb):
        raise RuntimeError("element 0 of tensors does not require grad")

    with pytest.raises(RuntimeError) as caught:
        tiny_learner(loss_func=broken, rehearsal=False).fit(1)
    assert not any("valid_grad" in note for note in caught.value.__notes__)


def backward_in_loss(pred, yb):
    loss = F.cross_entropy(pred, yb)
    loss.backward(retain_graph=True)  # what a careless loss leaves in the gradients
    return loss


class Grads(Callback):
    def begin_fit(self, run):
        self.present = []

    def after_validate(self, run):
        self.present.append([p.grad is not None for p in run.model.parameters()])

    def after_epoch(self, run):
        self.present.append([p.grad is not None for p in run.model.parameters()])


def test_no_parameter_keeps_a_gradient_of_a_validation():
    grads = Grads()
    tiny_learner(loss_func=backward_in_loss, valid_grad=True).fit(1, callbacks=[grads])
    assert grads.present == [[True] * 4, [False] * 4]


def test_the_gradients_of_an_open_window_stay_the_same_objects():
    class Middle(Callback):
        batches_per_step = 2

        def begin_batch(self, run):
            run.closes = run.window.batches == 1

        def after_backward(self, run):
            if not run.closes:
                before = [p.grad for p in run.model.parameters()]
                copies = [g.clone() for g in before]
                run.learn.validate()
                after = [p.grad for p in run.model.parameters()]
                assert all(a is b for a, b in zip(before, after, strict=True))
                assert all(torch.equal(a, b) for a, b in zip(copies, after, strict=True))
                self.seen = True

    middle = Middle()
    tiny_learner(loss_func=backward_in_loss, valid_grad=True).fit(1, callbacks=[middle])
    assert middle.seen


class Gathers:
    """A metric that keeps every prediction, as many of torchmetrics do."""

    def __init__(self):
        self.kept = []

    def update(self, pred, target):
        self.kept.append(pred)

    def compute(self):
        return float(len(self.kept))

    def reset(self):
        self.kept = []


def test_no_graph_outlives_its_batch():
    metric, graphs = Gathers(), []

    class See(Callback):
        def after_pred(self, run):
            if not run.training:
                graphs.append(weakref.ref(run.pred))
                assert run.pred.requires_grad

        def after_loss(self, run):
            assert run.training or not (run.pred.requires_grad or run.loss.requires_grad)

    force_learner(metrics=[metric]).fit(1, callbacks=[See()])
    gc.collect()
    assert len(metric.kept) == 2
    assert not any(pred.requires_grad for pred in metric.kept)
    assert [graph() for graph in graphs] == [None, None]


def test_parts_lose_their_graph_too():
    class See(Callback):
        def after_loss(self, run):
            assert run.loss_parts["a"].requires_grad == run.training

    def parts(pred, yb):
        return {"a": F.mse_loss(pred, yb), "b": pred.mean()}

    history = force_learner(loss_func=parts).fit(1, callbacks=[See()]).history
    assert history["valid_a"][0] > 0


def test_the_model_is_in_evaluation_mode_and_gradients_are_off_again():
    modes = []

    class See(Callback):
        def after_pred(self, run):
            modes.append((run.training, run.model.net[3].training, torch.is_grad_enabled()))

    learn = force_learner()
    learn.model.eval()
    learn.fit(1, callbacks=[See()])
    assert modes == [(True, True, True)] * 4 + [(False, False, True)] * 2
    assert not learn.model.training
    with torch.no_grad():
        learn.validate()
        assert not torch.is_grad_enabled()


def test_training_is_the_same_with_and_without_it():
    runs = [tiny_learner(valid_grad=switch).fit(2) for switch in (False, True)]
    assert runs[0].history["loss"] == runs[1].history["loss"]
    assert runs[0].history["valid_loss"] == runs[1].history["valid_loss"]
    other = tiny_learner(seed=5).fit(2)
    assert other.history["loss"] != runs[0].history["loss"]


def test_it_is_true_or_false():
    with pytest.raises(
        TypeError, match=r"valid_grad must be True or False; got 'yes'. Say whether"
    ):
        tiny_learner(valid_grad="yes")
