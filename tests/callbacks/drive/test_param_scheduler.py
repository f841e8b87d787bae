"""Everything that is a number can follow a schedule, and is put back."""

import pytest
import torch
from torch import nn

from lehr import Callback, DataBunch
from lehr.callbacks import Accumulate, Checkpoint, ParamScheduler, ReduceOnPlateau
from lehr.schedules import (
    combine_scheds,
    one_cycle,
    one_cycle_momentum,
    sched_cos,
    sched_lin,
    warmup,
)
from lehr.testing import tiny_learner

FALL = sched_lin(0.4, 0.0)
EXPECTED = pytest.approx([0.4, 0.3, 0.2, 0.1])


def learner(opt=None, **kwargs):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    opt = opt(model) if opt else torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    return tiny_learner(model=model, opt=opt, **kwargs)


class ReadInBatches(Callback):
    """Notes a value as the batch sees it."""

    state = ()

    def __init__(self, read):
        self.read, self.seen = read, []

    def after_pred(self, run):
        if run.training:
            self.seen.append(self.read(run))


def scheduled(learn, name, read, **kwargs):
    values = ReadInBatches(read)
    run = learn.fit(1, callbacks=[ParamScheduler(name, FALL, **kwargs), values])
    return values.seen, run


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay", "dampening"])
def test_any_hyper_parameter(name):
    learn = learner()
    before = dict(learn.opt.param_groups[0])
    seen, run = scheduled(learn, name, lambda run: run.opt.param_groups[0][name])
    assert seen == EXPECTED
    assert run.history[name] == EXPECTED
    assert learn.opt.param_groups[0] == before


def test_momentum_is_the_first_beta_where_there_are_betas():
    learn = learner(lambda model: torch.optim.Adam(model.parameters(), betas=(0.9, 0.99)))
    seen, _ = scheduled(learn, "momentum", lambda run: run.opt.param_groups[0]["betas"])
    assert [first for first, _ in seen] == EXPECTED
    assert {second for _, second in seen} == {0.99}
    assert learn.opt.param_groups[0]["betas"] == (0.9, 0.99)


def test_a_tensor_is_written_in_place():
    lr = torch.tensor(0.1)
    learn = learner(lambda model: torch.optim.SGD(model.parameters(), lr=lr))
    seen, _ = scheduled(learn, "lr", lambda run: lr.item())
    assert seen == EXPECTED
    assert learn.opt.param_groups[0]["lr"] is lr
    assert lr.item() == pytest.approx(0.1)


def two_groups(model):
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim == 1]
    return torch.optim.SGD([{"params": weights, "lr": 1.0}, {"params": biases, "lr": 2.0}])


def test_all_groups_or_one():
    def lrs(run):
        return [group["lr"] for group in run.opt.param_groups]

    seen, run = scheduled(learner(two_groups), "lr", lrs, relative=False)
    assert [a for a, _ in seen] == [b for _, b in seen] == EXPECTED
    seen, run = scheduled(learner(two_groups), "lr", lrs, group=0)
    assert [a for a, _ in seen] == EXPECTED
    assert {b for _, b in seen} == {2.0}
    assert run.history["lr[0]"] == EXPECTED
    assert set(run.history["lr"]) == {2.0}


def test_a_schedule_for_each_group():
    rise = sched_lin(0.0, 0.4)
    learn = learner(two_groups)
    values = ReadInBatches(lambda run: [group["lr"] for group in run.opt.param_groups])
    learn.fit(
        1, [ParamScheduler("lr", FALL, group=0), ParamScheduler("lr", rise, group=-1), values]
    )
    assert values.seen == [[FALL(i / 4), rise(i / 4)] for i in range(4)]


def test_attributes_by_path():
    learn = learner()
    seen, run = scheduled(learn, "model.1.p", lambda run: run.model[1].p)
    assert seen == run.history["model.1.p"] == EXPECTED
    assert learn.model[1].p == 0.5


def test_other_callbacks_by_path():
    class MixUp(Callback):
        alpha = 7.0

    mixup = MixUp()
    learn = learner(callbacks=[mixup])
    seen, _ = scheduled(learn, "callbacks.mix_up.alpha", lambda run: mixup.alpha)
    assert seen == EXPECTED
    assert mixup.alpha == 7.0


