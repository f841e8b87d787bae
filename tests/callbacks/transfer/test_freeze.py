"""Frozen parts of a model do not move, and are trained when their time has come."""

import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lehr import Callback
from lehr.callbacks import EMA, SAM, Accumulate, Checkpoint, Closure, Freeze, Lookahead, Rewind
from lehr.models import RunningBatchNorm
from lehr.optim import layer_groups
from lehr.optim.parts import parts_apart
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)
    )


adamw = partial(torch.optim.AdamW, lr=0.05, weight_decay=0.3)


def learner(*callbacks, opt=adamw, model=None, **kwargs):
    return tiny_learner(callbacks, model=model or net(), opt=opt, **kwargs)


class Course(Callback):
    """Keeps each parameter after every step, and what is in training mode."""

    state = ()
    replays = False

    def __init__(self):
        self.weights, self.flags, self.modes = [], [], []

    def after_step(self, run):
        named = dict(run.model.named_parameters())
        self.weights.append({name: p.detach().clone() for name, p in named.items()})
        self.flags.append([name for name, p in named.items() if p.requires_grad])
        self.modes.append([name for name, m in run.model.named_modules() if m.training])

    def moved(self, name):
        """Numbers of the steps that moved a parameter, from the second on."""
        pairs = enumerate(zip(self.weights, self.weights[1:], strict=False), 1)
        return [i for i, (a, b) in pairs if not torch.equal(a[name], b[name])]


OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.1),
    "adamw": adamw,
    "adam": partial(torch.optim.Adam, lr=0.05, weight_decay=0.1, amsgrad=True, foreach=True),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.01, momentum=0.5, weight_decay=0.1),
    "fused": partial(torch.optim.AdamW, lr=0.05, weight_decay=0.3, fused=True),
}


