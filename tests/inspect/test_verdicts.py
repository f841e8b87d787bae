"""One broken model a verdict, and the same model whole as its control."""

import math

import pytest
import torch
from torch import nn

from lehr import init
from lehr.inspect.measure import measure
from lehr.inspect.verdicts import judge


def net(act=nn.ReLU, width=64, depth=3, norm=None):
    torch.manual_seed(0)
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), *([norm(width)] if norm else []), act()]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    init.initialise(model, "kaiming")
    return model


def batch(width=64):
    return torch.randn(128, width, generator=torch.Generator().manual_seed(1))


def findings(model, xb=None):
    return {f.kind: f for f in judge(measure(model, batch() if xb is None else xb))}


def test_a_sound_model_has_no_findings():
    assert findings(net()) == {}
    assert findings(net(norm=nn.BatchNorm1d)) == {}


def test_zero_weights_in_the_middle_are_a_problem():
    model = net()
    nn.init.zeros_(model[2].weight)
    finding = findings(model)["zero_weights"]
    assert (finding.severity, finding.layers) == ("problem", ("2",))
    assert finding.text.startswith("all 4096 weights of 2 are zero: nothing passes")


def test_zero_weights_of_a_head_are_a_note():
    model = net()
    nn.init.zeros_(model[-1].weight)
    everything = findings(model)
    assert {kind: f.severity for kind, f in everything.items()} == {"zero_weights": "note"}
    assert "at the head: what leads to it" in everything["zero_weights"].text


def test_copies():
    model = net()
    with torch.no_grad():
        model[2].weight[10:20] = model[2].weight[3]
    finding = findings(model)["copies"]
    assert finding.evidence == {"copies": 10, "units": 64}
    assert finding.text.startswith("10 of the 64 units of 2 have exactly the weights of another")


def test_dead_units():
    model = net()
    nn.init.constant_(model[0].bias, -50)
    finding = findings(model)["dead"]
    assert finding.layers[0] == "1"
    assert finding.evidence["dead"] == 1
    assert "100% of the units of 1 (relu) are zero for every item" in finding.text


def test_saturation():
    model = net(nn.Tanh)
    assert "saturated" not in findings(model)
    with torch.no_grad():
        model[2].weight.mul_(20)
    finding = findings(model)["saturated"]
    assert finding.layers == ("3",)
    assert finding.evidence["saturated"] > 0.8
    assert "% of what 3 (tanh) gives is at its limits" in finding.text


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm])
def test_a_normalisation_fed_constants(norm):
    model = net(norm=norm)
    nn.init.zeros_(model[3].weight)
    nn.init.zeros_(model[3].bias)
    assert findings(model)["constant_into_norm"].layers[0] == "4"


def test_large_inputs():
    finding = findings(net(), 255 * torch.rand(64, 64))["inputs"]
    assert finding.text.startswith("the inputs are large: a mean of 12")
    assert "inputs" not in findings(net(), torch.rand(64, 64))
    assert "inputs" not in findings(
        nn.Sequential(nn.BatchNorm1d(64), net()), 255 * torch.rand(64, 64)
    )


def test_items_that_are_alike_from_the_start():
    finding = findings(net(), torch.ones(64, 64))["inputs"]
    assert finding.text.startswith("all items of the batch are the same")


def test_items_that_become_alike():
    model = net(norm=nn.LayerNorm)
    nn.init.normal_(model[3].bias, std=500)
    finding = findings(model)["alike"]
    assert finding.layers[0] == "3"
    assert "gives nearly the same for every item" in finding.text


def test_what_is_not_finite_hides_everything_else():
    model = net()
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
        model[4].weight.zero_()
    (finding,) = findings(model).values()
    assert (finding.kind, finding.layers) == ("not_finite", ("2",))


def test_a_gradient_that_is_not_finite():
    class Root(nn.Module):
        def forward(self, x):
            return (x - x.detach()).sqrt()  # 0, with an infinite slope

    (finding,) = findings(nn.Sequential(net(), Root())).values()
    assert finding.text.startswith("the gradient that comes back to 0.6 is")
    assert "though the forward pass is" in finding.text


def test_problems_come_before_notes():
    model = net()
    nn.init.zeros_(model[-1].weight)
    nn.init.ones_(model[2].weight)
    severities = [f.severity for f in judge(measure(model, batch()))]
    assert severities == sorted(severities, key=["problem", "note"].index)
    assert set(severities) == {"problem", "note"}