def test_one_of_several_optimizers_by_path():
    def two(model):
        halves = {"first": model[0], "second": model[2]}
        return {n: torch.optim.SGD(half.parameters(), lr=1.0) for n, half in halves.items()}

    learn = learner(two)
    read = lambda run: [opt.param_groups[0]["lr"] for opt in run.opt.values()]  # noqa: E731
    seen, _ = scheduled(learn, "opt.second.lr", read)
    assert [a for a, _ in seen] == [1.0] * 4
    assert [b for _, b in seen] == EXPECTED
    both, _ = scheduled(learn, "lr", read)
    assert [a for a, _ in both] == [b for _, b in both] == EXPECTED


def test_lr_and_momentum_together():
    learn = learner()
    schedules = [
        ParamScheduler("lr", one_cycle(0.5)),
        ParamScheduler("momentum", one_cycle_momentum()),
    ]
    run = learn.fit(5, schedules)
    assert run.history["lr"] == [one_cycle(0.5)(i / 20) for i in range(20)]
    assert run.history["momentum"] == [one_cycle_momentum()(i / 20) for i in range(20)]


def test_the_lessons_schedule_over_294_steps():
    schedule = combine_scheds([0.3, 0.7], [sched_cos(0.3, 0.6), sched_cos(0.6, 0.2)])
    run = tiny_learner(items=98 * 8).fit(3, callbacks=[ParamScheduler("lr", schedule)])
    lrs = run.recorder.lrs
    assert lrs[0] == 0.3
    assert max(lrs) == pytest.approx(0.599996, abs=1e-6)
    assert lrs.index(max(lrs)) == 88
    assert lrs[-1] == pytest.approx(0.200023, abs=1e-6)
    assert sum(lrs) / 294 == pytest.approx(0.415, abs=5e-4)


def test_the_value_is_fixed_within_a_window_and_counts_steps():
    class Accumulate(Callback):
        def begin_fit(self, run):
            run.steps_per_epoch = 2

        def begin_batch(self, run):
            run.closes = run.window.batches == 1

    learn = learner(callbacks=[Accumulate()])
    seen, _ = scheduled(learn, "lr", lambda run: run.opt.param_groups[0]["lr"])
    assert seen == pytest.approx([0.4, 0.4, 0.2, 0.2])


def test_validation_neither_sees_nor_moves_it():
    learn = learner(items=64)
    run = learn.fit(1, [ParamScheduler("lr", FALL)], validate_every="1 steps")
    assert run.history["lr"] == pytest.approx([0.4 * (1 - i / 8) for i in range(8)])


def test_the_very_values_are_put_back():
    class Own(Callback):
        n = 3

    own = Own()
    learn = learner(lambda model: torch.optim.SGD(model.parameters(), lr=1), callbacks=[own])
    learn.fit(1, [ParamScheduler("lr", FALL), ParamScheduler("callbacks.own.n", FALL)])
    assert type(learn.opt.param_groups[0]["lr"]) is int
    assert "n" not in vars(own)
    assert own.n == 3
    own.n = 5
    learn.fit(1, [ParamScheduler("callbacks.own.n", FALL)])
    assert (own.n, type(own.n)) == (5, int)


def test_two_callbacks_of_one_name_need_names_of_their_own():
    class Own(Callback):
        n = 3.0

    a, b = Own(), Own()
    learn = learner(callbacks=[a, b])
    with pytest.raises(ValueError, match=r"ambiguous: 2 callbacks are named 'own'. Set"):
        learn.fit(1, [ParamScheduler("callbacks.own.n", FALL)])
    b.name = "second"
    values = ReadInBatches(lambda run: (a.n, b.n))
    learn.fit(1, [ParamScheduler("callbacks.second.n", FALL), values])
    assert [n for n, _ in values.seen] == [3.0] * 4
    assert [n for _, n in values.seen] == EXPECTED


def test_two_schedules_for_one_number_are_refused():
    with pytest.raises(
        ValueError, match=r"ParamScheduler and ParamScheduler both drive 'lr'; each would"
    ):
        learner().fit(1, [ParamScheduler("lr", FALL), ParamScheduler("lr", FALL, group=0)])


@pytest.mark.parametrize(
    ("one", "other", "text"),
    [
        (("lr", -1), ("lr", 0), "both drive 'lr'; each would undo the other. Leave one, or give"),
        (("lr", None), ("opt.g.lr", None), "drive 'lr', which is 'opt.g.lr' too; each"),
        (("opt.g.lr", -1), ("lr", None), "drive 'opt.g.lr', which is 'lr' too; each"),
        (("betas", None), ("momentum", None), "drive 'betas', which is 'momentum' too; each"),
        (("opt.g.momentum", 0), ("betas", -1), "drive 'opt.g.momentum', which is 'betas' too;"),
        (("model.1.p", None), ("model.again.p", None), "drive 'model.1.p', which is 'model.again"),
    ],
)
def test_two_names_of_one_number_are_refused(one, other, text):
    learn = several()
    schedules = [ParamScheduler(name, FALL, group=group) for name, group in (one, other)]
    with pytest.raises(ValueError, match=text):
        learn.fit(1, schedules)
    assert learn.run.n_iter == 0
    assert learn.opt["g"].param_groups[0]["lr"] == 0.1


