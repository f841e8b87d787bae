"""A teacher that is the moving average of its student."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lehr import Callback, DataBunch, Learner
from lehr.callbacks import (
    EMA,
    SAM,
    Accumulate,
    ActivationStats,
    EMATeacher,
    Freeze,
    GradientCheckpointing,
    Lookahead,
    MixUp,
    ParamScheduler,
    StochasticDepth,
)
from lehr.schedules import sched_lin
from lehr.testing import tiny_learner


def net(dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(dropout), nn.Linear(4, 2))


def batches(count=4):
    draw = torch.Generator().manual_seed(1)
    found = [torch.randn(6, 3, generator=draw) for _ in range(count)]
    return [(x, (x.sum(1) > 0).long()) for x in found]


def learner(model, *callbacks):
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    bunch = DataBunch(batches(), batches(2))
    return Learner(model, opt, F.cross_entropy, bunch, callbacks, progress=False, seed=0)


def same(a, b):
    values = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(p, q) for p, q in values)


def same_parameters(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def by_hand(decay, weight, distance):
    """With torch's own average."""
    model = net().train()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    teacher = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    teacher.update_parameters(model)  # the first is a copy
    for x, y in batches() * 2:
        pred = model(x)
        with torch.no_grad():
            target = teacher(x)
        (F.cross_entropy(pred, y) + weight * distance(pred, target)).backward()
        opt.step()
        opt.zero_grad()
        teacher.update_parameters(model)
    return model, teacher.module


def of_probabilities(pred, target):
    return F.mse_loss(pred.softmax(1), target.softmax(1))


def test_it_is_its_definition_with_the_average_of_torch():
    model, callback = net(), EMATeacher(0.8, weight=3.0)
    learner(model, callback).fit(2)
    student, teacher = by_hand(0.8, 3.0, of_probabilities)
    assert same(model, student)
    assert same_parameters(callback.teacher, teacher)  # whose buffers are those of the student
    assert not same(model, by_hand(0.8, 1.0, of_probabilities)[0])
    assert not same_parameters(callback.teacher, by_hand(0.5, 3.0, of_probabilities)[1])


def test_a_distance_of_ones_own():
    model = net()
    learner(model, EMATeacher(0.8, weight=0.5, distance=F.mse_loss)).fit(2)
    assert same(model, by_hand(0.8, 0.5, F.mse_loss)[0])
    assert not same(model, by_hand(0.8, 0.5, of_probabilities)[0])


def test_without_weight_the_training_is_left_alone():
    model, plain = net(0.5), net(0.5)
    run = learner(model, EMATeacher(weight=0.0)).fit(2)
    learner(plain).fit(2)
    assert same(model, plain)
    assert max(run.history["ema_distance"]) > 0


def test_student_and_teacher_draw_other_random_numbers():
    """With the weights alike, dropout alone makes their outputs differ."""
    for dropout, differ in ((0.0, False), (0.5, True)):
        run = learner(net(dropout), EMATeacher()).fit(1)
        assert (run.history["ema_distance"][0] > 0) is differ


def test_a_skipped_step_moves_no_teacher():
    class Skip(Callback):
        def step(self, run, proceed):
            pass

    callback = EMATeacher(0.5)
    model = net()
    before = model[0].weight.detach().clone()
    with pytest.warns(UserWarning, match="without one optimizer step"):
        learner(model, callback, Skip()).fit(1)
    assert torch.equal(callback.teacher[0].weight, before)


TOGETHER = {
    "mixed items": lambda: [MixUp()],
    "SAM in windows": lambda: [SAM(0.1), Accumulate(2)],
    "an average that is validated": lambda: [EMA(0.5)],
    "activations that are not kept": lambda: [GradientCheckpointing(["0", "1", "2"])],
}


@pytest.mark.parametrize("name", TOGETHER)
def test_it_goes_together_with_other_techniques_in_any_order(name):
    models = [net(0.3) for _ in range(3)]
    teachers = [EMATeacher(0.8, weight=3.0) for _ in range(2)]
    learner(models[0], teachers[0], *TOGETHER[name]()).fit(1)
    learner(models[1], *TOGETHER[name]()[::-1], teachers[1]).fit(1)
    learner(models[2], *TOGETHER[name]()).fit(1)
    assert same(models[0], models[1])
    assert same(teachers[0].teacher, teachers[1].teacher)
    assert not same(models[0], models[2])


def test_it_follows_the_weights_that_lookahead_leaves():
    model, callback = net(), EMATeacher(0.0)
    learner(model, callback, Lookahead(2)).fit(1)
    assert same_parameters(callback.teacher, model)


def test_the_teacher_has_none_of_the_hooks_of_other_callbacks():
    model, callback = net(), EMATeacher()
    beside, alone = ActivationStats(["0"]), ActivationStats(["0"])
    learner(model, beside, callback).fit(1)
    assert not any(module._forward_hooks for module in callback.teacher.modules())
    learner(net(), EMATeacher(), alone).fit(1)
    assert torch.equal(beside.train.values(), alone.train.values())


