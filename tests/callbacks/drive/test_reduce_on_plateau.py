"""ReduceOnPlateau makes a number smaller, keeps ratios, and puts it back."""

import math
from unittest.mock import ANY

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lehr import Callback
from lehr.callbacks import ParamScheduler, ReduceOnPlateau
from lehr.schedules import sched_lin
from lehr.testing import tiny_learner
from tests.tier import count

NAN = float("nan")


class Score(Callback):
    """Puts given values into the rows, and notes the learning rates of each epoch."""

    def __init__(self, values):
        self.values, self.lrs = values, []

    def begin_epoch(self, run):
        self.lrs.append([group["lr"] for group in run.opt.param_groups])

    def after_epoch(self, run):
        run.history.log_row("score", self.values[run.epoch])


def fit(values, opt=None, **kwargs):
    reduce = ReduceOnPlateau("score", **{"mode": "min", **kwargs})
    score = Score(values)
    more = {} if opt is None else {"opt": opt}
    learn = tiny_learner([reduce, score], items=8, **more)
    learn.fit(len(values))
    return [lrs[0] if opt is None else lrs for lrs in score.lrs], reduce, learn


def expected(values, factor, patience, min_delta, mode, cooldown, lowest):
    """The learning rate of each epoch, written out."""
    lr, lrs, best, waited, cooling = 0.1, [], None, 0, 0
    for value in values:
        lrs.append(lr)
        if value is None:
            continue
        gain = None if best is None else (best - value if mode == "min" else value - best)
        if not math.isnan(value) and (gain is None or gain > min_delta):
            best, waited = value, 0
        else:
            waited += 1
        if cooling:
            cooling -= 1
            waited = 0
        if waited > patience:
            lr = min(lr, max(lr * factor, lowest))
            waited, cooling = 0, cooldown
    return lrs


@pytest.mark.slow
@settings(max_examples=count(50), deadline=None)
@given(
    values=st.lists(
        st.one_of(st.none(), st.just(NAN), st.integers(-8, 8).map(lambda n: n / 4)), max_size=12
    ),
    factor=st.sampled_from([0.5, 0.1]),
    patience=st.integers(0, 3),
    min_delta=st.sampled_from([0.0, 0.25, 1.0]),
    mode=st.sampled_from(["min", "max"]),
    cooldown=st.integers(0, 2),
    lowest=st.sampled_from([0.0, 0.03, 0.5]),
)
def test_it_does_what_the_written_out_rule_does(values, **rule):
    lrs, _, learn = fit(values, **rule)
    assert lrs == expected(values, **rule)
    assert learn.opt.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("rule", [{}, {"cooldown": 2}, {"patience": 0}])
def test_torchs_own_scheduler_does_the_same(rule):
    values = [3.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    opt = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        opt, threshold=0.0, threshold_mode="abs", eps=0.0, **{"patience": 2, **rule}
    )
    lrs = []
    for value in values:
        lrs.append(opt.param_groups[0]["lr"])
        theirs.step(value)
    assert fit(values, **rule)[0] == lrs
    assert min(lrs) < 0.1


def test_more_than_patience_values_are_needed():
    lrs, reduce, _ = fit([1.0] * 6, patience=2)
    assert lrs == pytest.approx([0.1] * 4 + [0.01] * 2)
    assert reduce.reductions == 1


def test_it_is_never_made_larger_and_not_smaller_than_the_lowest():
    assert fit([1.0] * 4, patience=0, lowest=0.05)[0] == [0.1, 0.1, 0.05, 0.05]
    lrs, reduce, _ = fit([1.0] * 4, patience=0, lowest=0.5)
    assert (lrs, reduce.reductions) == ([0.1] * 4, 0)


def groups(parameters):
    first, *rest = parameters
    return torch.optim.SGD([{"params": [first], "lr": 1.0}, {"params": rest, "lr": 0.5}])


def test_groups_keep_their_ratio_or_one_is_driven():
    lrs, _, learn = fit([1.0] * 4, groups, patience=0)
    assert [first / second for first, second in lrs] == pytest.approx([2.0] * 4)
    assert lrs[-1] == pytest.approx([0.01, 0.005])
    assert [group["lr"] for group in learn.opt.param_groups] == [1.0, 0.5]
    lrs, _, _ = fit([1.0] * 3, groups, patience=0, group=1)
    assert lrs == [[1.0, 0.5], [1.0, 0.5], [1.0, pytest.approx(0.05)]]


def test_an_lr_in_a_tensor_is_written_in_place():
    lr = torch.tensor(0.1)
    reduce = ReduceOnPlateau(patience=0, min_delta=10.0)
    learn = tiny_learner([reduce])
    learn.opt = torch.optim.SGD(learn.model.parameters(), lr=lr)
    run = learn.fit(3)
    assert run.recorder.lrs[::4] == pytest.approx([0.1, 0.1, 0.01])
    assert learn.opt.param_groups[0]["lr"] is lr
    assert lr.item() == pytest.approx(0.1)


