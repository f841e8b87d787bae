import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr import audit, init
from lehr.inspect.cures import CURES
from lehr.state.differences import first_difference
from lehr.state.entries import ModelState
from lehr.state.snapshot import capture


def conv4():
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 1, 3, 2, 1)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


def images():
    return torch.randn(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self, norm=False):
        super().__init__()
        self.norm = nn.LayerNorm(32) if norm else nn.Identity()
        self.a, self.b = nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x):
        return x + self.b(F.relu(self.a(self.norm(x))))


def residual(**kwargs):
    torch.manual_seed(0)
    model = nn.Sequential(*(Block(**kwargs) for _ in range(20)), nn.Linear(32, 10))
    init.initialise(model, "kaiming")
    return model


@pytest.mark.parametrize("how", [how for how in CURES if how not in ("fixup", "zero_last")])
def test_every_initialisation_is_a_cure(how):
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(9) for m in (nn.Linear(128, 128), nn.Tanh())))
    parameters = [id(p) for p in model.parameters()]
    after = audit(model, torch.randn(128, 128), repair=how, seed=1)
    assert not after.before.healthy
    assert after.healthy
    assert [id(p) for p in model.parameters()] == parameters
    assert audit(model, torch.randn(128, 128)).healthy  # the model itself, on other items


@pytest.mark.parametrize("how", ["fixup", "zero_last"])
def test_residual_stacks_have_cures_of_their_own(how):
    after = audit(residual(), torch.randn(128, 32), repair=how)
    assert after.before.problems[0].kind == "grows"
    assert after.healthy
    assert not audit(residual(), torch.randn(128, 32), repair="kaiming").healthy


def test_the_gain_is_that_of_the_activation_beside_the_layer():
    torch.manual_seed(0)
    layers = [nn.Linear(400, 400), nn.BatchNorm1d(400), nn.ReLU(), nn.Linear(400, 400)]
    layers += [nn.LeakyReLU(0.5), nn.Linear(400, 400), nn.Tanh(), nn.Linear(400, 400)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(400, 400))
    audit(model, torch.randn(32, 400), repair="kaiming")
    gains = [m.weight.std().item() * 20 for m in model if isinstance(m, nn.Linear)]
    expected = [init.gain(0), init.gain(0.5), *[init.gain_of("tanh")] * 2, 1.0]
    assert gains == pytest.approx(expected, rel=0.01)


def test_zeros_that_are_meant_stay():
    model = residual()
    init.fixup_([[block.a, block.b] for block in model[:-1]], model[-1])
    audit(model, torch.randn(64, 32), repair="orthogonal")
    assert not any(block.b.weight.any() for block in model[:-1])
    assert not model[-1].weight.any()
    assert model[0].a.weight.std() > 0.1
    plain = conv4()
    nn.init.zeros_(plain[2].weight)
    audit(plain, images(), repair="orthogonal")
    assert plain[2].weight.any()


@pytest.mark.parametrize(
    ("make", "how", "message"),
    [
        (conv4, "kaimin", "repair must be a known cure; got 'kaimin'. Did you mean kaiming?"),
        (conv4, 3, "repair must be a known cure; got 3. Use one of: kaiming, "),
        (conv4, "fixup", "repair 'fixup' needs branches that are added to what came into them"),
        (lambda: residual(norm=True), "fixup", "that of 0.b has one. Use repair='zero_last'."),
    ],
)
def test_a_cure_that_cannot_work_changes_nothing(make, how, message):
    model = make()
    batch = images() if isinstance(model[0], nn.Conv2d) else torch.randn(64, 32)
    before = capture({"model": ModelState(model)})
    with pytest.raises(ValueError, match=re.escape(message)):
        audit(model, batch, repair=how)
    assert first_difference(before, capture({"model": ModelState(model)})) is None


def test_the_same_seed_gives_the_same_cure():
    for how in ("kaiming", "lsuv", "orthogonal"):
        first, again, other = conv4(), conv4(), conv4()
        for model, seed in ((first, 1), (again, 1), (other, 2)):
            audit(model, images(), repair=how, seed=seed)
        same = capture({"m": first}), capture({"m": again})
        assert first_difference(*same) is None
        assert first_difference(same[0], capture({"m": other})) is not None
