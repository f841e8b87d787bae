"""A student learns from a teacher that stays as it is."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner
from lehr.callbacks import (
    SAM,
    Accumulate,
    Distillation,
    LabelSmoothing,
    LossWeights,
    MixedPrecision,
    MixUp,
    ParamScheduler,
)
from lehr.callbacks.loops.distillation import divergence
from lehr.schedules import sched_lin
from lehr.testing import tiny_learner


def net(width=4, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))


def master():
    """A larger one that is rather sure."""
    model = net(16, seed=5)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    return model


def batches(count=4):
    draw = torch.Generator().manual_seed(1)
    found = [torch.randn(6, 3, generator=draw) for _ in range(count)]
    return [(x, (x.sum(1) > 0).long()) for x in found]


def learner(model, *callbacks, **named):
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    named = {"loss_func": F.cross_entropy, **named}
    bunch = DataBunch(batches(), batches(2))
    return Learner(model, opt, data=bunch, callbacks=callbacks, progress=False, seed=0, **named)


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def by_hand(loss_of):
    model, teacher = net(), master().eval()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in batches():
        with torch.no_grad():
            target = teacher(x)
        loss_of(model(x), target, y).backward()
        opt.step()
        opt.zero_grad()
    return model


def hinton(weight, temperature):
    def loss(pred, target, y):
        soft = (target / temperature).softmax(1)
        cross = -(soft * (pred / temperature).log_softmax(1)).sum(1).mean()
        entropy = -(soft * soft.log()).sum(1).mean()
        return (1 - weight) * F.cross_entropy(pred, y) + weight * temperature**2 * (cross - entropy)

    return loss


@pytest.mark.parametrize(("weight", "temperature"), [(0.5, 2.0), (0.9, 4.0), (1.0, 1.0)])
def test_it_is_its_definition(weight, temperature):
    model = net()
    callback = Distillation(master(), weight=weight, temperature=temperature)
    learner(model, callback).fit(1)
    expected = by_hand(hinton(weight, temperature))
    for p, q in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    for wrong in (hinton(weight / 2, temperature), hinton(weight, temperature * 2)):
        other = by_hand(wrong)
        assert (model[0].weight - other[0].weight).abs().max() > 1e-4


def test_a_distance_of_ones_own():
    model = net()
    learner(model, Distillation(master(), weight=0.25, distance=F.mse_loss)).fit(1)
    expected = by_hand(lambda p, t, y: (1 - 0.25) * F.cross_entropy(p, y) + 0.25 * F.mse_loss(p, t))
    assert same(model, expected)
    assert not same(model, by_hand(lambda p, t, y: F.cross_entropy(p, y)))


def test_without_weight_it_changes_nothing():
    model, plain = net(), net()
    learner(model, Distillation(master(), weight=0.0)).fit(1)
    learner(plain).fit(1)
    assert same(model, plain)


def test_the_divergence_is_a_mean_over_items_and_positions():
    student, teacher = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    flat = [out.transpose(1, 2).flatten(0, 1) for out in (student, teacher)]
    ours = divergence(student, teacher, 2.0)
    torch.testing.assert_close(ours, divergence(*flat, 2.0))
    torchs = 4 * F.kl_div(
        (flat[0] / 2).log_softmax(1), (flat[1] / 2).softmax(1), reduction="batchmean"
    )
    torch.testing.assert_close(ours, torchs)
    assert not torch.isclose(divergence(teacher, student, 2.0), torchs)


def test_the_teacher_is_in_evaluation_mode_and_stays_as_it_is():
    class Watched(nn.Dropout):
        modes: list

        def forward(self, x):
            self.modes.append(self.training)
            return super().forward(x)

    teacher = nn.Sequential(nn.Linear(3, 2), Watched(0.5), nn.BatchNorm1d(2))
    teacher[1].modes = []
    teacher[2].eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    run = learner(net(), Distillation(teacher)).fit(1)
    assert teacher[1].modes == [False] * 4  # in training alone
    assert [part.training for part in teacher] == [True, True, False]
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())
    assert len(run.history["distance"]) == 4


def test_validation_is_left_alone():
    run = learner(net(), Distillation(master())).fit(1)
    assert learner(run.model).validate()["valid_loss"] == run.history["valid_loss"][-1]


def test_the_teacher_sees_what_the_student_sees():
    seen = []

    class Spy(nn.Linear):
        def forward(self, x):
            seen.append(x)
            return super().forward(x)

    model = net()
    model.register_forward_pre_hook(
        lambda module, args: seen.append(args[0]) if module.training else None
    )
    learner(model, Distillation(Spy(3, 2)), MixUp(1.0)).fit(1)
    assert len(seen) == 8
    for student, teacher in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(student, teacher)
    assert not torch.equal(seen[0], batches()[0][0])


TOGETHER = {
    "mixed items": lambda: [MixUp(), LabelSmoothing(0.1)],
    "SAM in windows": lambda: [SAM(0.1), Accumulate(2)],
    "half precision": lambda: [MixedPrecision("bf16")],
    "scaled losses": lambda: [MixedPrecision("fp16", init_scale=64.0)],
}


@pytest.mark.parametrize("name", TOGETHER)
def test_it_goes_together_with_other_techniques_in_any_order(name):
    models = [net() for _ in range(3)]
    learner(models[0], Distillation(master()), *TOGETHER[name]()).fit(1)
    learner(models[1], *TOGETHER[name]()[::-1], Distillation(master())).fit(1)
    learner(models[2], *TOGETHER[name]()).fit(1)
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_the_weights_of_parts_are_for_the_targets_alone():
    def parts(pred, yb):
        return {"fit": F.cross_entropy(pred, yb)}

    model, plain = net(), net()
    callbacks = Distillation(master(), weight=0.5, distance=F.mse_loss)
    learner(model, callbacks, LossWeights({"fit": 3.0}), loss_func=parts).fit(1)
    expected = by_hand(lambda p, t, y: 0.5 * (3 * F.cross_entropy(p, y)) + 0.5 * F.mse_loss(p, t))
    assert same(model, expected)
    assert not same(plain, expected)


def test_a_loss_that_is_a_sum_is_met_by_a_sum():
    model, other = net().double(), net().double()
    data = DataBunch([(x.double(), y) for x, y in batches()])
    teacher = master().double()
    summed = lambda pred, yb: F.cross_entropy(pred, yb, reduction="sum")  # noqa: E731
    opts = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, other)]
    sums = Learner(model, opts[0], summed, data, reduction="sum", progress=False, seed=0)
    means = Learner(other, opts[1], F.cross_entropy, data, progress=False, seed=0)
    for learn in (sums, means):
        learn.fit(1, callbacks=[Distillation(teacher)])
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    assert all(torch.allclose(p, q, rtol=0, atol=1e-12) for p, q in pairs)


def test_weight_and_temperature_can_be_scheduled():
    model, other, fixed = net(), net(), net()
    schedules = [
        ParamScheduler("callbacks.distillation.weight", sched_lin(0.9, 0.9)),
        ParamScheduler("callbacks.distillation.temperature", sched_lin(4.0, 4.0)),
    ]
    learner(model, Distillation(master()), *schedules).fit(1)
    learner(other, Distillation(master(), weight=0.9, temperature=4.0)).fit(1)
    learner(fixed, Distillation(master())).fit(1)
    assert same(model, other)
    assert not same(model, fixed)


def test_it_goes_on_exactly_after_a_stop():
    learn = learner(net(), Distillation(master()))
    assert learn.check_resume(epochs=2, batches=3).ok


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="teacher must be a module; got 3"):
        Distillation(3)
    with pytest.raises(ValueError, match="weight must be from 0 to 1; got 2"):
        Distillation(net(), weight=2)
    with pytest.raises(ValueError, match="temperature must be above 0; got 0"):
        Distillation(net(), temperature=0)
    with pytest.raises(TypeError, match=r"distance must be a function .* got 'mse'"):
        Distillation(net(), distance="mse")
    with pytest.raises(TypeError, match=r"tensors of one shape .* got \(6, 2\) .* and \(6, 5\)"):
        learner(net(), Distillation(nn.Linear(3, 5))).fit(1)
    model = net()
    for teacher in (model, nn.Sequential(model[0], nn.Linear(4, 2))):
        with pytest.raises(ValueError, match="teacher has parameters that this fit trains"):
            learner(model, Distillation(teacher)).fit(1)
    assert [part.training for part in model] == [True] * 3
    assert repr(Distillation(net())) == "Distillation(weight=0.5)"
    assert tiny_learner([Distillation(net())]).fit(1).n_steps == 4
