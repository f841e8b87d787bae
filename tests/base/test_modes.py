"""Every part of a model gets back the mode that it had."""

from torch import nn

from lehr.base.modes import keep_modes


def test_modes_come_back_one_by_one():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2).eval(), nn.ReLU()))
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    back = keep_modes(model)
    for whole in (True, False):
        model.train(whole)
        assert [module.training for module in model.modules()] != modes
        back()
        assert [module.training for module in model.modules()] == modes
