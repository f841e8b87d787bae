"""A loss function gets what its signature asks for; the loss may be in the output."""

import copy
from collections import UserDict, namedtuple
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr import Callback, DataBunch, Learner, accuracy
from lehr.loop.losses import FromOutput, as_loss_func, loss_of, missing_target, wanted_by
from lehr.testing import tiny_learner


class Output(UserDict):
    """As transformers' outputs are: a mapping whose items are attributes, too."""

    def __getattr__(self, name):
        if name != "data" and name in self.data:
            return self.data[name]
        raise AttributeError(name)


class WithLoss(nn.Module):
    """A model that computes its own loss, if it is given labels."""

    def __init__(self, form=Output):
        super().__init__()
        self.net, self.form = nn.Linear(3, 2), form

    def forward(self, ids, labels=None):
        logits = self.net(ids)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return self.form(loss=loss, logits=logits)


def batches(n=4, size=8):
    generator = torch.Generator().manual_seed(1)
    ids = [torch.randn(size, 3, generator=generator) for _ in range(n)]
    return [{"ids": i, "labels": (i.sum(1) > 0).long()} for i in ids]


def learner(loss_func="loss", form=Output, **kwargs):
    torch.manual_seed(0)
    model = WithLoss(form)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    bunch = DataBunch(batches(), batches(2))
    return Learner(model, opt, loss_func, bunch, progress=False, seed=1, **kwargs)


@dataclass
class Plain:
    loss: torch.Tensor | None
    logits: torch.Tensor


Named = namedtuple("Named", ["loss", "logits"])


@pytest.mark.parametrize("form", [Output, dict, Plain, Named, SimpleNamespace])
@pytest.mark.parametrize("loss_func", ["loss", "function"])
def test_a_loss_in_the_output_trains_as_the_plain_loop_does(form, loss_func):
    if loss_func == "function":
        loss_func = FromOutput("loss").__call__ if form is dict else lambda out: out.loss
    learn = learner(loss_func, form)
    model = copy.deepcopy(learn.model)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for batch in batches() * 2:
        out = model(**batch)
        loss = out["loss"] if form is dict else out.loss
        loss.backward()
        opt.step()
        opt.zero_grad()
        losses.append(loss.item())
    run = learn.fit(2)
    assert run.history["loss"] == losses
    assert torch.equal(learn.model.net.weight, model.net.weight)
    assert not torch.equal(learn.model.net.weight, learner().model.net.weight)  # it has moved
    assert run.history["valid_loss"][-1] == pytest.approx(learn.validate()["valid_loss"])


def test_metrics_have_the_labels_although_the_loss_does_not_take_them():
    def right(out, target):
        return accuracy(out["logits"], target)

    learn = learner(metrics=[right])
    assert 0.5 < learn.fit(5).history["right"][-1] <= 1


NO_LOSS = [
    (Output(logits=torch.zeros(2)), r"out.loss or out\['loss'\]; got Output with 'logits'"),
    ({}, "got an empty dict. Let the model return it, or give a function"),
    (torch.zeros(2, 3), r"got Tensor \(2, 3\) float32 cpu"),
    (
        (torch.zeros(2), torch.zeros(2, 3)),
        r"got tuple \[\(2,\) float32 cpu, .*lambda out: out\[0\]",
    ),
    (namedtuple("Pair", "a b")(1, 2), "got Pair with a, b"),
    (SimpleNamespace(logits=3), "got SimpleNamespace with logits"),
    (3, "got int"),
]


@pytest.mark.parametrize(("out", "text"), NO_LOSS)
def test_an_output_without_the_loss_is_described(out, text):
    with pytest.raises(TypeError, match=text):
        FromOutput("loss")(out)


def test_the_name_of_a_function_of_torch_is_told_from_a_part_of_the_output():
    with pytest.raises(TypeError, match=r"pass it itself: torch\.nn\.functional\.cross_entropy\."):
        FromOutput("cross_entropy")(torch.zeros(2))


def test_a_loss_that_is_none_speaks_of_the_labels():
    with pytest.raises(TypeError, match="the loss that the model returned is None: most models"):
        FromOutput("loss")({"loss": None})
    learn = learner()
    learn.data = DataBunch([{"ids": torch.zeros(4, 3)}])
    with pytest.raises(TypeError, match="only if they are given the targets"):
        learn.fit(1)


def test_it_is_shown_as_its_name():
    assert repr(learner().loss_func) == "'loss'"
    assert repr(as_loss_func("total")) == "'total'"


