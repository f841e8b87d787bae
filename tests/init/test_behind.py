"""Where the next layer reads what a layer puts out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr.init.behind import RECTIFIERS, THROUGH_ZERO, Reader
from lehr.models import GeneralReLU

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


def reader(model, layer=0):
    return Reader(model[layer], model, lambda: model(X))


@pytest.mark.parametrize(
    "act", [nn.ReLU(), nn.ReLU(inplace=True), nn.GELU(), GeneralReLU(0.1, 0.4)]
)
def test_it_is_what_the_rectifier_makes_of_the_output(act):
    model = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4))
    read = reader(model)
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(read.read(), model[:2](X))
        assert not torch.equal(read.read(), model[:1](X))
        assert read.centre == pytest.approx(model[0](X).mean().item())
    assert read.behind is True
    assert read.shifting is (act if isinstance(act, GeneralReLU) else None)


@pytest.mark.parametrize("act", [nn.Tanh(), nn.Sigmoid(), nn.Dropout(0.0), nn.Identity()])
def test_elsewhere_it_is_the_output_itself(act):
    model = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4))
    read = reader(model)
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(read.read(), model[0](X))
    assert read.behind is False


def test_only_the_very_output_of_the_first_call_counts():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return F.relu(self.layer(self.layer(x)))  # the second call's

    model = Twice()
    read = Reader(model.layer, model, lambda: model(X))
    with torch.no_grad():
        assert torch.equal(read.read(), model.layer(X))
    assert read.behind is False


def test_no_hook_and_no_mode_stays():
    model = nn.Sequential(nn.Linear(4, 4), GeneralReLU())
    reader(model).read()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model)

    class Broken(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError

    broken = nn.Sequential(nn.Linear(4, 4), Broken())
    with pytest.raises(ZeroDivisionError):
        reader(broken).read()
    assert not broken[0]._forward_hooks
    assert torch.overrides._len_torch_function_stack() == 0


@pytest.mark.parametrize("name", sorted(RECTIFIERS))
def test_every_rectifier_grows_with_what_it_is_given(name):
    """Ten times the input spreads more than five times as far; behind tanh it does not."""
    function = getattr(F, name, None) or (lambda x: x.clamp_min(0))
    more = {"prelu": (torch.tensor(0.25),), "threshold": (0.0, 0.0)}.get(name, ())
    z = torch.linspace(-3, 3, 100)
    if name == "relu6":
        z = z / 10  # it has a ceiling, far above 1
    assert function(10 * z, *more).std() > 5 * function(z, *more).std()
    assert torch.tanh(10 * z).std() < 5 * torch.tanh(z).std()


class Acts(nn.Module):
    """A layer and a function behind it."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(4, 4), function

    def forward(self, x):
        return self.function(self.layer(x))


@pytest.mark.parametrize("name", sorted(RECTIFIERS))
def test_which_rectifiers_are_zero_at_zero(name):
    """Softplus is not, and a clamp need not be."""
    more = {"prelu": (torch.tensor(0.25),), "clamp_min": (2,)}.get(name, ())
    plain = getattr(F, name, None) or getattr(torch.Tensor, name)
    model = Acts(lambda x: plain(x, *more))
    read = Reader(model.layer, model, lambda: model(X))
    assert read.through_zero is False  # nothing was read yet
    read.read()
    assert read.behind is True
    assert read.through_zero is (model.function(torch.zeros(3)) == 0).all().item()
    assert read.through_zero is (name in THROUGH_ZERO)