@pytest.mark.parametrize("others", [(), (SAM(),), (EMA(0.9),), (Lookahead(2),), (Accumulate(2),)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_neither_weight_decay_nor_momentum_moves_a_frozen_weight(name, others):
    learn = learner(opt=OPTIMIZERS[name])
    learn.fit(1)  # so that the optimizer has momentum
    before, state = capture({"model": learn.model})["model"], capture({"opt": learn.opt})["opt"]
    learn.fit(2, callbacks=[Freeze(["0", "1"]), *others])
    after, then = learn.model.state_dict(), learn.opt.state_dict()
    for key in before:
        frozen = key.split(".")[0] in "01"
        assert torch.equal(before[key], after[key]) is frozen, key
    for i in range(4):
        assert first_difference(state["state"][i], then["state"][i]) is None
    assert first_difference(state["state"][4], then["state"][4]) is not None


def test_the_control_moves_them():
    learn = learner(opt=OPTIMIZERS["sgd"])
    learn.fit(1)
    before = learn.model[0].weight.clone()
    learn.fit(1)
    assert not torch.equal(before, learn.model[0].weight)


def test_what_is_frozen_all_along_trains_as_if_it_did_not_require_a_gradient():
    ours, hand = learner(Freeze("0")), learner()
    hand.model[0].requires_grad_(False)
    losses = [learn.fit(2).history["loss"] for learn in (ours, hand)]
    assert losses[0] == losses[1] != learner().fit(2).history["loss"]


def test_parts_are_trained_from_their_epoch_on():
    course = Course()
    learner(Freeze({"5": 0, "3": 1, ...: 2}), course).fit(3)
    assert course.moved("5.weight") == list(range(1, 12))
    assert course.moved("3.weight") == list(range(4, 12))
    assert course.moved("0.weight") == course.moved("1.weight") == list(range(8, 12))
    assert course.flags[4] == ["3.weight", "3.bias", "5.weight", "5.bias"]


def test_parts_are_trained_from_their_share_of_the_steps_on():
    course = Course()
    learner(Freeze(["0", "1"], until=0.5), Freeze("3", until=0.75), course).fit(2)
    assert course.moved("0.weight") == [4, 5, 6, 7]
    assert course.moved("3.weight") == [6, 7]
    course = Course()
    learner(Freeze("0", until=0.3), course, Accumulate(2)).fit(2)  # not within a window
    assert course.moved("0.weight") == [2, 3]
    assert len(course.weights) == 4


def test_a_step_in_the_middle_of_an_epoch_frees_its_norms_too():
    course = Course()
    learner(Freeze(["0", "1"], until=0.25), course).fit(2)
    assert ["1" in names for names in course.modes] == [False, False, *[True] * 6]


def test_the_names_of_groups_are_parts_with_what_does_not_decay():
    model = net()
    rule = {"body": ..., "head": "5"}
    opt = adamw(layer_groups(model, rule, no_decay=["norms", "biases"]))
    course = Course()
    learner(Freeze("body"), course, opt=opt, model=model).fit(1)
    assert course.flags[0] == ["5.weight", "5.bias"]


@pytest.mark.parametrize("ending", [None, ZeroDivisionError])
def test_everything_is_as_before_when_the_fit_ends(ending):
    class End(Callback):
        state = ()

        def after_step(self, run):
            if ending is not None and run.n_steps == 3:
                raise ending

    learn = learner(End())
    learn.model[5].bias.requires_grad_(False)
    learn.model.eval()
    before = capture({"modes": learn.state_entries()["modes"]})
    try:
        learn.fit(1, callbacks=[Freeze({"5": 0, ...: None})])
    except ZeroDivisionError:
        assert ending is not None
    assert first_difference(before, capture({"modes": learn.state_entries()["modes"]})) is None


def test_what_was_not_trained_before_is_not_trained_after_its_time():
    learn, course = learner(), Course()
    learn.model[0].bias.requires_grad_(False)
    learn.fit(2, callbacks=[Freeze("0", until=1), course])
    assert course.moved("0.bias") == []
    assert course.moved("0.weight") == [4, 5, 6, 7]


@pytest.mark.parametrize("policy", ["fixed", "running", "trained"])
def test_what_the_norms_of_frozen_layers_do_is_an_argument(policy):
    learn, course = learner(), Course()
    before = capture({"model": learn.model})["model"]
    learn.fit(2, callbacks=[Freeze(["0", "1"], batch_norm=policy), course])
    after = learn.model.state_dict()
    kept = {
        name: torch.equal(before[f"1.{name}"], after[f"1.{name}"])
        for name in ("weight", "running_mean")
    }
    assert kept == {"weight": policy != "trained", "running_mean": policy == "fixed"}
    assert {"1" in names for names in course.modes} == {policy != "fixed"}
    assert all("5" in names for names in course.modes)


def test_norms_that_are_trained_or_were_fixed_by_hand_are_left_alone():
    course = Course()
    learner(Freeze("0"), course).fit(1)
    assert all("1" in names for names in course.modes)
    course, learn = Course(), learner()
    learn.model[1].eval()
    learn.fit(2, callbacks=[Freeze(["0", "1"], until=1), course])
    assert not any("1" in names for names in course.modes)
    assert not learn.model[1].training


def test_a_norm_without_parameters_goes_with_what_it_stands_in():
    body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False))
    model = nn.Sequential(body, nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2))
    course = Course()
    learner(Freeze("0"), course, model=model).fit(1)
    assert all("0.1" not in names and "1" in names for names in course.modes)


def test_a_validation_in_the_middle_of_an_epoch_leaves_the_norms_fixed():
    course = Course()
    learner(Freeze("1"), course).fit(2, validate_every="1 steps")
    assert not any("1" in names for names in course.modes)


class Stop(Callback):
    state = ()
    replays = False

    def __init__(self, at):
        self.at = at

    def begin_epoch(self, run):
        if f"epoch {run.epoch}" == self.at:
            run.interrupt("test")

    def after_step(self, run):
        if run.n_steps == self.at:
            run.interrupt("test")


