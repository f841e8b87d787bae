"""Every part of a model gets back the mode that it had; dropout alone can be switched off."""

from torch import nn

from lehr.base.modes import keep_modes, switch_dropout_off


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


def test_dropout_of_every_kind_is_switched_off_and_nothing_else():
    dropouts = [nn.Dropout(), nn.Dropout1d(), nn.Dropout2d(), nn.AlphaDropout()]
    others = [nn.BatchNorm1d(2), nn.ReLU()]
    model = nn.Sequential(*others, nn.Sequential(*dropouts))
    switch_dropout_off(model)
    assert not any(module.training for module in dropouts)
    assert all(module.training for module in [model, *others])
