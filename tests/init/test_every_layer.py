import copy
import math

import pytest
import torch
from torch import nn

from lehr.init import HOW, drawn_layers, initialise, lecun_normal_, xavier_normal_


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def mixed():
    return nn.ModuleDict(
        {
            "embed": nn.Embedding(10, 8),
            "conv": nn.Conv2d(4, 64, 3, groups=2),
            "norm": nn.BatchNorm2d(64),
            "up": nn.ConvTranspose2d(64, 32, 4, stride=2),
            "attention": nn.MultiheadAttention(64, 4),
            "memory": nn.LSTM(8, 8),
            "head": nn.Linear(400, 100),
        }
    )


@pytest.mark.parametrize("how", [how for how in HOW if how != "delta_orthogonal"])
def test_it_draws_known_layers_and_leaves_the_rest(how):
    torch.manual_seed(0)
    model = mixed()
    before = copy.deepcopy(model.state_dict())
    drawn = initialise(model, how, generator=seeded())
    assert drawn == ("conv", "up", "attention", "attention.out_proj", "head")
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    biases = {"conv.bias", "up.bias", "head.bias"}  # attention's are zero from the start
    weights = {
        "conv.weight",
        "up.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "head.weight",
    }
    assert changed == biases | weights
    assert all(after[name].count_nonzero() == 0 for name in biases)


@pytest.mark.parametrize(
    ("how", "scale"),
    [
        ("kaiming", math.sqrt(2)),
        ("kaiming_uniform", math.sqrt(2)),
        ("lecun", 1.0),
        ("orthogonal", 1.0),
    ],
)
def test_each_layer_gets_the_deviation_of_its_own_fan_in(how, scale):
    model = mixed()
    initialise(model, how, generator=seeded())
    fan_in = {"conv": 2 * 9, "head": 400}
    if how != "orthogonal":  # its columns are orthonormal where it has more rows
        fan_in |= {"up": 64 * 16 // 4}
    for name, fan in fan_in.items():
        if how == "orthogonal" and name == "conv":  # two groups of 32 × 18: the columns are short
            fan = 32
        assert model[name].weight.std().item() == pytest.approx(scale / math.sqrt(fan), rel=0.05)


def test_query_key_and_value_are_three_matrices():
    model = nn.MultiheadAttention(64, 4)
    initialise(model, "orthogonal", generator=seeded())
    for matrix in model.in_proj_weight.detach().chunk(3):
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(64), atol=1e-5, rtol=0)
    whole = model.in_proj_weight.detach()
    assert not torch.allclose(whole.T @ whole, torch.eye(64), atol=1e-2)


def test_attention_with_other_keys_and_values():
    model = nn.MultiheadAttention(64, 4, kdim=400, vdim=100)
    assert initialise(model, "lecun", generator=seeded()) == ("", "out_proj")
    assert model.k_proj_weight.std().item() == pytest.approx(1 / 20, rel=0.05)
    assert model.v_proj_weight.std().item() == pytest.approx(1 / 10, rel=0.05)


def test_one_layer_is_drawn_as_by_hand():
    layer, by_hand = nn.Linear(30, 20), torch.empty(20, 30)
    for how, fill in (("xavier", xavier_normal_), ("lecun", lecun_normal_)):
        initialise(layer, how, generator=seeded(1))
        assert torch.equal(layer.weight, fill(by_hand, generator=seeded(1)))
        assert not torch.equal(layer.weight, fill(by_hand, generator=seeded(2)))


def test_gains_of_single_layers():
    model = nn.Sequential(nn.Linear(400, 400), nn.Tanh(), nn.Linear(400, 400))
    initialise(model, gain=3.0, gains={"2": 0.5}, generator=seeded())
    assert model[0].weight.std().item() == pytest.approx(3 / 20, rel=0.02)
    assert model[2].weight.std().item() == pytest.approx(0.5 / 20, rel=0.02)


def test_delta_orthogonal_for_convolutions_orthogonal_for_the_rest():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=4), nn.Linear(8, 4))
    initialise(model, "delta_orthogonal", generator=seeded())
    assert model[0].weight.count_nonzero() == 8 * 3
    assert model[1].weight.count_nonzero() == 8 * 2
    torch.testing.assert_close(model[2].weight @ model[2].weight.T, torch.eye(4))


def test_frozen_parameters_stay():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].weight.requires_grad_(False)
    model[1].bias.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    assert initialise(model) == ("1",)
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"1.weight"}


def test_tied_weights_are_drawn_once_and_an_embedding_s_not_at_all():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 5))
    model[2].weight, model[3].weight = model[1].weight, model[0].weight
    before = model[0].weight.clone()
    assert drawn_layers(model) == {"1": model[1]}
    assert initialise(model) == ("1",)
    assert torch.equal(model[3].weight, before)


def test_weights_computed_from_others_are_left_alone():
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    before = normed.weight.clone()
    assert initialise(nn.Sequential(normed, nn.Linear(3, 3))) == ("1",)
    assert torch.equal(normed.weight, before)


def test_wrong_arguments():
    model = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"known name; got 'kaimin'\. Did you mean kaiming\?"):
        initialise(model, "kaimin")
    with pytest.raises(ValueError, match=r"gains must name layers that are drawn; got '1'\. Use"):
        initialise(model, gains={"1": 1.0})
    with pytest.raises(ValueError, match=r"must have a layer to draw; got ReLU\. Give a model"):
        initialise(nn.ReLU())
    with pytest.raises(TypeError, match="gain must be a real number; got 'relu'"):
        initialise(model, gain="relu")
    with pytest.raises(
        ValueError, match=r"lazy parameter without one\. Call the model on one batch"
    ):
        initialise(nn.Sequential(nn.LazyLinear(3)))
