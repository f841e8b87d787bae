"""Callbacks that cannot be attached together say so when a fit begins."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lehr import Callback
from lehr.callbacks import (
    GAN,
    SAM,
    Accumulate,
    Closure,
    CutMix,
    Distillation,
    EMATeacher,
    LabelSmoothing,
    MicroBatches,
    MixUp,
    TruncatedBPTT,
)
from lehr.loop.beside import refuse_beside
from lehr.testing import tiny_learner


def adversarial(*callbacks):
    model = nn.ModuleDict({"generator": nn.Linear(2, 3), "critic": nn.Linear(3, 1)})
    opt = {name: torch.optim.SGD(model[name].parameters(), 0.1) for name in model}
    return tiny_learner(callbacks, model=model, opt=opt, loss_func=GAN.wasserstein)


REFUSED = {
    "SAM and a closure": (SAM, Closure, "the one that SAM found nearby would be lost"),
    "GAN and MixUp": (lambda: GAN(2), MixUp, "it changes targets, and the critic has none"),
    "GAN and CutMix": (lambda: GAN(2), CutMix, "it changes targets"),
    "GAN and smooth labels": (lambda: GAN(2), LabelSmoothing, "it changes targets"),
    "GAN and a teacher": (
        lambda: GAN(2),
        lambda: Distillation(nn.Linear(3, 2)),
        "a teacher is called as the model is",
    ),
    "GAN and its average": (lambda: GAN(2), EMATeacher, "a teacher is called as the model is"),
    "GAN in pieces": (lambda: GAN(2), MicroBatches, "GAN calls the model's two parts"),
    "a state in pieces": (TruncatedBPTT, MicroBatches, "does not know how to cut the state"),
    "a state and a teacher": (
        TruncatedBPTT,
        lambda: Distillation(nn.Linear(3, 2)),
        "would need a state of its own",
    ),
    "a state and its average": (TruncatedBPTT, EMATeacher, "would need a state of its own"),
    "a state and MixUp": (TruncatedBPTT, MixUp, "a mixed row is made of two"),
    "a state and CutMix": (TruncatedBPTT, CutMix, "a mixed row is made of two"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_have_no_effect_or_a_wrong_one_is_refused_in_any_order(name):
    make, other, why = REFUSED[name]
    learner = adversarial if "GAN" in name else lambda *callbacks: tiny_learner(callbacks)
    words = f"{type(make()).__name__} cannot be used together with {type(other()).__name__}: .*"
    for callbacks in ([make(), other()], [other(), make()]):
        learn = learner(*callbacks)
        before = [p.detach().clone() for p in learn.model.parameters()]
        with pytest.raises(ValueError, match=words + why):
            learn.fit(1)
        assert all(map(torch.equal, before, learn.model.parameters()))


def test_a_subclass_is_refused_as_its_parent_is():
    class Mine(Closure):
        state = ()

    with pytest.raises(ValueError, match="SAM cannot be used together with Mine"):
        tiny_learner([Mine(), SAM()]).fit(1)


def test_others_may_stand_beside():
    assert tiny_learner([SAM(), Accumulate(2), LabelSmoothing()]).fit(1).n_steps == 2
    assert adversarial(GAN(2), Accumulate(2)).fit(1).n_steps == 2

    class Alone(Callback):
        state = ()

        def begin_fit(self, run):
            refuse_beside(run, self, (MixUp, CutMix), "it wants to be alone.")

    tiny_learner([Alone(), SAM()], loss_func=F.cross_entropy).fit(1)
    with pytest.raises(ValueError, match="Alone cannot be used together with MixUp: it wants"):
        tiny_learner([Alone(), MixUp()]).fit(1)
