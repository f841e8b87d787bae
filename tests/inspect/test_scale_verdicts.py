import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr import init
from lehr.inspect.measure import measure
from lehr.inspect.verdicts import judge


def findings(model, batch):
    return {f.kind: f for f in judge(measure(model, batch))}


def stack(depth, how=None, gain=None, act=nn.ReLU, width=128):
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), act())]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    if how is not None:
        init.initialise(model, how, gain=gain)
    return model


def batch(width=128):
    return torch.randn(128, width, generator=torch.Generator().manual_seed(1))


def test_torchs_default_is_recognised_and_its_factor_told():
    everything = findings(stack(8), batch())
    finding = everything["shrinks"]
    assert finding.evidence["per_layer"] == pytest.approx(0.41, abs=0.03)  # 1/√6
    assert finding.evidence["sqrt5_layers"] == 9
    assert "a = √5" in finding.text
    assert "rest is the same for all" in finding.text  # the bias is the floor
    assert "large_weights" not in everything


def test_a_like_gain_from_elsewhere_is_not_called_the_default():
    finding = findings(stack(8, "lecun", gain=0.577), batch())["shrinks"]
    assert finding.evidence["per_layer"] == pytest.approx(0.41, abs=0.03)
    assert "sqrt5_layers" not in finding.evidence
    assert "√5" not in finding.text


def test_xavier_is_no_problem_at_three_layers_and_one_at_thirty():
    assert findings(stack(3, "xavier"), batch()) == {}
    deep = findings(stack(30, "xavier"), batch())
    assert deep["shrinks"].evidence["per_layer"] == pytest.approx(0.5**0.5, abs=0.05)
    assert deep["gradient_vanishes"].evidence["ratio"] < 1e-3
    assert findings(stack(30, "kaiming", width=256), batch(256)) == {}


def test_weights_that_are_too_large_grow_the_signal():
    everything = findings(stack(4, "kaiming", gain=10), batch())
    assert everything["grows"].evidence["signal"] > 1e3
    assert everything["large_weights"].layers == ("0", "2", "4", "6")
    assert "The same in 2, 4, 6." in everything["large_weights"].text


@pytest.mark.parametrize(
    ("factor", "kind", "steps"), [(10, "large", "short"), (0.1, "small", "long")]
)
def test_a_normalisation_hides_a_wrong_scale_but_not_from_the_audit(factor, kind, steps):
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3)),
        *(nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16, 10)),
    )
    images = torch.randn(64, 3, 8, 8)
    assert findings(model, images) == {}
    with torch.no_grad():
        model[3].weight.mul_(factor)
    finding = findings(model, images)[f"{kind}_weights"]
    assert finding.layers == ("3",)
    assert f"hides that, but its steps are too {steps}" in finding.text


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.b(F.relu(self.a(x)))


def residual(blocks, width=64):
    torch.manual_seed(0)
    model = nn.Sequential(*(Block(width) for _ in range(blocks)), nn.Linear(width, 10))
    init.initialise(model, "kaiming")
    return model


def test_an_exploding_residual_stack_is_told_from_large_weights():
    everything = findings(residual(12), batch(64))
    assert "Every block adds to what it was given" in everything["grows"].text
    assert "large_weights" not in everything
    model = residual(12)
    init.zero_last_([[block.a, block.b] for block in model[:-1]])
    assert {f.severity for f in findings(model, batch(64)).values()} == {"note"}


def test_small_weights_inside_a_branch_that_begins_at_zero_are_meant_so():
    model = residual(100)
    init.fixup_([[block.a, block.b] for block in model[:-1]], model[-1])
    everything = findings(model, batch(64))
    assert set(everything) == {"zero_weights"}
    assert everything["zero_weights"].severity == "note"
    plain = stack(2, "kaiming", gain=0.1)
    assert "small_weights" in findings(plain, batch())


def test_sigmoids_are_told_what_no_initialisation_cures():
    finding = findings(stack(4, "xavier", act=nn.Sigmoid), batch())["shrinks"]
    assert "The slope of a sigmoid is 1/4 at most" in finding.text


def test_a_gradient_that_is_cut_off():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.after = nn.Linear(128, 128), nn.Linear(128, 10)

        def forward(self, x):
            return self.after(self.before(x).detach())

    torch.manual_seed(0)
    finding = findings(Cut(), batch())["no_gradient"]
    assert finding.layers == ("before",)
    frozen = Cut()
    frozen.before.requires_grad_(False)
    assert "no_gradient" not in findings(frozen, batch())


def test_layers_without_a_part_in_the_pass_are_noted():
    model = stack(2, "kaiming")
    model[0].spare = nn.Linear(3, 3)
    finding = findings(model, batch())["unused"]
    assert (finding.severity, finding.layers) == ("note", ("0.spare.weight",))