def test_places_that_only_look_alike_are_not_refused():
    schedules = [
        *(ParamScheduler(name, FALL) for name in ("opt.g.lr", "opt.d.lr", "opt.g.momentum")),
        *(ParamScheduler("opt.g.eps", FALL, group=group) for group in (-1,)),
        ParamScheduler("model.1.p", FALL),
    ]
    assert several().fit(1, schedules).n_steps == 4
    match = r"ParamScheduler and ParamScheduler all drive 'lr', which is 'opt.g.lr' and 'opt.d"
    with pytest.raises(ValueError, match=match):
        several().fit(1, [ParamScheduler("lr", FALL), *schedules])


def several():
    """A model with a module of two names, and two optimizers for it."""
    learn = learner()
    learn.model.add_module("again", learn.model[1])
    halves = {"g": learn.model[0], "d": learn.model[2]}
    opts = {name: torch.optim.Adam(half.parameters(), 0.1) for name, half in halves.items()}
    return tiny_learner(model=learn.model, opt=opts)


def test_a_schedule_that_gives_no_number_is_refused():
    for value, text in ((float("nan"), "must be finite; got nan"), ("x", "must be a real number")):
        with pytest.raises((ValueError, TypeError), match=rf"schedule\(pos\) {text}"):
            learner().fit(1, [ParamScheduler("lr", lambda pos, v=value: v)])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((3, FALL), "name must be a string; got 3"),
        (("lr", FALL, "0"), "group must be the number of a parameter group; got '0'"),
        (("model.1.p", FALL, 7), "group=7 has no meaning for the path 'model.1.p'"),
    ],
)
def test_wrong_arguments_speak(arguments, text):
    name, schedule, *group = arguments
    with pytest.raises((TypeError, ValueError), match=text):
        ParamScheduler(name, schedule, group=group[0] if group else None)


def test_a_plain_function_is_asked_before_every_step():
    asked = []
    learner().fit(1, [ParamScheduler("lr", lambda pos: asked.append(pos) or 0.1)])
    assert asked == [0, 0.25, 0.5, 0.75]


WRONG = {
    "hyper-parameter": (
        "momentun",
        None,
        r"SGD has no hyper-parameter 'momentun' in parameter group 0, .* Did you mean mom",
    ),
    "group": ("lr", 3, r"group must be the number of a parameter group; got 3, but SGD has 1"),
    "root": ("modle.1.p", None, r"the path 'modle.1.p' starts with 'modle'. Did you mean model\?"),
    "module": ("model.9.p", None, r"'model.9.p' leads nowhere: Sequential has no '9'"),
    "attribute": ("model.1.rate", None, r"leads nowhere: Dropout has no 'rate'. Use one of: p"),
    "callback": ("callbacks.mixup.a", None, r"leads nowhere: dict has no 'mixup'"),
    "optimizer": (
        "opt.gen.lr",
        None,
        r"leads nowhere: there is no optimizer named 'gen'. Write the",
    ),
    "no number": ("nesterov", None, r"nesterov is False; only a number can follow a schedule"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_names_speak_before_anything_moves(name):
    param, group, text = WRONG[name]
    learn = learner()
    with pytest.raises(ValueError, match=text):
        learn.fit(1, callbacks=[ParamScheduler(param, FALL, group=group)])
    assert learn.run.n_iter == 0


def test_a_schedule_must_be_callable():
    with pytest.raises(TypeError, match=r"schedule must be a function of position; got 0.1. Write"):
        ParamScheduler("lr", 0.1)


def test_without_a_length_it_refuses():
    batches = [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))] * 4
    learn = learner(data=DataBunch(lambda: iter(batches)))
    with pytest.raises(ValueError, match=r"needs the length of the run.*steps_per_epoch"):
        learn.fit(1, callbacks=[ParamScheduler("lr", FALL)])
    run = learn.fit(1, callbacks=[ParamScheduler("lr", FALL)], steps_per_epoch=4)
    assert run.history["lr"] == EXPECTED