def test_any_other_number_gets_a_column_with_what_its_row_was_trained_with():
    class Noise(Callback):
        std = 0.5

    noise = Noise()
    reduce = ReduceOnPlateau(param="callbacks.noise.std", patience=0, min_delta=10.0)
    run = tiny_learner([noise, reduce]).fit(4)
    assert run.history["callbacks.noise.std"] == pytest.approx([0.5, 0.5, 0.05, 0.005])
    assert vars(noise) == {}
    learn = tiny_learner([ReduceOnPlateau(param="weight_decay", patience=0, min_delta=10.0)])
    learn.opt.param_groups[0]["weight_decay"] = 1.0
    assert learn.fit(3).history["weight_decay"] == pytest.approx([1.0, 1.0, 0.1])


def test_rows_in_the_middle_of_an_epoch_count():
    reduce = ReduceOnPlateau(patience=0, min_delta=10.0)
    run = tiny_learner([reduce]).fit(1, validate_every="1 steps")
    assert run.recorder.lrs == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_a_new_fit_starts_anew():
    learn = tiny_learner([ReduceOnPlateau(patience=0, min_delta=10.0)])
    first, second = (learn.fit(3).recorder.lrs for _ in range(2))
    assert first == second
    assert first[-1] == pytest.approx(0.01)


def test_the_same_number_has_one_driver():
    schedule = ParamScheduler("lr", sched_lin(0.4, 0.0))
    text = r"ParamScheduler and ReduceOnPlateau both drive 'lr'; each would undo the other. Leave"
    learn = tiny_learner([schedule, ReduceOnPlateau()])
    with pytest.raises(ValueError, match=text):
        learn.fit(1)
    assert learn.run.n_iter == 0
    with pytest.raises(ValueError, match="ReduceOnPlateau and ReduceOnPlateau both drive"):
        tiny_learner([ReduceOnPlateau(), ReduceOnPlateau("train_loss")]).fit(1)
    others = [ParamScheduler("momentum", sched_lin(0.4, 0.0)), ReduceOnPlateau()]
    assert len(tiny_learner(others).fit(1).history) == 1
    split = [ParamScheduler("lr", sched_lin(0.4, 0.0), group=0), ReduceOnPlateau(group=1)]
    assert len(tiny_learner(split, opt=groups).fit(1).history) == 1
    adam = {"opt": lambda p: torch.optim.Adam(p, lr=0.1)}
    alias = [ParamScheduler("betas", sched_lin(0.4, 0.0)), ReduceOnPlateau(param="momentum")]
    with pytest.raises(ValueError, match=r"both drive 'betas', which is 'momentum' too; each"):
        tiny_learner(alias, **adam).fit(1)


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"factor": 1.0}, "factor must be above 0 and below 1; got 1.0. Give e.g. factor=0.1"),
        ({"factor": "x"}, "factor must be a real number; got 'x'"),
        ({"patience": -1}, "patience must be at least 0; got -1"),
        ({"cooldown": -1}, "cooldown must be at least 0; got -1"),
        ({"lowest": NAN}, "lowest must be finite; got nan"),
        ({"param": 3}, "param must be a string; got 3"),
        ({"monitor": "size"}, "monitor='size' does not tell which way is better"),
    ],
)
def test_wrong_arguments_speak(kwargs, text):
    with pytest.raises((TypeError, ValueError), match=text):
        ReduceOnPlateau(**kwargs)


def test_what_is_no_number_or_nowhere_speaks_before_anything_moves():
    for param, text in (("nesterov", "only a number can be reduced"), ("lrr", "Did you mean lr")):
        learn = tiny_learner([ReduceOnPlateau(param=param)])
        with pytest.raises(ValueError, match=text):
            learn.fit(1)
        assert learn.run.n_iter == 0
    with pytest.raises(ValueError, match="monitor='los' is no column"):
        tiny_learner([ReduceOnPlateau("los", mode="min")]).fit(1)


def test_it_prints_as_what_it_does():
    text = "ReduceOnPlateau('valid_loss', factor=0.1, patience=2, param='lr[0]')"
    assert repr(ReduceOnPlateau(group=0)) == text


def test_a_group_that_is_added_is_reduced_too_and_put_back_to_what_it_had():
    class Unfreeze(Callback):
        def begin_epoch(self, run):
            if run.epoch == 2:
                run.opt.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.5})

    score = Score([1.0] * 6)
    learn = tiny_learner([ReduceOnPlateau("score", mode="min", patience=1), score, Unfreeze()])
    learn.fit(6)
    assert [rates[1:] for rates in score.lrs[1:]] == [[], [], [pytest.approx(0.05)], *[ANY] * 2]
    assert [group["lr"] for group in learn.opt.param_groups] == [0.1, 0.5]
