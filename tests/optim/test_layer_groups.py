"""Groups of parameters by the parts of a model."""

import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lehr import Callback
from lehr.callbacks import Checkpoint, ParamScheduler
from lehr.optim import layer_groups
from lehr.schedules import sched_lin
from lehr.testing import tiny_learner


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.body = nn.ModuleDict({"a": nn.Linear(4, 4), "norm": nn.LayerNorm(4)})
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body["norm"](self.body["a"](self.stem(x))).relu())


def seen(groups, model):
    """The names of the parameters by the names of the groups."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {group["name"]: [names[id(p)] for p in group["params"]] for group in groups}


BODY = ["body.a.weight", "body.a.bias", "body.norm.weight", "body.norm.bias"]
STEM, HEAD = ["stem.weight", "stem.bias"], ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (None, {"stem": STEM, "body": BODY, "head": HEAD}),
        (["stem", "body", "head"], {"stem": STEM, "body": BODY, "head": HEAD}),
        ([..., "head"], {"rest": [*STEM, *BODY], "head": HEAD}),
        ([["stem", "body.*"], "head"], {"stem+body.*": [*STEM, *BODY], "head": HEAD}),
        (
            {"low": ..., "high": ["body.norm", "head"]},
            {"low": STEM + BODY[:2], "high": BODY[2:] + HEAD},
        ),
        (lambda name: name == "stem.bias" or None, {"True": STEM[1:]}),
        (lambda name: 2 - len(name.split(".")), {"-1": BODY, "0": STEM + HEAD}),
    ],
)
def test_a_rule_gives_the_groups(rule, expected):
    model = Net()
    assert seen(layer_groups(model, rule), model) == expected


def test_what_a_fastai_splitter_returns_is_a_rule():
    model = Net()
    rule = [[model.stem, model.body], model.head]
    assert seen(layer_groups(model, rule), model) == {"0": [*STEM, *BODY], "head": HEAD}
    rule = [list(model.stem.parameters()), [*model.body.parameters(), *model.head.parameters()]]
    assert seen(layer_groups(model, rule), model) == {"0": STEM, "1": [*BODY, *HEAD]}


def rates(**arguments):
    return [group.get("lr") for group in layer_groups(Net(), **arguments)]


def test_rates_fall_towards_the_input():
    assert rates(lr=0.1, decay=0.5) == [0.025, 0.05, 0.1]
    assert rates(lr=slice(1e-4, 1e-2)) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert rates(rule=["head"], lr=slice(1e-4, 1e-2)) == [1e-2]
    assert rates(lr=0.1) == [0.1] * 3
    assert rates() == [None] * 3


def test_what_has_no_weight_decay_is_a_group_of_its_own_with_the_rate_of_the_part():
    model = Net()
    groups = layer_groups(model, [..., "head"], lr=1.0, decay=0.5, no_decay=["norms", "biases"])
    assert seen(groups, model) == {
        "rest": ["stem.weight", "body.a.weight"],
        "rest.no_decay": ["stem.bias", "body.a.bias", "body.norm.weight", "body.norm.bias"],
        "head": ["head.weight"],
        "head.no_decay": ["head.bias"],
    }
    opt = torch.optim.AdamW(groups, weight_decay=0.05)
    found = [(group["lr"], group["weight_decay"]) for group in opt.param_groups]
    assert found == [(0.5, 0.05), (0.5, 0.0), (1.0, 0.05), (1.0, 0.0)]


def test_a_fit_moves_only_what_decays_where_there_is_no_gradient():
    model = Net()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    make = partial(torch.optim.AdamW, lr=0.1, weight_decay=0.5)
    opt = make(layer_groups(model, no_decay=["norms", "biases"]))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    opt.step()
    for name, p in model.named_parameters():
        spared = "norm" in name or "bias" in name
        assert torch.equal(p, before[name]) is spared, name


class Stop(Callback):
    state = ()
    replays = False

    def after_step(self, run):
        run.interrupt("test")


def test_the_groups_go_through_a_fit_a_schedule_and_a_resume(tmp_path):
    def learner():
        torch.manual_seed(0)
        model = Net()
        opt = torch.optim.AdamW(layer_groups(model, lr=0.01, decay=0.1, no_decay=["biases"]))
        schedule = ParamScheduler("lr", sched_lin(1.0, 0.0), relative=True)
        return tiny_learner([schedule, Checkpoint(tmp_path)], model=model, opt=opt)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner().fit(2, callbacks=[Stop()])
        learn = learner()
        learn.fit(2, resume="auto")
    names = [group["name"] for group in learn.opt.param_groups]
    assert names[:2] == ["stem", "stem.no_decay"]
    assert [group["lr"] for group in learn.opt.param_groups][::2] == pytest.approx(
        [1e-4, 1e-3, 1e-2]
    )


def test_what_a_rule_leaves_out_is_warned_of_by_the_fit():
    model = Net()
    opt = torch.optim.SGD(layer_groups(model, ["head"]), lr=0.1)
    with pytest.warns(UserWarning, match="in no optimizer: stem.weight, stem.bias, body"):
        tiny_learner(model=model, opt=opt).fit(1)


def test_a_tied_parameter_is_in_the_group_of_its_first_name_and_in_no_other():
    model = Net()
    model.head.weight = nn.Parameter(torch.zeros(2, 4))
    model.stem.extra = model.head.weight
    assert seen(layer_groups(model, ["stem", "body", "head"]), model) == {
        "stem": [*STEM, "stem.extra"],
        "body": BODY,
        "head": ["head.bias"],
    }
    assert seen(layer_groups(model, ["head"]), model) == {"head": ["stem.extra", "head.bias"]}
    by_name = layer_groups(model, lambda name: name.split(".")[0])
    assert seen(by_name, model)["stem"] == [*STEM, "stem.extra"]
    with pytest.raises(ValueError, match=r"'head.weight' would be empty: .* to which it is tied"):
        layer_groups(model, ["stem", "head.weight"])


def test_lazy_parametrized_frozen_and_wrapped_parameters_are_grouped():
    model = nn.Sequential(
        weight_norm(nn.Linear(3, 4)), nn.LazyLinear(5), nn.DataParallel(nn.Linear(5, 2))
    )
    model[0].requires_grad_(False)
    groups = layer_groups(nn.DataParallel(model), ["0.weight", "1", "2"], no_decay=["biases"])
    sizes = {group["name"]: len(group["params"]) for group in groups}
    assert sizes == {"0.weight": 2, "1": 1, "1.no_decay": 1, "2": 1, "2.no_decay": 1}
    opt = torch.optim.SGD(groups, lr=0.1)
    model(torch.zeros(2, 3)).sum().backward()
    opt.step()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"rule": ["body", "body.a"]}, ValueError, "'body.a.weight' is in two groups, 'body' and"),
        ({"rule": ["bdoy"]}, ValueError, r"no parameter of the model is in 'bdoy'. Did you mean"),
        ({"rule": ["head", "head"]}, ValueError, "the rule has 'head' twice"),
        ({"rule": [..., "*"]}, ValueError, "the group 'rest' would be empty"),
        ({"rule": {"a": ..., "b": ...}}, ValueError, "stand for the rest once; got it in 'a' and"),
        ({"rule": []}, ValueError, "the rule has no parts"),
        ({"rule": lambda name: None}, ValueError, "the rule puts no parameter into a group"),
        (
            {"rule": "head"},
            TypeError,
            "rule must be a list of parts, a dict of them, .*; got 'head",
        ),
        ({"rule": [3]}, TypeError, "a part of a model must be a path"),
        ({"no_decay": "norms"}, TypeError, r"no_decay must be a list of kinds; got 'norms'. Write"),
        ({"no_decay": ["gains"]}, ValueError, "no_decay has no kind 'gains'"),
        ({"decay": 0.5}, ValueError, "decay needs the lr of the last group; got lr=None"),
        ({"decay": 0.5, "lr": slice(1, 2)}, ValueError, "decay needs the lr .* got lr=slice"),
        ({"decay": 0, "lr": 1.0}, ValueError, "decay must be above 0; got 0"),
        ({"decay": 2, "lr": 1.0}, ValueError, "decay must be from 0 to 1; got 2"),
        ({"lr": -1}, ValueError, "lr must be above 0; got -1"),
        ({"lr": slice(1)}, TypeError, "lr.start must be a real number; got None"),
        ({"lr": slice(1, 2, 3)}, ValueError, r"lr has no step; got slice\(1, 2, 3\)"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, error, text):
    with pytest.raises(error, match=text):
        layer_groups(Net(), **arguments)