def test_it_prints_as_it_was_written():
    assert repr(ParamScheduler("lr", FALL)) == "ParamScheduler('lr', sched_lin(0.4, 0))"
    assert repr(ParamScheduler("lr", FALL, group=1)).endswith("group=1)")


@pytest.mark.parametrize(
    "ours",
    [lambda name: ParamScheduler(name, sched_lin(0.4, 0.1)), lambda n: ReduceOnPlateau(param=n)],
)
def test_what_a_users_callback_says_that_it_drives_nobody_else_may_drive(ours):
    class Restarts(Callback):
        drives = ("lr",)

    with pytest.raises(ValueError, match=r"and Restarts both drive 'lr'; each would undo the"):
        tiny_learner([Restarts(), ours("lr")]).fit(1)
    tiny_learner([Restarts(), ours("weight_decay")]).fit(1)


def all_rates(run):
    return [group["lr"] for group in run.opt.param_groups]


def test_a_relative_schedule_multiplies_each_groups_own_value():
    seen, run = scheduled(learner(two_groups), "lr", all_rates, relative=True)
    assert [a for a, _ in seen] == EXPECTED
    assert [b for _, b in seen] == [2 * a for a, _ in seen]
    assert run.history["lr"] == [b for _, b in seen]
    assert all_rates(run) == [1.0, 2.0]


def test_a_relative_schedule_records_the_value_and_not_the_factor():
    learn = learner(lambda model: torch.optim.SGD(model.parameters(), 0.1, weight_decay=0.5))
    seen, run = scheduled(
        learn, "weight_decay", lambda run: run.opt.param_groups[0]["weight_decay"], relative=True
    )
    assert seen == run.history["weight_decay"] == pytest.approx([0.2, 0.15, 0.1, 0.05])


def test_groups_that_differ_are_levelled_only_with_a_warning_or_when_it_was_said():
    with pytest.warns(UserWarning, match=r"have lr 1, 2, and .* relative=True to multiply") as seen:
        learner(two_groups).fit(1, [ParamScheduler("lr", FALL)])
    assert len(seen) == 1
    scheduled(learner(two_groups), "lr", all_rates, relative=False)
    scheduled(learner(two_groups), "lr", all_rates, group=1)
    scheduled(learner(), "lr", all_rates)  # one group has nothing to level
    both = learner(callbacks=[ParamScheduler("lr", FALL)])
    both.opt = two_groups(both.model)
    both.validate()  # nothing is scheduled there


def test_the_lrs_of_several_optimizers_are_levelled_only_with_a_warning():
    learn = several()
    learn.opt["g"].param_groups[0]["lr"] = 0.3
    with pytest.warns(UserWarning, match=r"have lr 0\.3, 0\.1, and the schedule sets all of them"):
        learn.fit(1, [ParamScheduler("lr", FALL)])


def test_a_relative_schedule_is_resumed_from_the_own_values(tmp_path):
    class Stop(Callback):
        replays, state, at = False, (), 2

        def after_step(self, run):
            if run.n_steps == self.at:
                run.interrupt("test")

    def fit(*more):
        learn, values = learner(two_groups), ReadInBatches(all_rates)
        schedule = ParamScheduler("lr", FALL, relative=True)
        learn.fit(1, [schedule, values, Checkpoint(tmp_path), *more], resume="auto")
        return values.seen, learn

    fit(Stop())
    seen, learn = fit()
    assert seen == scheduled(learner(two_groups), "lr", all_rates, relative=True)[0][2:]
    assert all_rates(learn.run) == [1.0, 2.0]


def test_relative_is_yes_or_no():
    with pytest.raises(TypeError, match="relative must be True or False; got 'yes'"):
        ParamScheduler("lr", FALL, relative="yes")
    assert repr(ParamScheduler("lr", FALL, relative=True)).endswith(", relative=True)")


class Unfreeze(Callback):
    """Gives the optimizer another group in the course of a fit."""

    state = ()

    def __init__(self, step, **group):
        self.at, self.group = step, group

    def _add(self, run):
        if run.n_steps == self.at and not hasattr(self, "parameter"):
            self.parameter = nn.Parameter(torch.ones(1))
            run.opt.add_param_group({"params": [self.parameter], **self.group})

    def after_step(self, run):
        self._add(run)

    def begin_epoch(self, run):
        self._add(run)


