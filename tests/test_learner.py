"""What a Learner takes, refuses, keeps and gives back."""

import math
import signal
import textwrap
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

import lehr
from lehr import Callback, DataBunch, Phase, accuracy
from lehr.events import EVENTS
from lehr.state.differences import first_difference
from lehr.state.entries import GradState
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def test_constructing_runs_nothing_and_draws_nothing():
    class Loud(Callback):
        def begin_fit(self, run):
            raise AssertionError("constructed only")

    before = torch.get_rng_state()
    learn = tiny_learner([Loud()], seed=None)
    assert torch.equal(torch.get_rng_state(), before)
    assert (learn.epochs_done, learn.steps_done, learn.run) == (0, 0, None)


def test_opt_may_be_an_optimizer_a_factory_or_several_by_name():
    model = nn.Linear(3, 2)
    factory = partial(torch.optim.Adam, lr=1e-3)
    assert isinstance(tiny_learner(model=model, opt=factory).opt, torch.optim.Adam)
    opts = {
        "weight": torch.optim.SGD([model.weight], lr=0.1),
        "bias": torch.optim.SGD([model.bias], lr=0.1),
    }
    before = [p.detach().clone() for p in model.parameters()]
    learn = tiny_learner(model=model, opt=opts)
    learn.fit(1)
    assert all(not torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


BAD_ARGUMENTS = {
    "model class": (dict(model=nn.Linear), TypeError, r"model must be a torch.nn.Module; got <cl"),
    "loss class": (dict(loss_func=nn.MSELoss), TypeError, r"loss_func must be .* call the class"),
    "loss number": (dict(loss_func=3), TypeError, r"loss_func must be a function .*; got 3"),
    "data": (dict(data=[1, 2]), TypeError, r"data must be a DataBunch; got list. Write DataBunch"),
    "opt": (dict(opt=0.1), TypeError, r"opt must be an optimizer, a function .*; got 0.1. Write"),
    "opt of another model": (
        dict(opt=torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)),
        ValueError,
        r"opt holds 2 parameters, none of which is one of the model's 4: nothing would be trained",
    ),
    "reduction": (dict(reduction="none"), ValueError, r"reduction must be 'mean' or 'sum'; got 'n"),
    "callback class": (dict(callbacks=[Callback]), TypeError, r"got <class .*Write Callback\(\)"),
    "metric": (dict(metrics=[3]), TypeError, r"a metric must be a function .*; got 3"),
    "metric twice": (dict(metrics=[accuracy, accuracy]), ValueError, r"different names; got \['ac"),
    "seed": (dict(seed="42"), TypeError, r"seed must be an int or None; got '42'"),
    "progress": (dict(progres=True), TypeError, r"progres"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_speak(name):
    arguments, kind, text = BAD_ARGUMENTS[name]
    with pytest.raises(kind, match=text):
        tiny_learner(**arguments)


BAD_ASSIGNMENTS = {
    "reduction": ("Mean", ValueError, r"reduction must be 'mean' or 'sum'; got 'Mean'"),
    "weight": (3, TypeError, r"weight must be a function; got 3"),
    "split_batch": ("x", TypeError, r"split_batch must be a function; got 'x'"),
    "valid_grad": ("no", TypeError, r"valid_grad must be True or False; got 'no'"),
}


@pytest.mark.parametrize("name", BAD_ASSIGNMENTS)
def test_what_is_assigned_later_is_checked_as_the_arguments_are(name):
    value, kind, text = BAD_ASSIGNMENTS[name]
    for call in (lambda learn: learn.fit(1), lambda learn: learn.validate()):
        learn = tiny_learner()
        setattr(learn, name, value)
        with pytest.raises(kind, match=text):
            call(learn)
        assert learn.steps_done == 0


def test_a_weight_that_is_taken_away_is_the_count_of_items_again():
    usual, learn = tiny_learner().fit(1), tiny_learner(weight=lambda run: 3.0)
    learn.weight = None
    assert learn.fit(1).history["train_loss"] == usual.history["train_loss"]


BAD_FITS = {
    "nothing": ((), {}, ValueError, r"either epochs or steps; got epochs=None, steps=None. Write"),
    "both": ((1,), dict(steps=2), ValueError, r"fit takes either epochs or steps; got epochs=1"),
    "negative": ((-1,), {}, ValueError, r"epochs must be at least 0; got -1"),
    "float": (
        (1.5,),
        {},
        TypeError,
        r"epochs must be an int of at least 0; got 1.5. Give",
    ),
    "steps": ((), dict(steps=0), ValueError, r"steps must be at least 1; got 0"),
    "validate_every": (
        (1,),
        dict(validate_every="sometimes"),
        ValueError,
        r"validate_every must be a whole number and a unit \(steps or epochs\); got 'sometimes'",
    ),
    "steps_per_epoch": ((1,), dict(steps_per_epoch=0), ValueError, r"steps_per_epoch must be at"),
    "callbacks": ((1,), dict(callbacks=[3]), TypeError, r"callbacks must be instances of lehr.Ca"),
}


@pytest.mark.parametrize("name", BAD_FITS)
def test_bad_fits_speak_and_change_nothing(name):
    args, kwargs, kind, text = BAD_FITS[name]
    learn = tiny_learner()
    before = capture(learn.state_entries())
    with pytest.raises(kind, match=text):
        learn.fit(*args, **kwargs)
    assert first_difference(before, capture(learn.state_entries())) is None


def test_fit_zero_epochs_is_allowed_and_does_nothing():
    learn = tiny_learner()
    before = capture(learn.state_entries())
    run = learn.fit(0)
    assert (run.n_iter, len(run.history)) == (0, 0)
    assert first_difference(before, capture(learn.state_entries())) is None


BAD_DATA = {
    "empty list": ([], ValueError, r"train_dl has no batches: its length is 0"),
    "one-shot generator": ((b for b in [1]), TypeError, r"which can be read only once.*lambda"),
    "generator factory that is spent": (
        lambda: iter(()),
        ValueError,
        r"train_dl has no batches: it ended before its first batch",
    ),
    "no iterable": (object(), TypeError, r"train_dl must be an iterable of batches; got object"),
    "batches of three": ([(1, 2, 3)], TypeError, r"a batch must be a pair .*; got tuple of 3.*sp"),
    "dict batches": (
        [{"x": 1}],
        TypeError,
        r"the keys 'x', but forward has no parameter 'x': it takes \(input\). Give the Learn",
    ),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_speaks(name):
    train_dl, kind, text = BAD_DATA[name]
    with pytest.raises(kind, match=text):
        tiny_learner(data=DataBunch(train_dl)).fit(1)


X, Y = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1] * 4)

BAD_STEPS = {
    "label out of range": (
        dict(data=DataBunch([(X, Y + 5)])),
        IndexError,
        r"yb holds labels from 5 to 6, pred has 2 classes: labels must lie in 0 to 1. Check the l",
    ),
    "labels of shape (n, 1)": (
        dict(data=DataBunch([(X, Y[:, None])])),
        RuntimeError,
        r"class labels must have shape \(batch,\). Use yb.squeeze\(1\)",
    ),
    "labels of the wrong dtype": (
        dict(data=DataBunch([(X, Y.int())])),
        RuntimeError,
        r"yb is torch.int32; class labels must be torch.int64. Use yb.long\(\)",
    ),
    "fewer labels than items": (
        dict(data=DataBunch([(X, Y[:5])])),
        ValueError,
        r"pred has shape \(8, 2\), yb \(5,\): they differ in the number of items",
    ),
    "devices": (
        dict(data=DataBunch([(X.to("meta"), Y.to("meta"))])),
        (RuntimeError, NotImplementedError),
        r"The model is on cpu, the batch on meta: they must be on one device. Move the model with",
    ),
    "loss per item": (
        dict(loss_func=partial(F.cross_entropy, reduction="none")),
        RuntimeError,
        r"a callback .* gave a tensor of shape \(8,\); it must be one number. Reduce",
    ),
    "loss without a graph": (
        dict(loss_func=lambda pred, yb: F.cross_entropy(pred.detach(), yb)),
        RuntimeError,
        r"a callback .* gave a tensor without a graph: no parameter can learn from it",
    ),
    "loss that is a float": (
        dict(loss_func=lambda pred, yb: 0.5),
        AttributeError,
        r"a callback .* gave float, not a tensor: without a graph nothing can be learnt",
    ),
}


@pytest.mark.parametrize("name", BAD_STEPS)
def test_a_step_that_fails_says_what_arrived_and_what_to_do(name):
    arguments, kind, text = BAD_STEPS[name]
    with pytest.raises(kind) as caught:
        tiny_learner(**arguments, rehearsal=False).fit(1)
    notes = "\n".join(caught.value.__notes__)
    assert "epoch 0, training batch 0" in notes
    import re

    assert re.search(text, notes), notes


def test_validate_gives_loss_and_metrics_over_the_whole_set_weighted_by_items():
    learn = tiny_learner(metrics=[accuracy], items=44)
    found = learn.validate()
    ds = learn.data.valid_ds
    pred = learn.model(ds.x).detach()
    assert found["valid_loss"] == pytest.approx(F.cross_entropy(pred, ds.y).item(), abs=1e-6)
    assert found["accuracy"] == pytest.approx(accuracy(pred, ds.y).item(), abs=1e-6)
    first = learn.validate([(ds.x[:3], ds.y[:3])])
    assert first["accuracy"] == pytest.approx(accuracy(pred[:3], ds.y[:3]).item(), abs=1e-6)


def test_validate_without_a_loader_says_so():
    learn = tiny_learner(data=DataBunch([(X, Y)]))
    with pytest.raises(ValueError, match=r"no validation loader; .*Use validate\(loader\)"):
        learn.validate()


def test_several_validation_loaders_have_their_own_columns():
    data = DataBunch([(X, Y)], {"clean": [(X, Y)], "flipped": [(X, 1 - Y)]})
    learn = tiny_learner(data=data, metrics=[accuracy])
    row = learn.fit(1).history.rows[0]
    assert row["clean/accuracy"] == pytest.approx(1 - row["flipped/accuracy"])
    assert {"clean/valid_loss", "flipped/valid_loss"} <= row.keys()
    assert learn.validate()["clean/accuracy"] == pytest.approx(row["clean/accuracy"])


def test_predict_takes_a_tensor_or_any_loader_and_leaves_no_trace():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    learn = tiny_learner(model=model, opt=opt)
    before = capture(learn.state_entries())
    whole = learn.predict(X)
    by_batch = learn.predict([(X[:3], Y[:3]), (X[3:], None)])
    assert whole.shape == (8, 2)
    torch.testing.assert_close(whole, by_batch)
    assert not whole.requires_grad
    assert learn.predict(learn.data.valid_dl).shape == (16, 2)
    assert first_difference(before, capture(learn.state_entries())) is None


def test_predict_nested_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return {"scores": self.layer(x), "pair": (x[:, 0], x[:, 1:])}

    model = Two()
    learn = tiny_learner(model=model, opt=torch.optim.SGD(model.parameters(), lr=0.1))
    found = learn.predict([(X[:5], None), (X[5:], None)])
    assert found["scores"].shape == (8, 2)
    assert [part.shape for part in found["pair"]] == [(8,), (8, 2)]


def test_tuples_and_dicts_reach_the_model_as_arguments():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, a, b):
            return self.layer(a + b)

    model = Sum()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    for xb in ((X, X), [X, X], {"a": X, "b": X}):
        assert tiny_learner(model=model, opt=opt, data=DataBunch([(xb, Y)])).fit(1).n_steps == 1
    batch = {"a": X, "b": X, "labels": Y}
    split = lambda batch: ({k: batch[k] for k in "ab"}, batch["labels"])  # noqa: E731
    learn = tiny_learner(model=model, opt=opt, data=DataBunch([batch]), split_batch=split)
    assert learn.fit(1).n_steps == 1