ALONE = [lambda out: out, partial(lambda k, out: out, 3), FromOutput("loss"), nn.Identity()]
BOTH = [
    F.cross_entropy,
    nn.CrossEntropyLoss(),
    lambda pred, yb=None: pred,
    lambda out, labels=3: out,
    lambda pred, *rest: pred,
    lambda *args: args[0],
    torch.dist,
    partial(F.cross_entropy, label_smoothing=0.1),
]


@pytest.mark.parametrize("loss_func", ALONE)
def test_one_parameter_gets_the_output_alone(loss_func):
    assert wanted_by(loss_func) == (False, False)


@pytest.mark.parametrize("loss_func", BOTH)
def test_two_parameters_get_the_target_too(loss_func):
    assert wanted_by(loss_func).target


def test_what_needs_a_target_is_told_from_what_may_have_one():
    assert wanted_by(F.cross_entropy).always
    assert wanted_by(nn.MSELoss()).always
    assert not wanted_by(lambda pred, yb=None: pred).always


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_module_in_a_wrapper_is_asked_itself():
    class Alone(nn.Module):
        def forward(self, out):
            return out

    assert wanted_by(torch.compile(Alone())) == (False, False)


def test_a_second_parameter_that_may_be_anything_is_refused_when_the_learner_is_made():
    def scaled(out, beta=1.0):
        return out.mean() * beta

    text = r"the signature \(out, beta=1.0\), and it cannot be told whether beta is the target. Wri"
    with pytest.raises(TypeError, match=text):
        tiny_learner(loss_func=scaled)
    tiny_learner(loss_func=lambda out: scaled(out))


@pytest.mark.parametrize("loss_func", [3, None, nn.MSELoss])
def test_what_is_no_loss_function_is_refused(loss_func):
    with pytest.raises(TypeError, match=r"loss_func must be a function .*the model returns, pass"):
        as_loss_func(loss_func)


def test_a_text_that_names_nothing_is_refused():
    with pytest.raises(TypeError, match=r"must be a function, or what the loss is called .*'a b'"):
        as_loss_func("a b")


def test_a_function_of_the_output_is_not_given_the_target_of_a_pair():
    data = DataBunch([(torch.randn(8, 3), torch.zeros(8, dtype=torch.long))])
    learn = tiny_learner(data=data, loss_func=lambda out: out.square().mean())
    first, *_, last = learn.fit(3).history["loss"]
    assert last < first
    assert learn.find_lr().losses
    loss = learn.model(data.train_dl[0][0]).square().mean().item()
    assert learn.audit().loss == pytest.approx(loss)


def test_without_a_target_a_loss_that_needs_one_says_how_to_give_it():
    learn = tiny_learner(data=DataBunch([torch.randn(4, 3)]))
    text = r"the batch has no target, and loss_func takes one: \(input, target, .*split_batch="
    with pytest.raises(TypeError, match=text):
        learn.fit(1)
    assert learn.predict([torch.randn(4, 3)]).shape == (4, 2)
    assert "alone" in str(missing_target(F.mse_loss))


def test_the_loss_of_anything_is_one_number():
    pred, yb = torch.ones(2), torch.zeros(2)
    assert loss_of(F.mse_loss, pred, yb) == 1
    assert loss_of(lambda out: out.sum(), pred, yb) == 2
    assert loss_of(lambda out, yb=None: out.sum(), pred, None) == 2
    assert loss_of(lambda out: {"a": out.sum(), "b": out.mean()}, pred, None) == 3
    with pytest.raises(TypeError, match="the batch has no target"):
        loss_of(F.mse_loss, pred, None)


def test_a_callback_may_replace_the_loss_function_by_one_of_another_kind():
    class Other(Callback):
        def begin_epoch(self, run):
            if run.epoch == 1:
                run.loss_func = lambda out: out.square().mean() * 0 + 7

    history = tiny_learner().fit(2, callbacks=[Other()]).history
    assert history["loss"][4:] == [7.0] * 4
    assert 7.0 not in history["loss"][:4]


def test_an_output_of_several_things_says_how_to_select():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.LSTM(3, 2, batch_first=True)

        def forward(self, x):
            return self.net(x)

    pair = (torch.randn(4, 3), torch.randint(2, (4,)))
    learn = tiny_learner(model=Recurrent(), data=DataBunch([pair]))
    with pytest.raises(TypeError) as caught:
        learn.fit(1)
    notes = " ".join(caught.value.__notes__)
    assert "pred is a tuple of 2, as the model returned it" in notes
    assert "loss_func=lambda out, yb: f(out[0], yb)" in notes
    learn.loss_func = lambda out, yb: F.cross_entropy(out[0], yb)
    assert len(learn.fit(2).history["loss"]) == 2