@pytest.mark.parametrize("step", [1, 4])  # in the middle of an epoch, and between two
@pytest.mark.parametrize(("relative", "factor"), [(True, 0.05), (False, 1.0)])
def test_a_group_that_is_added_is_taken_along_and_put_back_to_what_it_had(step, relative, factor):
    learn, values = learner(), ReadInBatches(all_rates)
    fall = ParamScheduler("lr", FALL, relative=relative)
    learn.fit(2, [fall, values, Unfreeze(step, lr=0.05)])
    added = [rates[1] for rates in values.seen if len(rates) == 2]
    assert added == [FALL(i / 8) * factor for i in range(step, 8)]
    assert all_rates(learn.run) == [0.1, 0.05]


def test_a_group_that_no_schedule_has_touched_keeps_what_it_has():
    learn = learner()
    learn.fit(1, [ParamScheduler("lr", FALL), Unfreeze(4, lr=0.05)])
    assert all_rates(learn.run) == [0.1, 0.05]


class Lookahead:
    """An optimizer around another, that is none itself."""

    def __init__(self, optimizer):
        self.optimizer, self.steps = optimizer, 0

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    def step(self):
        self.steps += 1
        return self.optimizer.step()

    def zero_grad(self):
        self.optimizer.zero_grad()

    def state_dict(self):
        return {"inner": self.optimizer.state_dict(), "steps": self.steps}

    def load_state_dict(self, state):
        self.optimizer.load_state_dict(state["inner"])
        self.steps = state["steps"]


def test_the_groups_of_a_wrapper_are_driven_after_a_resume_too(tmp_path):
    class Stop(Callback):
        replays, state = False, ()

        def after_step(self, run):
            if run.n_steps == 2:
                run.interrupt("test")

    def fit(folder, *more):
        learn = learner(lambda model: Lookahead(torch.optim.SGD(model.parameters(), lr=0.1)))
        values = ReadInBatches(all_rates)
        learn.fit(1, [ParamScheduler("lr", FALL), values, Checkpoint(folder), *more], resume="auto")
        return [lr for [lr] in values.seen], learn

    straight, one = fit(tmp_path / "a")
    fit(tmp_path / "b", Stop())
    resumed, other = fit(tmp_path / "b")
    assert resumed == straight[2:]
    assert other.opt.param_groups[0]["lr"] == one.opt.param_groups[0]["lr"] == 0.1
    assert other.opt.steps == one.opt.steps == 4
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["lr", "weigth_decay"])
def test_a_hyper_parameter_that_a_group_lacks_is_refused_with_what_it_has(name):
    def renamed(model):
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        opt.param_groups[0]["step_size"] = opt.param_groups[0].pop("lr")
        return opt

    match = rf"SGD has no hyper-parameter '{name}' in parameter group 0, which has .*step_size"
    with pytest.raises(ValueError, match=match):
        learner(renamed).fit(1, [ParamScheduler(name, FALL)])


def test_a_hyper_parameter_that_only_one_of_the_groups_lacks_is_refused_with_its_number():
    def mixed(model):
        opt = two_groups(model)
        del opt.param_groups[1]["lr"]
        return opt

    with pytest.raises(ValueError, match=r"'lr' in parameter group 1, which has momentum, "):
        learner(mixed).fit(1, [ParamScheduler("lr", FALL, relative=False)])


# ---- factors for each group


def grouped():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    groups = [
        {"params": layer.parameters(), "lr": lr}
        for layer, lr in zip(model, (0.1, 1.0), strict=True)
    ]
    return tiny_learner(model=model, opt=torch.optim.SGD(groups, lr=0.1))


def rates(run):
    return tuple(group["lr"] for group in run.opt.param_groups)


@pytest.mark.parametrize(("relative", "own"), [(None, (1, 1)), (False, (1, 1)), (True, (0.1, 1))])
def test_each_group_has_its_own_factor(relative, own):
    learn, values = grouped(), ReadInBatches(rates)
    driver = ParamScheduler("lr", FALL.per_group([0.5, 2]), relative=relative)
    run = learn.fit(1, callbacks=[driver, values])
    assert values.seen == [
        pytest.approx((0.5 * lr * own[0], 2 * lr * own[1])) for lr in (0.4, 0.3, 0.2, 0.1)
    ]
    assert run.history["lr"] == [last for _, last in values.seen]
    assert rates(learn) == (0.1, 1.0)


def test_factors_for_more_or_fewer_groups_are_refused():
    driver = ParamScheduler("lr", FALL.per_group([0.5, 2, 3]))
    with pytest.raises(ValueError, match=r"factors for 3 parameter groups, .*, but there are 2"):
        grouped().fit(1, callbacks=[driver])


