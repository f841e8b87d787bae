"""Parts of a model by name."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lehr.optim.parts import is_in, named, parameters_in, plain


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.body = nn.ModuleDict({"blocks": nn.ModuleList(nn.Linear(2, 2) for _ in range(11))})
        self.head = nn.Linear(2, 2)


def names_in(model, part):
    chosen = {id(p) for p in parameters_in(model, part)}
    return [name for name, p in model.named_parameters() if id(p) in chosen]


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("head", ["head.weight", "head.bias"]),
        ("head.bias", ["head.bias"]),
        ("scale", ["scale"]),
        ("body.blocks.1", ["body.blocks.1.weight", "body.blocks.1.bias"]),
        ("body.blocks.1*.bias", ["body.blocks.1.bias", "body.blocks.10.bias"]),
        (["scale", "head.bias"], ["scale", "head.bias"]),
    ],
)
def test_a_path_names_what_is_below_it(part, names):
    assert names_in(Deep(), part) == names


def test_modules_and_parameters_are_parts_too_and_so_are_lists_of_them():
    model = Deep()
    assert names_in(model, model.head) == ["head.weight", "head.bias"]
    assert names_in(model, [model.scale, [model.head.bias]]) == ["scale", "head.bias"]
    assert names_in(model, model.head.parameters()) == ["head.weight", "head.bias"]
    assert len(names_in(model, model)) == 25


def test_a_tied_parameter_has_all_of_its_names():
    model = Deep()
    model.head.weight = model.body["blocks"][0].weight
    assert named(model)[1].names == ["body.blocks.0.weight", "head.weight"]
    assert len(named(model)) == 24


def test_wrappers_and_parametrizations_are_seen_through():
    model = Deep()
    model.head = nn.DataParallel(weight_norm(model.head))
    names = [
        "head.module.bias",
        *(f"head.module.parametrizations.weight.original{i}" for i in (0, 1)),
    ]
    assert names_in(model, "head") == names
    assert names_in(model, "head.weight") == names[1:]
    assert names_in(model, model.head) == names_in(model, model.head.module) == names
    assert [n for _, (n, *_) in named(nn.DataParallel(model))][:1] == ["scale"]
    assert not is_in("headless.weight", "head")
    assert plain("a.parametrizations") == "a"


@pytest.mark.parametrize(
    ("part", "error", "text"),
    [
        ("haed", ValueError, r"no parameter of the model is in 'haed'. Did you mean head\?"),
        ("body.block", ValueError, r"is in 'body.block'. Did you mean body.blocks\?"),
        ("x", ValueError, "is in 'x'. Use one of: body, head, scale."),
        (nn.Linear(2, 2), ValueError, "a Linear is no part of the model. Use one of: body, head"),
        (nn.Parameter(torch.ones(3)), ValueError, r"a parameter of shape \(3,\) is none of the mo"),
        (7, TypeError, "a part of a model must be a path, a module or a parameter, .*; got 7."),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(part, error, text):
    with pytest.raises(error, match=text):
        parameters_in(Deep(), part)


def test_a_module_without_parameters_is_refused():
    model = nn.Sequential(nn.ReLU(), nn.Linear(1, 1))
    with pytest.raises(ValueError, match="a ReLU has no parameters"):
        parameters_in(model, model[0])