@pytest.mark.parametrize("stop", [1, 3, 4, 5, 7, 8, 9, 11, "epoch 1", "epoch 2"])
@pytest.mark.parametrize(
    "freeze", [Freeze({"5": 0, "3": 1, ...: 2}), Freeze({"0": 0.25, "1": 0.6, "3": 0.4})], ids=str
)
def test_a_fit_that_is_resumed_is_the_one_that_never_stopped(freeze, stop, tmp_path):
    def fit(folder, *callbacks):
        course = Course()
        again = Freeze(freeze.freezes)
        learn = learner(again, course, Checkpoint(tmp_path / folder), *callbacks)
        run = learn.fit(3, resume="auto")
        return learn, run.history.to_dict()["series"], course

    straight, history, whole = fit("straight")
    fit("stopped", Stop(stop))
    resumed, found, course = fit("stopped")
    for name in ("model", "modes", "opt"):
        entries = [learn.state_entries()[name] for learn in (straight, resumed)]
        assert first_difference(*(capture({name: entry}) for entry in entries)) is None
    assert first_difference(history, found) is None
    rest = stop if isinstance(stop, int) else 4 * int(stop[-1])
    assert course.flags == whole.flags[rest:]
    assert course.modes == whole.modes[rest:]
    assert whole.flags[0] != whole.flags[-1]
    assert history["loss"] != learner().fit(3).history.to_dict()["series"]["loss"]


def test_a_run_that_goes_back_freezes_again():
    class Once(Callback):
        def after_step(self, run):
            if run.n_steps == 6 and not run.rewinds:
                run.rewind(4)

    course, plain = Course(), Course()
    extra = [Rewind(every="1 steps", keep=9), Once()]
    learner(Freeze(["0", "1"], until=1), course, *extra).fit(2)
    learner(Freeze(["0", "1"], until=1), plain).fit(2)
    assert course.flags[6:] == plain.flags[2:]
    assert course.modes[6:] == plain.modes[2:]
    assert first_difference(course.weights[6:], plain.weights[2:]) is None


def test_tied_parametrized_and_lazy_parameters_are_frozen():
    model = nn.Sequential(
        nn.Linear(3, 3), nn.Linear(3, 3), weight_norm(nn.Linear(3, 4)), nn.LazyLinear(2)
    )
    model[1].weight = model[0].weight
    course = Course()
    model(torch.zeros(1, 3))
    learner(Freeze(["1.weight", "2.weight"]), course, model=model).fit(1)
    assert set(course.flags[0]) == {"0.bias", "1.bias", "2.bias", "3.weight", "3.bias"}
    lazy = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learner(Freeze("0"), course, model=lazy).fit(1)
    assert set(course.flags[-1]) == {"1.weight", "1.bias"}


def test_a_rehearsal_trains_as_the_fit_would_and_an_evaluation_is_not_concerned():
    course = Course()
    learn = learner(Freeze("0"))
    learn.rehearse(2, [course])
    assert "0.weight" not in course.flags[0]
    assert learn.model[0].weight.requires_grad
    learn.validate()

    class Inside(Callback):
        def after_step(self, run):
            run.learn.validate()
            run.learn.rehearse(1)

    course = Course()
    learn.fit(1, callbacks=[Inside(), course])
    assert all("0.weight" not in flags for flags in course.flags)
    assert learn.model[0].weight.requires_grad