def test_factors_for_one_number_are_refused():
    for name, group in (("lr", 0), ("model.1.p", None)):
        with pytest.raises(ValueError, match=r"has 2 factors for parameter groups, but .* is one"):
            ParamScheduler(name, FALL.per_group([0.5, 2]), group=group)


def test_a_phase_is_no_schedule():
    with pytest.raises(ValueError, match="only a phase"):
        ParamScheduler("lr", warmup(0.1))
    with pytest.raises(ValueError, match="not a whole schedule yet"):
        ParamScheduler("lr", warmup(0.1) >> warmup(0.2))


# ---- sizes and counts


class Resize(Callback):
    """Notes how large it would make the images."""

    state = ()

    def __init__(self):
        self.size, self.seen = 64, []

    def begin_batch(self, run):
        self.seen.append(self.size)


def test_a_whole_number_stays_one_where_the_value_is_whole():
    resize = Resize()
    driver = ParamScheduler("callbacks.resize.size", sched_lin(64, 128).rounded(32))
    tiny_learner([driver, resize]).fit(1)
    seen = resize.seen[:4]
    assert seen == [64, 96, 96, 128]
    assert {type(size) for size in seen} == {int}
    assert resize.size == 64


def test_a_share_that_was_written_as_0_may_become_a_fraction():
    learn = learner()
    learn.model[1].p = 0
    seen, _ = scheduled(learn, "model.1.p", lambda run: run.model[1].p)
    assert seen == EXPECTED
    assert learn.model[1].p == 0


def windows(callbacks, **length):
    values = ReadInBatches(lambda run: (run.n_steps, run.closes))
    run = tiny_learner([*callbacks, values], items=32 * 8).fit(**length)
    return values.seen, run


def test_accumulation_can_follow_a_schedule():
    driver = ParamScheduler("callbacks.accumulate.batches", sched_lin(1, 5).rounded())
    accumulate = Accumulate(2)
    _, run = windows([accumulate, driver], steps=4)
    assert run.n_steps == 4
    assert run.n_iter == 1 + 2 + 3 + 4
    assert accumulate.batches == 2


def test_the_length_in_steps_is_unknown_where_accumulation_follows_a_schedule():
    driver = ParamScheduler("callbacks.accumulate.batches", sched_lin(1, 5).rounded())
    with pytest.raises(ValueError, match=r"changes that number or the batch size. Give fit\("):
        windows([Accumulate(2), driver], epochs=2)
    other = ParamScheduler("callbacks.resize.size", sched_lin(64, 128).rounded(32))
    assert windows([Accumulate(2), Resize(), other], epochs=2)[1].planned_steps == 32


def batch_sizes(callbacks=(), resume=None, **length):
    values = ReadInBatches(lambda run: len(run.xb))
    learn = learner(items=64)
    learn.data.train_dl.batch_size = 4
    driver = ParamScheduler("data.train_dl.batch_size", sched_lin(4, 24).rounded(4))
    run = learn.fit(callbacks=[driver, values, *callbacks], resume=resume, **length)
    assert learn.data.train_dl.batch_size == 4
    return values.seen, run


def test_the_batch_size_can_follow_a_schedule_epoch_by_epoch():
    seen, run = batch_sizes(steps=40)
    assert (
        seen
        == [4] * 16
        + [12] * 5
        + [4]
        + [16] * 4
        + [16] * 4
        + [20] * 3
        + [4]
        + [20] * 3
        + [4]
        + [24] * 2
    )
    assert run.history["data.train_dl.batch_size"][:17] == [4] * 16 + [12]


def test_a_fit_of_epochs_does_not_know_its_steps_where_the_batch_size_changes():
    with pytest.raises(ValueError, match="changes that number or the batch size"):
        batch_sizes(epochs=2)


@pytest.mark.parametrize("stop", [3, 16, 19, 28, 33])
def test_a_schedule_of_the_batch_size_is_resumed_bit_for_bit(stop, tmp_path):
    class Stop(Callback):
        state = ()
        replays = False

        def after_step(self, run):
            if run.n_steps == stop:
                run.interrupt("test")

    straight, whole = batch_sizes(steps=40)
    first, _ = batch_sizes([Checkpoint(tmp_path), Stop()], steps=40)
    then, resumed = batch_sizes([Checkpoint(tmp_path)], resume="auto", steps=40)
    assert first + then == straight
    assert resumed.history["loss"] == whole.history["loss"]
    assert 0 < len(then) < len(straight)
