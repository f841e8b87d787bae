"""Layers are found by name; without names, those that hold no others."""

import pytest
from torch import nn

from lehr.state.layers import layer_names, layers_of


class Wrapper(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module


def test_without_names_every_module_without_modules_inside_is_meant():
    model = nn.Sequential(nn.Sequential(nn.Linear(1, 1), nn.ReLU()), nn.Linear(1, 1))
    assert list(layers_of(model, None)) == ["0.0", "0.1", "1"]
    assert layers_of(model, ["0"]) == {"0": model[0]}


def test_a_model_that_is_one_layer_is_its_own():
    layer = nn.Linear(1, 1)
    assert layers_of(layer, None) == {"": layer}


def test_a_wrong_name_gets_a_hint():
    model = nn.ModuleDict({"head": nn.Linear(1, 1)})
    with pytest.raises(ValueError, match=r"'haed', which is no module of ModuleDict.*head"):
        layers_of(model, ["haed"])


def test_one_name_is_no_list():
    assert layer_names(None) is None
    assert layer_names(("a",)) == ["a"]
    with pytest.raises(TypeError, match=r"must be a list of names; got 'a'. Write \['a'\]"):
        layer_names("a")