def test_an_output_with_names_says_how_to_select():
    learn = learner(F.cross_entropy)
    with pytest.raises((TypeError, AttributeError)) as caught:  # in torch's own words
        learn.fit(1)
    assert "pred is a Output with 'loss', 'logits'" in " ".join(caught.value.__notes__)


# A loss function that is a module ---------------------------------------------------------------


class Centres(nn.Module):
    """A loss with weights, a buffer that is not saved, and a mode."""

    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.zeros(2, 2))
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.modes = []

    def forward(self, pred, yb):
        self.modes.append(self.training)
        self.calls += self.training
        return (pred - self.centres[yb]).square().mean() + F.cross_entropy(pred, yb)


def with_centres():
    torch.manual_seed(0)
    model, loss_func = nn.Linear(3, 2), Centres()
    opt = torch.optim.SGD([*model.parameters(), *loss_func.parameters()], lr=0.1)
    return tiny_learner(model=model, opt=opt, loss_func=loss_func)


def test_a_loss_module_is_in_the_mode_of_the_model():
    learn = with_centres()
    learn.loss_func.eval()
    learn.fit(1)
    assert learn.loss_func.modes == [True] * 4 + [False]
    assert not learn.loss_func.training  # as it was


def test_a_loss_module_trains_and_a_probe_puts_it_back():
    learn = with_centres()
    before = copy.deepcopy(learn.loss_func.state_dict())
    with learn.probe():
        learn.fit(1)
        assert learn.loss_func.calls == 4
        assert not torch.equal(learn.loss_func.centres, before["centres"])
    assert torch.equal(learn.loss_func.centres, before["centres"])
    assert learn.loss_func.calls == 0


def test_a_loss_module_goes_on_from_a_checkpoint(tmp_path):
    from lehr.callbacks import Checkpoint

    whole = with_centres()
    whole.fit(2)

    class Cut(Callback):
        replays = False

        def after_step(self, run):
            if run.n_steps == 5:
                raise SystemError("cut")

    with pytest.raises(SystemError):
        with_centres().fit(2, callbacks=[Checkpoint(tmp_path / "c", every="1 steps"), Cut()])
    again = with_centres()
    again.fit(2, callbacks=[Checkpoint(tmp_path / "c", every="1 steps")], resume="auto")
    assert torch.equal(again.loss_func.centres, whole.loss_func.centres)
    assert again.loss_func.calls == whole.loss_func.calls == 8
    assert with_centres().check_resume().ok


def test_searches_and_checks_take_a_loss_in_the_output():
    learn = learner(form=dict)
    assert learn.find_lr().losses
    first = learn.rehearse(1).history["loss"][0]
    assert learn.audit().loss == pytest.approx(first)
    assert learn.check_resume().ok


@pytest.mark.parametrize(
    ("loss_func", "reduction", "told"),
    [
        (nn.CrossEntropyLoss(reduction="sum"), "mean", "Give the Learner reduction='sum', and"),
        (
            partial(F.cross_entropy, reduction="sum"),
            "mean",
            "Give the Learner reduction='sum', and",
        ),
        (partial(nn.CrossEntropyLoss(reduction="sum")), "mean", "Give the Learner reduction='sum'"),
        (nn.CrossEntropyLoss(), "sum", "it divides by the number of items once more"),
    ],
)
def test_a_loss_that_says_another_reduction_than_the_learner_is_warned_of(
    loss_func, reduction, told
):
    with pytest.warns(UserWarning, match=told) as caught:
        tiny_learner(loss_func=loss_func, reduction=reduction)
    assert len(caught) == 1
    other = "sum" if reduction == "mean" else "mean"
    tiny_learner(loss_func=loss_func, reduction=other)  # a warning would be an error here
    tiny_learner(loss_func=lambda pred, yb: loss_func(pred, yb), reduction=reduction)


def test_the_warning_is_of_the_line_that_makes_the_learner():
    model, loss_func = nn.Linear(2, 1), nn.MSELoss(reduction="sum")
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match="the Learner takes") as caught:
        Learner(model, opt, loss_func, DataBunch([]), progress=False)
    assert caught[0].filename == __file__


def test_a_reduction_of_another_kind_says_nothing_of_the_loss():
    loss_func = lambda pred, yb: F.cross_entropy(pred, yb)  # noqa: E731
    loss_func.reduction = np.array(["sum", "mean"])
    tiny_learner(loss_func=loss_func)
