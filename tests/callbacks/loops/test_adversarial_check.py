"""What does not fit a generator and a critic is refused when a fit begins."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lehr.callbacks import EMA, GAN, LabelSmoothing
from lehr.testing import tiny_learner


def networks():
    return nn.ModuleDict({"generator": nn.Linear(2, 3), "critic": nn.Linear(3, 1)})


def learner(*callbacks, loss_func=GAN.wasserstein, model=None, opt=None):
    model = model or networks()
    opt = opt or {name: torch.optim.SGD(model[name].parameters(), lr=0.1) for name in model}
    return tiny_learner(callbacks, loss_func=loss_func, model=model, opt=opt)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="opt has no critic and no generator"):
        model = networks()
        learner(GAN(2), model=model, opt=torch.optim.SGD(model.parameters(), lr=0.1)).fit(1)
    with pytest.raises(ValueError, match="the model has no critic and no generator"):
        tiny_learner([GAN(2)]).fit(1)
    with pytest.raises(TypeError, match=r"loss_func gets \(on_fake, on_real\)"):
        learner(GAN(2), loss_func=F.mse_loss).fit(1)
    with pytest.raises(ValueError, match="GAN cannot be used together with LabelSmoothing: it ch"):
        learner(GAN(2), LabelSmoothing()).fit(1)
    assert learner(GAN(2), EMA(0.5)).fit(1).n_steps == 4