def test_batches_without_targets():
    model = nn.Linear(3, 3)
    learn = tiny_learner(
        model=model,
        opt=torch.optim.SGD(model.parameters(), lr=0.1),
        loss_func=lambda pred: pred.square().mean(),
        data=DataBunch([X, X], [X]),
    )
    run = learn.fit(3)
    assert run.history["valid_loss"][-1] < run.history["loss"][0]


LOADERS = {
    "ours": lambda: tiny_learner().data.train_dl,
    "torch": lambda: TorchLoader(TensorDataset(X, Y), 4, shuffle=True),
    "list": lambda: [(X, Y), (X, Y)],
    "factory": lambda: lambda: iter([(X, Y)]),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_any_loader_trains_and_leaves_the_global_generator_alone(kind):
    learn = tiny_learner(data=DataBunch(LOADERS[kind]()))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert learn.fit(2).n_steps >= 2
    assert torch.equal(torch.rand(3), expected)


def test_a_shuffled_torch_loader_is_reproducible_under_one_seed():
    def losses(seed):
        data = DataBunch(TorchLoader(TensorDataset(X, Y), 2, shuffle=True))
        return tiny_learner(data=data, seed=seed).fit(2).history["loss"]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_without_a_seed_runs_differ_and_say_which_seed_they_drew(capsys):
    seeds = {tiny_learner(seed=None, progress=True).fit(1).seed for _ in range(4)}
    assert len(seeds) == 4
    shown = capsys.readouterr().out
    assert all(f"seed {seed}\n" in shown for seed in seeds)
    run = tiny_learner(seed=None, progress=True).fit(1)
    assert f"seed {run.seed}" in capsys.readouterr().out
    assert run.history.meta["seed"] == run.seed
    assert tiny_learner(seed=run.seed).fit(1).history["loss"] == run.history["loss"]


def test_torch_manual_seed_and_lehr_seed_govern_a_run():
    def drawn():
        return tiny_learner(seed=None).seed

    torch.manual_seed(3)
    first = drawn()
    torch.manual_seed(3)
    assert drawn() == first
    lehr.seed(11)
    assert drawn() == 11
    assert tiny_learner(seed=4).seed == 4
    lehr.seed(None)
    assert drawn() != 11


@pytest.mark.parametrize("event", [None, *EVENTS])
def test_a_probe_leaves_every_entry_bit_identical_also_when_it_raises(event):
    class Boom(Callback):
        pass

    if event:
        setattr(Boom, event, lambda self, run: 1 / 0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    opt = torch.optim.AdamW(model.parameters(), lr=0.1)
    learn = tiny_learner(model=model, opt=opt)
    learn.fit(1)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = capture(learn.state_entries())
    learn.fit(1)
    assert first_difference(before, capture(learn.state_entries())) is not None  # negative control
    before = capture(learn.state_entries())
    try:
        with learn.probe():
            learn.fit(2, callbacks=[Boom()])
    except ZeroDivisionError:
        assert event
    assert first_difference(before, capture(learn.state_entries())) is None


def test_training_goes_on_the_same_after_a_probe():
    probed, plain = tiny_learner(), tiny_learner()
    for learn in (probed, plain):
        learn.opt = torch.optim.Adam(learn.model.parameters(), lr=0.05)
        learn.fit(1)
    with probed.probe():
        probed.fit(3)
    assert probed.fit(2).history["loss"] == plain.fit(2).history["loss"]


class Silent(Callback):
    """Only listens."""


class Moves(Callback):
    moves = ("batches",)


class Predicts(Callback):
    def predict(self, run, proceed):
        proceed()


class Loses(Callback):
    def compute_loss(self, run, proceed):
        proceed()


class Surrounds(Callback):
    def one_batch(self, run, proceed):
        proceed()


class Steps(Callback):
    def step(self, run, proceed):
        proceed()


class Declares(Callback):
    evaluates = True


class Declines(Moves):
    evaluates = False


@pytest.mark.parametrize(
    ("kind", "heard_in"),
    [
        *[(kind, [False, False, True]) for kind in (Moves, Predicts, Loses, Surrounds, Declares)],
        (Steps, [True]),  # a rehearsal trains as the fit would
        *[(kind, []) for kind in (Silent, Declines)],
    ],
)
def test_whoever_changes_what_the_model_sees_or_says_takes_part_where_it_is_looked_at(
    kind, heard_in
):
    heard = []

    class Who(kind):
        def after_pred(self, run):
            heard.append(run.training)

    learn = tiny_learner([Who()])
    learn.validate()
    learn.predict(X)
    learn.rehearse(1)
    assert heard == heard_in


def test_validate_inside_a_fit_disturbs_nothing():
    class Nested(Callback):
        def after_batch(self, run):
            if run.training:
                run.learn.validate()

    nested, plain = tiny_learner([Nested()]), tiny_learner()
    nested.fit(2)
    plain.fit(2)
    states = [capture({"model": learn.model}) for learn in (nested, plain)]
    assert first_difference(*states) is None


INTERRUPTED = """
import os, signal, sys, torch
from lehr import Callback
from lehr.testing import tiny_learner
class Interrupt(Callback):
    def after_backward(self, run):
        if run.n_iter == 2:
            signal.raise_signal(signal.SIGINT)
    def after_fit(self, run):
        print("after_fit", run.n_steps, run.stop_reason)
learn = tiny_learner([Interrupt()])
"""


@pytest.fixture
def run_script(nursery):
    """The exit status and output of a program with a Learner that is interrupted in step 3."""

    def run(body):
        done = nursery.run(code=INTERRUPTED + textwrap.dedent(body))
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


def test_ctrl_c_in_a_script_finishes_the_step_runs_after_fit_and_is_raised_again(run_script):
    _, out, err = run_script(
        """
        try:
            learn.fit(5)
        except KeyboardInterrupt as error:
            print("raised", error, learn.run.n_steps, learn.steps_done)
        learn.callbacks.clear()
        print(learn.predict(torch.zeros(2, 3)).shape, sorted(learn.validate()))
        print("went on", learn.fit(1).n_steps, signal.getsignal(signal.SIGINT).__name__)
        """
    )
    assert out.splitlines() == [
        "after_fit 3 interrupted by Ctrl-C",
        "raised interrupted by Ctrl-C 3 3",
        "torch.Size([2, 2]) ['valid_loss']",
        "went on 4 default_int_handler",
    ], err


def test_ctrl_c_uncaught_ends_a_script_the_way_python_does(run_script):
    code, out, _ = run_script("learn.fit(5); print('not reached')")
    assert code == -signal.SIGINT
    assert "not reached" not in out


def test_ctrl_c_in_an_interactive_shell_returns_control(run_script):
    _, out, err = run_script("sys.ps1 = '> '; run = learn.fit(5); print('returned', run.n_steps)")
    assert out.splitlines()[-1] == "returned 3", err


def test_a_second_ctrl_c_leaves_at_once(run_script):
    _, out, err = run_script(
        """
        class Twice(Callback):
            def after_pred(self, run):
                if run.n_iter == 1:
                    signal.raise_signal(signal.SIGINT)
                    signal.raise_signal(signal.SIGINT)
        try:
            learn.fit(5, callbacks=[Twice()])
        except KeyboardInterrupt:
            print("left", learn.run.n_steps, learn.model[0].weight.grad)
        """
    )
    assert out.splitlines() == ["left 1 None"], err


def test_a_rehearsal_trains_and_leaves_no_trace():
    learn = tiny_learner()
    before = capture(learn.state_entries())
    run = learn.rehearse(6)
    assert first_difference(before, capture(learn.state_entries())) is None
    assert learn.run is None
    assert run.history["loss"] == learn.fit(steps=6).history["loss"]
    assert "valid_loss" not in run.history.names


def test_a_rehearsal_takes_only_those_who_evaluate_and_those_it_is_given():
    heard = []

    class Evaluates(Callback):
        evaluates = True

        def begin_batch(self, run):
            heard.append(self)

    class Only(Evaluates):
        evaluates = False

    mine, left_out, only, given = Evaluates(), Evaluates(), Only(), Only()
    learn = tiny_learner([mine, left_out, only])
    learn.rehearse(3, [given], without=[left_out])
    assert [heard.count(cb) for cb in (mine, left_out, only, given)] == [3, 0, 0, 3]


def test_ctrl_c_while_a_rehearsal_puts_things_back_loses_nothing(monkeypatch):
    learn = tiny_learner(opt=partial(torch.optim.Adam, lr=0.1))
    learn.fit(1)
    before = capture(learn.state_entries())
    restore = GradState.load_state_dict

    def press(self, state_dict):
        signal.raise_signal(signal.SIGINT)
        restore(self, state_dict)

    monkeypatch.setattr(GradState, "load_state_dict", press)
    with pytest.raises(KeyboardInterrupt):
        learn.rehearse(3)
    assert first_difference(before, capture(learn.state_entries())) is None


def test_callbacks_of_one_validation_hear_it_whatever_their_phase():
    class Count(Callback):
        phase = Phase.REPORT
        replays = False
        batches = 0

        def after_batch(self, run):
            self.batches += 1

    count, learn = Count(), tiny_learner()
    results = learn.validate(callbacks=[count])
    assert count.batches == len(learn.data.valid_dl)
    assert results == learn.validate()
    assert count.batches == len(learn.data.valid_dl)


# Weights ----------------------------------------------------------------------------------------

BAD_WEIGHTS = [-1, math.inf, math.nan, None, "8", torch.ones(2)]


@pytest.mark.parametrize("weight", BAD_WEIGHTS, ids=str)
@pytest.mark.parametrize("by", ["weight=", "begin_batch", "after_pred"])
@pytest.mark.parametrize("does", ["fit", "validate"])
def test_a_weight_that_counts_no_items_is_refused_before_it_spoils_anything(weight, by, does):
    class Weighs(Callback):
        def begin_batch(self, run):
            if by == "begin_batch":
                run.weight = weight

        def after_pred(self, run):
            if by == "after_pred":
                run.weight = weight

    if by != "weight=" and weight is None:
        pytest.skip("None leaves it to the Learner")
    weigh = (lambda run: weight) if by == "weight=" else None
    learn = tiny_learner(weight=weigh, rehearsal=False)
    before = [p.detach().clone() for p in learn.model.parameters()]
    with pytest.raises(
        (TypeError, ValueError), match=r"^run\.weight must be a (finite )?number of"
    ):
        learn.fit(1, [Weighs()]) if does == "fit" else learn.validate(callbacks=[Weighs()])
    assert all(map(torch.equal, before, learn.model.parameters()))


@pytest.mark.parametrize("kind", [torch.tensor, np.float16, np.int8])
def test_weights_of_any_kind_count_exactly(kind):
    counts = [100, 27, 100, 3]
    learn = tiny_learner(weight=lambda run: kind(counts[run.batch_index]))
    plain = tiny_learner(weight=lambda run: counts[run.batch_index])
    assert learn.fit(3).history["train_loss"] == plain.fit(3).history["train_loss"]
    assert learn.validate() == plain.validate()


def test_a_fit_in_which_nothing_weighs_anything_says_so():
    match = r"epoch 0 passed without one optimizer step: nothing was learnt\."
    with pytest.warns(UserWarning, match=match):
        run = tiny_learner(weight=lambda run: 0).fit(1)
    assert run.history["train_loss"] == [None]


def test_a_number_logged_before_the_weight_is_known_counts_by_the_items():
    class Log(Callback):
        def begin_batch(self, run):
            if not run.training:
                run.log("size", float(len(run.xb)))

    run = tiny_learner(items=40).fit(1, callbacks=[Log()])  # validates on 16 and 4
    assert run.history["valid_size"] == [pytest.approx((16 * 16 + 4 * 4) / 20)]