def test_nobody_is_warned_of_what_is_frozen_for_the_whole_fit_and_is_in_no_optimizer():
    model = net()
    learn = learner(model=model, opt=adamw([*model[3].parameters(), *model[5].parameters()]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn.fit(1, callbacks=[Freeze(["0", "1"])])
    with pytest.warns(UserWarning, match="are in no optimizer: 0.weight, 0.bias, 1.weight, 1.bias"):
        learn.fit(1, callbacks=[Freeze(["0", "1"], until=1)])
    with pytest.warns(UserWarning, match=r"are in no optimizer: 1.weight, 1.bias\. "):
        learn.fit(1, callbacks=[Freeze("0")])


@pytest.mark.parametrize(
    ("freeze", "text"),
    [
        (Freeze("6"), "no parameter of the model is in '6'. Use one of: 0, 1, 3, 5"),
        (Freeze(["0", "0.bias"]), "'0.bias' is in two parts, '0' and '0.bias'"),
        (Freeze(...), "nothing is left to train in epoch 0: Freeze(...) freezes all"),
        (Freeze(["0", "1", "3", "5"]), "nothing is left to train in epoch 0"),
    ],
    ids=str,
)
def test_parts_that_cannot_be_frozen(freeze, text):
    learn = learner(freeze)
    with pytest.raises(ValueError, match=text.replace("(", r"\(").replace(")", r"\)")):
        learn.fit(1)
    assert all(p.requires_grad for p in learn.model.parameters())


def test_a_parameter_is_frozen_by_one_callback_alone():
    with pytest.raises(ValueError, match=r"Freeze\('0.bias'\) and Freeze\('0'\) freeze the same"):
        learner(Freeze("0"), Freeze("0.bias")).fit(1)


def test_lbfgs_that_remembers_is_refused():
    learn = learner(Closure(), opt=partial(torch.optim.LBFGS, lr=0.1, max_iter=2))
    before = learn.model[0].weight.clone()
    learn.fit(1, callbacks=[Freeze("0")])
    assert torch.equal(learn.model[0].weight, before)
    with pytest.raises(ValueError, match="LBFGS remembers gradients of an earlier fit"):
        learn.fit(1, callbacks=[Freeze("0")])
    learn.fit(1)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (({"0": 1}, 2), ValueError, "the dict says how long; got until=2 as well"),
        ((3,), TypeError, r"parts must be names of groups or paths, or \.\.\. .*; got 3"),
        (([nn.ReLU()],), TypeError, r"parts must be names .*; got ReLU\(\)"),
        (("0", 1.5), ValueError, "until must be from 0 to 1; got 1.5"),
        (("0", -1), ValueError, "until must be at least 0; got -1"),
        (("0", True), TypeError, "until must be an int of at least 0; got True"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, error, text):
    with pytest.raises(error, match=text):
        Freeze(*arguments)


def test_another_policy_is_refused():
    with pytest.raises(ValueError, match=r"batch_norm cannot be 'fix'. Did you mean fixed\?"):
        Freeze("0", batch_norm="fix")


def test_its_repr_says_how_it_was_made():
    assert repr(Freeze("body")) == "Freeze('body')"
    assert repr(Freeze(["a", ...], batch_norm="running")) == (
        "Freeze(['a', ...], batch_norm='running')"
    )
    assert repr(Freeze({"a": 1, ...: 0.5})) == "Freeze({'a': 1, ...: 0.5})"


def test_a_name_that_is_a_group_and_the_path_of_something_else_is_refused():
    model = net()
    groups = [
        {"params": [*model[3].parameters(), *model[5].parameters()], "name": "0"},
        {"params": [*model[0].parameters(), *model[1].parameters()], "name": "rest"},
    ]
    opt = adamw(groups)
    words = r"'0' is the name of a parameter group and the path of a part .* Write '0\.\*' for the"
    with pytest.raises(ValueError, match=words):
        learner(Freeze("0"), opt=opt, model=model).fit(1)
    course = Course()
    learner(Freeze("0.*"), course, opt=opt, model=model).fit(1)
    assert not {"0.weight", "0.bias"} & set(course.flags[0])
    assert {"3.weight", "5.weight"} <= set(course.flags[0])


def test_a_group_that_is_its_path_is_no_question_though_a_tied_weight_is_in_another():
    model = net()
    course = Course()
    learner(Freeze("0"), course, opt=adamw(layer_groups(model)), model=model).fit(1)
    assert not {"0.weight", "0.bias"} & set(course.flags[0])

    tied = nn.ModuleDict({"embed": nn.Linear(3, 3), "head": nn.Linear(3, 3)})
    tied["head"].weight = tied["embed"].weight
    found = parts_apart(tied, adamw(layer_groups(tied)), ["head"])
    assert [p is tied["head"].bias for p in found["head"]] == [True]


def test_our_own_running_norm_is_fixed_where_it_is_frozen():
    def statistics(*callbacks):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), RunningBatchNorm(4), nn.Linear(4, 2))
        learner(*callbacks, model=model).fit(1)
        assert model[1].training
        return model[1].items.item()

    assert statistics(Freeze("1")) == 0
    assert statistics(Freeze("1", batch_norm="running")) == statistics() > 0
