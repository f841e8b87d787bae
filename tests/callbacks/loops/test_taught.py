"""What distillation and an average as teacher have in common."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner
from lehr.callbacks import Accumulate, Distillation, EMATeacher, MixedPrecision
from lehr.callbacks.loops.taught import Taught
from lehr.testing import tiny_learner

TEACHERS = {"Distillation": lambda **kw: Distillation(net(5), **kw), "EMATeacher": EMATeacher}


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


@pytest.mark.parametrize("name", TEACHERS)
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_under_mixed_precision_both_outputs_are_compared_in_single_precision(name, dtype):
    seen = []

    def distance(student, teacher):
        seen.append((student.dtype, teacher.dtype))
        return F.mse_loss(student, teacher)

    scale = {"init_scale": 64.0} if dtype == "fp16" else {}
    teacher = TEACHERS[name](distance=distance)
    tiny_learner([teacher, MixedPrecision(dtype, **scale)], model=net()).fit(1)
    assert set(seen) == {(torch.float32, torch.float32)}


def test_two_teachers_are_recorded_apart():
    run = tiny_learner([Distillation(net(5)), EMATeacher()], model=net()).fit(1)
    apart = run.history["distance"], run.history["ema_distance"]
    assert [len(column) for column in apart] == [4, 4]
    assert all(a > b for a, b in zip(*apart, strict=True))  # the average is near, the other far


def tokens():
    """Three tokens an item, of which some do not count."""
    draw = torch.Generator().manual_seed(1)
    batches = []
    for count in (2, 9, 5, 12):
        mask = torch.zeros(12).bool()
        mask[:count] = True
        x = torch.randn(4, 3, 3, generator=draw, dtype=torch.float64)
        batches.append((x, ((x.sum(-1) > 0).long(), mask.reshape(4, 3))))
    return batches


def loss(pred, target):
    return F.cross_entropy(pred[target[1]], target[0][target[1]])


def learner(model, batches, *callbacks):
    opt = torch.optim.SGD(model.parameters(), lr=0.5)
    return Learner(
        model,
        opt,
        loss,
        DataBunch(batches),
        callbacks,
        weight=lambda run: run.yb[1].sum().item(),
        progress=False,
        seed=0,
    )


def masked(mask):
    """A mean over the tokens that count."""
    return lambda student, teacher: F.mse_loss(student[mask()], teacher[mask()])


def test_a_mean_over_what_the_weight_counts_is_that_of_the_one_big_batch():
    batches, ours, whole = tokens(), net().double(), net().double()
    x, y, mask = (
        torch.cat(parts) for parts in zip(*((x, y, mask) for x, (y, mask) in batches), strict=True)
    )
    now = []

    class Watched(Accumulate):
        def after_pred(self, run):
            now[:] = [run.yb[1]]

    teacher = net(5).double()
    distil = Distillation(teacher, distance=masked(lambda: now[0]))
    learner(ours, batches, distil, Watched(4)).fit(1)
    big = Distillation(teacher, distance=masked(lambda: mask))
    learner(whole, [(x, (y, mask))], big).fit(1)
    torch.testing.assert_close(ours[0].weight, whole[0].weight, rtol=0, atol=1e-12)
    other = net().double()
    learner(other, batches, Distillation(teacher, distance=F.mse_loss), Watched(4)).fit(1)
    assert (other[0].weight - whole[0].weight).abs().max() > 1e-4


@pytest.mark.parametrize("name", TEACHERS)
def test_a_mean_over_items_in_a_window_of_tokens_is_warned_of_once(name):
    def fit(*callbacks, distance=None):
        teacher = TEACHERS[name](distance=distance)
        if name == "Distillation":
            teacher.teacher.double()
        learner(net().double(), tokens(), teacher, *callbacks).fit(2)

    with pytest.warns(UserWarning, match="here 4, .* the Learner's weight, here 2: the") as seen:
        fit(Accumulate(2))
    assert len(seen) == 1
    fit()  # each batch is one big batch
    fit(Accumulate(2), distance=F.mse_loss)  # what it is a mean over is the user's to say


def test_the_half_alone_says_nothing():
    with pytest.raises(NotImplementedError):
        Taught().measured(1, 2)
    with pytest.raises(NotImplementedError):
        Taught().summed(1, torch.zeros(()))