def test_validation_is_that_of_the_student():
    run = learner(net(0.3), EMATeacher(weight=5.0)).fit(1)
    assert learner(run.model).validate()["valid_loss"] == run.history["valid_loss"][-1]


def test_weight_and_decay_can_be_scheduled():
    models, teachers = [net() for _ in range(2)], [EMATeacher(), EMATeacher(0.5, weight=2.0)]
    schedules = [
        ParamScheduler("callbacks.ema_teacher.weight", sched_lin(2.0, 2.0)),
        ParamScheduler("callbacks.ema_teacher.decay", sched_lin(0.5, 0.5)),
    ]
    learner(models[0], teachers[0], *schedules).fit(1)
    learner(models[1], teachers[1]).fit(1)
    assert same(*models)
    assert same(teachers[0].teacher, teachers[1].teacher)
    plain = net()
    learner(plain, EMATeacher()).fit(1)
    assert not same(models[0], plain)


def test_it_goes_on_exactly_after_a_stop():
    learn = learner(net(0.3), EMATeacher(0.8))
    assert learn.check_resume(epochs=2, batches=3).ok

    class Forgets(EMATeacher):
        state = ()

    assert not learner(net(0.3), Forgets(0.8, weight=3.0)).check_resume(epochs=2, batches=3).ok


def test_a_pass_that_only_looks_makes_no_teacher_and_leaves_one_alone():
    callback = EMATeacher(0.8)
    learn = learner(net(), callback)
    learn.validate()
    assert callback.teacher is None
    learn.fit(1)
    before = deepcopy(callback.teacher)
    learn.validate()
    learn.rehearse(2)
    assert same(callback.teacher, before)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="decay must be from 0 to 1; got 2"):
        EMATeacher(2)
    with pytest.raises(ValueError, match="weight must be at least 0; got -1"):
        EMATeacher(weight=-1)
    with pytest.raises(TypeError, match="distance must be a function"):
        EMATeacher(distance=3)
    lazy = nn.Sequential(nn.LazyLinear(2))
    with pytest.raises(ValueError, match="must have its shapes before a teacher is copied"):
        tiny_learner([EMATeacher()], model=lazy, rehearsal=False).fit(1)
    assert repr(EMATeacher()) == "EMATeacher(0.99, weight=1.0)"


def test_the_teacher_has_no_hook_of_those_that_begin_before_it_either():
    model, callback = net(), EMATeacher(0.8)
    depth = StochasticDepth(1.0, "0")
    learner(model, depth, callback).fit(1)
    assert not any(module._forward_hooks for module in callback.teacher.modules())
    assert depth.names == ("0",)


def test_a_hook_that_is_the_models_own_is_the_teachers_too():
    """Such as those by which torch's older spectral_norm computes a weight."""
    model, callback = net(), EMATeacher(0.5)
    model[0] = nn.utils.spectral_norm(model[0])
    learner(model, callback).fit(1)
    assert len(callback.teacher[0]._forward_pre_hooks) == 1


def test_norms_that_are_frozen_are_so_in_the_teacher_until_their_time_comes():
    seen = []

    class Watched(nn.BatchNorm1d):
        def forward(self, x):
            seen.append(self.training)
            return super().forward(x)

    def frozen(*callbacks):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), Watched(4), nn.Linear(4, 2))
        before = model[1].running_mean.clone()
        teacher = EMATeacher(0.8)
        seen.clear()
        learner(model, teacher, *callbacks).fit(1)
        return before.equal(teacher.teacher[1].running_mean), seen[1:9]  # after the rehearsal

    assert frozen(Freeze("1")) == (True, [False] * 8)  # student and teacher in turn
    assert frozen() == (False, [True] * 8)
    assert frozen(Freeze("1", 0.5)) == (False, [False] * 4 + [True] * 4)


def test_an_average_in_half_precision_does_not_stand_still():
    """A thousandth of the way is below what bfloat16 can tell from nothing."""
    model = nn.Linear(3, 2).bfloat16()
    callback = EMATeacher(0.999)
    with torch.no_grad():
        model.weight.fill_(1.0)

    class Far(Callback):
        state = ()

        def after_step(self, run):
            with torch.no_grad():
                run.model.weight.fill_(2.0)

    halves = DataBunch([(x.bfloat16(), y) for x, y in batches() * 20])
    opt = torch.optim.SGD(model.parameters(), lr=1e-9)
    quiet = {"progress": False, "seed": 0}
    Learner(model, opt, F.cross_entropy, halves, [callback, Far()], **quiet).fit(1)
    expected = 2 - 0.999**79  # the first step was added as it was
    assert callback.average.tensors["weight"][0, 0].item() == pytest.approx(expected, abs=1e-4)
    assert callback.teacher.weight.dtype == torch.bfloat16
    assert callback.teacher.weight[0, 0].item() == pytest.approx(expected, abs=4e-3)
    alone = torch.ones(1, dtype=torch.bfloat16)
    for _ in range(80):
        alone.lerp_(torch.full_like(alone, 2.0), 0.001)
    assert alone.item() == 1.0  # the control: it stands still
