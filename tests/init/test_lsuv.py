import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from lehr.data import digits
from lehr.init import LSUVLayer, lsuv
from lehr.init.layer_calls import in_training_mode
from lehr.models import GeneralReLU


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def mlp(activation=nn.ReLU, depth=20, width=128):
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers[:-1])


def outputs(model, batch):
    """Standard deviation and mean of every linear layer's output, by running the model plainly."""
    found = {}
    hooks = [
        m.register_forward_hook(lambda m, _, out, n=n: found.update({n: (out.std(), out.mean())}))
        for n, m in model.named_modules()
        if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))
    ]
    with torch.no_grad():
        model(batch)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(("activation", "behind"), [(nn.ReLU, False), (nn.Tanh, True)])
def test_every_layer_gets_unit_variance(activation, behind):
    """After lsuv(model, batch) the output of every one of 20 layers, before its activation, has
    mean 0 and deviation 1 on that batch, whatever the weights were; before, it had not. That is so
    where the activation saturates, or nothing is to be measured behind it."""
    model, batch = mlp(activation), torch.randn(512, 128, generator=seeded())
    before = [std.item() for std, _ in outputs(model, batch).values()]
    assert min(before) < 0.3
    report = lsuv(model, batch, behind=behind, generator=seeded())
    for std, mean in outputs(model, batch).values():
        assert (std.item(), mean.item()) == pytest.approx((1, 0), abs=0.01)
    assert not any(layer.behind for layer in report)
    assert [layer.name for layer in report] == [str(i) for i in range(0, 39, 2)]
    assert all(layer.converged for layer in report)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_one_rescaling_per_layer_is_enough(activation):
    """With orthonormal weights to start from and the paper's tolerance of 0.1, the first layer of a
    network 20 layers deep needs no rescaling and every other exactly one."""
    batch = torch.randn(512, 128, generator=seeded())
    report = lsuv(mlp(activation), batch, tol=0.1, mean=False, behind=False, generator=seeded())
    assert [layer.passes for layer in report] == [0] + [1] * 19
    assert all(layer.std == pytest.approx(1, abs=1e-3) for layer in report[1:])


def test_the_start_does_not_matter():
    """LSUV looks at nothing but what the batch does: started from weights a hundred times too small
    or too large, it ends at the same weights."""
    batch = torch.randn(512, 128, generator=seeded())
    ends = []
    for factor in (1.0, 0.01, 100.0):
        torch.manual_seed(0)
        model = mlp()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(factor if parameter.ndim > 1 else 0)
        starts = [p.clone() for p in model.parameters()]
        report = lsuv(model, batch, orthogonal=False)
        assert all(layer.converged and layer.passes <= 3 for layer in report)
        ends.append([p.detach() for p in model.parameters()])
        assert not torch.allclose(starts[0], ends[-1][0])
    for other in ends[1:]:
        for a, b in zip(ends[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_variance_behind_a_saturating_activation_is_out_of_reach():
    """Behind a tanh the layer's own output is measured. A layer whose answer has been through tanh
    can never reach variance 1: lsuv stops after its limit of passes and says so."""

    class LinearTanh(nn.Linear):
        def forward(self, x):
            return super().forward(x).tanh()

    batch = torch.randn(512, 64, generator=seeded())
    (after,) = lsuv(LinearTanh(64, 64), batch, mean=False, max_passes=10)
    assert not after.converged
    assert (after.passes, after.std < 0.99) == (10, True)
    assert after.problem == "not within 0.01 of 1 (mean: of 0)"
    (before,) = lsuv(nn.Linear(64, 64), batch, mean=False)
    assert before.converged
    last = lsuv(nn.Sequential(nn.Linear(64, 64), nn.Tanh()), batch, mean=False)[0]
    assert (last.converged, last.behind) == (True, False)


def test_another_batch_differs_by_its_own_noise():
    """The deviation on data that lsuv has not seen is 1 only to within the sampling noise of both
    batches: a few percent here, so no tolerance below that means anything beyond the batch."""
    model = mlp(depth=10)
    batch = torch.randn(512, 128, generator=seeded(1))
    lsuv(model, batch, tol=1e-3, behind=False, generator=seeded())
    other = outputs(model, torch.randn(512, 128, generator=seeded(2))).values()
    errors = [abs(std.item() - 1) for std, _ in other]
    assert 1e-3 < max(errors) < 0.1


@pytest.mark.parametrize("bias", [True, False])
def test_the_mean_is_shifted_where_there_is_a_bias(bias):
    model = nn.Sequential(nn.Linear(8, 16, bias=bias), nn.ReLU(), nn.Linear(16, 16, bias=bias))
    batch = torch.randn(256, 8, generator=seeded()) + 1
    report = lsuv(model, batch, generator=seeded())
    assert all(layer.converged for layer in report)
    assert (abs(report[1].mean) < 0.01) is bias
    kept = lsuv(model, batch, mean=False, generator=seeded())
    assert abs(kept[1].mean) > 0.01


def test_random_biases_take_one_pass_too():
    torch.manual_seed(0)
    model = nn.Linear(8, 16)
    nn.init.normal_(model.bias, std=5.0)
    (layer,) = lsuv(model, torch.randn(256, 8), orthogonal=False)
    assert (layer.passes, layer.converged) == (1, True)


def test_convolutions_transposed_and_grouped():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 4, 4, stride=2),
        nn.Flatten(),
        nn.LazyLinear(10),
    )
    batch = torch.randn(64, 3, 17, 17, generator=seeded())
    model(batch)
    report = lsuv(model, batch, behind=False, generator=seeded())
    assert [layer.name for layer in report] == ["0", "2", "4", "6"]
    assert all(layer.converged for layer in report)
    assert all(abs(std.item() - 1) < 0.01 for std, _ in outputs(model, batch).values())


class Reversed(nn.Module):
    """Its layers are called in another order than they are listed, one of them twice."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(8, 8)
        self.twice = nn.Linear(8, 8)
        self.unused = nn.Linear(8, 8)

    def forward(self, x, scale=1.0):
        return self.last(self.twice(self.twice(x).relu()).relu()) * scale


@pytest.mark.parametrize("as_batch", [lambda x: x, lambda x: (x, 3.0), lambda x: {"x": x}])
def test_layers_come_in_the_order_of_their_calls(as_batch):
    torch.manual_seed(0)
    report = lsuv(Reversed(), as_batch(torch.randn(256, 8)), generator=seeded())
    assert [layer.name for layer in report] == ["twice", "last", "unused"]
    assert [layer.converged for layer in report] == [True, True, False]
    assert report[2].problem == "it was not called, or did not answer with a tensor"
    assert math.isnan(report[2].std)


def test_a_forward_of_one_s_own():
    model, x = nn.Linear(8, 8), torch.randn(256, 8)
    (layer,) = lsuv(model, (x, "targets"), forward=lambda m, batch: m(10 * batch[0]))
    assert layer.converged
    with torch.no_grad():
        assert model(10 * x).std().item() == pytest.approx(1, abs=0.01)


def test_shared_weights_are_scaled_once():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    model[2].weight = model[0].weight
    report = lsuv(model, torch.randn(256, 8, generator=seeded()), generator=seeded())
    assert report[0].converged
    assert report[1].problem == "its weight is that of 0"
    matrix = model[0].weight.detach()
    orthogonal = matrix @ matrix.T / (matrix @ matrix.T)[0, 0]
    torch.testing.assert_close(orthogonal, torch.eye(8), atol=1e-5, rtol=0)


def test_an_embedding_s_weight_stays():
    model = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 8), nn.Linear(8, 5, bias=False))
    model[2].weight = model[0].weight
    before = model[0].weight.clone()
    report = lsuv(model, torch.arange(5))
    assert [(layer.name, layer.problem) for layer in report] == [
        ("1", ""),
        ("2", "its weight is that of 0"),
    ]
    assert torch.equal(model[0].weight, before)


def test_frozen_parameters_stay():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    model[0].requires_grad_(False)
    model[1].bias.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    report = lsuv(model, torch.randn(256, 8, generator=seeded()), generator=seeded())
    assert [layer.problem for layer in report] == ["its weight is frozen", "", ""]
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"1.weight", "2.weight", "2.bias"}


def test_layers_that_cannot_be_scaled():
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8))
    nn.init.zeros_(model[0].weight)
    report = lsuv(model, torch.randn(64, 8), orthogonal=False)
    assert report[0].problem == "its output does not vary"
    (layer,) = lsuv(nn.Linear(8, 8), torch.full((64, 8), math.inf))
    assert layer.problem == "its output is not finite"


def test_which_modules_are_layers():
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm((4, 8)), nn.Conv1d(4, 4, 1))
    batch = torch.randn(16, 4, 8, generator=seeded())

    def names(**kwargs):
        return [layer.name for layer in lsuv(model, batch, **kwargs)]

    assert names() == ["0", "2"]
    assert names(kinds=nn.Conv1d) == names(kinds=(nn.Conv1d, nn.Conv2d)) == ["2"]
    assert names(kinds=lambda m: m is model[0]) == ["0"]


class Scaling(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        return x @ self.weight


def test_a_layer_of_one_s_own_counts():
    (layer,) = lsuv(Scaling(), torch.randn(64, 4))
    assert layer.converged


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype):
    model = mlp(depth=3, width=32).to(dtype)
    report = lsuv(model, torch.randn(256, 32, dtype=dtype))
    assert all(layer.converged for layer in report)
    assert {p.dtype for p in model.parameters()} == {dtype}


@pytest.mark.parametrize("training", [True, False])
def test_it_leaves_nothing_behind(training):
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 8))
    model.train(training)
    buffers = [b.clone() for b in model.buffers()]
    state = torch.get_rng_state()
    report = lsuv(model, torch.randn(64, 8, generator=seeded()), generator=seeded())
    assert all(layer.converged for layer in report)
    assert all(m.training is training for m in model.modules())
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    with in_training_mode(model):  # the control: a plain run does touch the random state
        model(torch.randn(64, 8))
    assert not torch.equal(torch.get_rng_state(), state)


def test_it_leaves_nothing_behind_after_an_error():
    class Broken(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError

    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), Broken()).eval()
    with pytest.raises(ZeroDivisionError):
        lsuv(model, torch.randn(64, 8))
    assert not any(m.training or m._forward_hooks for m in model.modules())
    assert model[1].num_batches_tracked == 0


def test_dropout_draws_the_same_numbers_in_every_pass():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.9), nn.Linear(8, 4))
    (layer,) = lsuv(model, torch.randn(16, 8), tol=1e-4)
    assert (layer.passes, layer.converged) == (1, True)


def test_wrong_arguments():
    model, batch = nn.Linear(2, 2), torch.ones(3, 2)
    with pytest.raises(ValueError, match=r"tol must be positive; got 0\.0\. Give e\.g\. tol=0\.01"):
        lsuv(model, batch, tol=0)
    with pytest.raises(TypeError, match="tol must be a real number"):
        lsuv(model, batch, tol="0.1")
    with pytest.raises(ValueError, match="max_passes must be at least 1; got 0"):
        lsuv(model, batch, max_passes=0)
    with pytest.raises(ValueError, match=r"must have a layer to scale; got ReLU\. Give kinds"):
        lsuv(nn.ReLU(), batch)
    with pytest.raises(ValueError, match=r"lazy parameter without one\. Call the model on one"):
        lsuv(nn.LazyLinear(2), batch)
    with pytest.raises(ValueError, match=r"at least 2 dimensions; got shape \(2,\)"):
        lsuv(nn.BatchNorm1d(2), batch, kinds=nn.BatchNorm1d)


def test_the_report_is_a_value():
    assert LSUVLayer("0", 1, 0.0, 1.0) == LSUVLayer("0", 1, 0.0, 1.0)
    assert not LSUVLayer("0", 1, 0.0, 2.0, "some problem").converged


@pytest.mark.slow
def test_lsuv_trains_where_the_default_start_does_not():
    """A plain ReLU network of 15 layers on 512 handwritten digits, 100 steps of gradient descent:
    started by lsuv its loss falls below 0.1, while with PyTorch's default start it stays at that of
    a guess, 2.30."""
    x, y = digits().train_ds[:512]
    x = x.flatten(1)
    losses = []
    for start in (lsuv, lambda model, batch: None):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), *mlp(depth=13), nn.ReLU())
        model.append(nn.Linear(128, 10))
        start(model, x)
        opt = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(100):
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
        losses.append(loss.item())
    assert losses[0] < 0.1, losses
    assert losses[1] == pytest.approx(math.log(10), abs=0.02), losses


# ---- behind activations


class Functional(nn.Module):
    """The same net as with modules, its rectifier called as a function."""

    def __init__(self, act=F.relu):
        super().__init__()
        self.act = act
        self.first, self.last = nn.Linear(8, 64), nn.Linear(64, 64)

    def forward(self, x):
        return self.last(self.act(self.first(x)))


def of_modules(act):
    net = nn.Sequential(nn.Linear(8, 64), act, nn.Linear(64, 64))
    return nn.Sequential(*net)


@pytest.mark.parametrize(
    "make",
    [
        lambda: of_modules(nn.ReLU()),
        lambda: of_modules(nn.ReLU(inplace=True)),
        lambda: of_modules(nn.GELU()),
        lambda: of_modules(nn.PReLU()),
        Functional,
        lambda: Functional(torch.Tensor.relu_),
        lambda: Functional(lambda x: x.clamp(-5).relu() if x.shape[1] == 0 else F.leaky_relu(x)),
    ],
)
def test_behind_a_rectifier_is_where_the_next_layer_reads(make):
    """Modules and functions, in place or not: what comes out of the rectifier has a root mean
    square of 1, the layer's own output mean 0; the last layer, which has none, has mean 0 and
    deviation 1 itself."""
    torch.manual_seed(0)
    model, x = make(), torch.randn(512, 8) * 3 + 1
    first, last = lsuv(model, x, tol=1e-3, max_passes=30, generator=seeded())
    assert first.converged, first
    assert (first.behind, last.behind, last.converged) == (True, False, True)
    read = []
    hook = [m for m in model.modules() if isinstance(m, nn.Linear)][1].register_forward_pre_hook(
        lambda module, args: read.append(args[0])
    )
    with torch.no_grad():
        model(x)
    hook.remove()
    assert read[0].square().mean().sqrt().item() == pytest.approx(1, abs=2e-3)
    assert first.rms == pytest.approx(1, abs=2e-3)
    assert (read[0].mean().item(), read[0].std(correction=0).item()) == pytest.approx(
        (first.mean, first.std), abs=2e-3
    )
    assert first.std < 0.95  # the control: the deviation alone is another size
    own = next(m for m in model.modules() if isinstance(m, nn.Linear))(x)
    assert own.mean().abs() < 2e-3
    paper = lsuv(make(), x, behind=False, generator=seeded())
    assert not paper[0].behind


@pytest.mark.parametrize("act", [nn.Softplus(beta=0.1), nn.Sequential(nn.Softplus(0.1))])
def test_behind_what_is_not_zero_at_zero_the_deviation_counts(act):
    """A softplus of beta 0.1 is nowhere near 0: its root mean square is 7 at least, so no weight
    could bring it to 1, and dividing by it would go on for ever. Its deviation can be 1."""
    torch.manual_seed(0)
    model, x = of_modules(act), torch.randn(512, 8)
    first, _ = lsuv(model, x, max_passes=30, generator=seeded())
    assert first.converged, first
    assert first.behind
    assert first.std == pytest.approx(1, abs=0.01)
    assert first.rms > 5


def test_a_plain_rectifier_keeps_the_signal_as_kaiming_s_gain_does():
    """Kaiming's condition, ½ · n · Var(w) = 1, is what comes out for inputs of unit size, but for
    the chance of one draw. With a deviation of 1 it would be 2.9 in the first layer."""
    torch.manual_seed(0)
    model = mlp(depth=6, width=256)
    lsuv(model, torch.randn(1024, 256), mean=False, orthogonal=False)
    powers = [256 * layer.weight.var().item() for layer in model[:-1] if hasattr(layer, "weight")]
    assert powers[0] == pytest.approx(2, rel=0.05)
    assert powers == pytest.approx([2] * 5, rel=0.3)


def test_what_stands_between_keeps_the_rectifier_from_counting():
    """With a normalisation or a sum between them, the layer's own output is measured."""
    x = torch.randn(64, 8)
    report = lsuv(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU()), x)
    assert (report[0].behind, report[0].converged) == (False, True)
    assert lsuv(Functional(lambda h: F.relu(h + 1)), x)[0].behind is False
    assert lsuv(Functional(F.relu), x)[0].behind is True


def test_a_shift_takes_the_mean_away_behind_the_rectifier():
    """The lesson's rectifier: behind it mean 0 and deviation 1, the bias where it was; the shift is
    kept. With mean=False it is not touched."""
    torch.manual_seed(0)
    model = of_modules(GeneralReLU(leak=0.1))
    x = torch.randn(512, 8)
    first, _ = lsuv(model, x, tol=1e-4, generator=seeded())
    assert first.converged
    out = model[:2](x)
    assert (out.mean().item(), out.std(correction=0).item()) == pytest.approx((0, 1), abs=1e-3)
    assert model[1].sub > 0.3
    assert model[0].bias.abs().max() == 0
    still = of_modules(GeneralReLU(leak=0.1))
    lsuv(still, x, mean=False, generator=seeded())
    assert still[1].sub == 0


# ---- weights that are made of others


@pytest.mark.parametrize("orthogonal", [True, False])
def test_a_parametrized_weight_is_set_through_its_property(orthogonal):
    """With weight normalisation the layer is scaled like any, and the parametrization stays."""
    torch.manual_seed(0)
    model = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(8, 16)), nn.ReLU(), nn.Linear(16, 4)
    )
    x = torch.randn(256, 8) * 5
    report = lsuv(model, x, orthogonal=orthogonal, generator=seeded())
    assert [layer.name for layer in report] == ["0", "2"]
    assert all(layer.converged for layer in report)
    assert parametrize.is_parametrized(model[0], "weight")
    assert model[:2](x).square().mean().sqrt().item() == pytest.approx(1, abs=0.01)
    assert {name for name, _ in model[0].named_parameters()} == {
        "bias",
        "parametrizations.weight.original0",
        "parametrizations.weight.original1",
    }


class Doubled(nn.Module):
    """Its weight is a property: twice what it stores."""

    def __init__(self):
        super().__init__()
        self.stored = nn.Parameter(torch.randn(4, 8))

    @property
    def weight(self):
        return 2 * self.stored

    @weight.setter
    def weight(self, value):
        self.stored.copy_(value / 2)

    def forward(self, x):
        return F.linear(x, self.weight)


class Stubborn(Doubled):
    """Its weight cannot be set."""

    @property
    def weight(self):
        return 2 * self.stored

    @weight.setter
    def weight(self, value):
        raise PermissionError("never")


def test_a_weight_that_is_a_property_is_set():
    torch.manual_seed(0)
    x = torch.randn(256, 8) * 5
    (layer,) = lsuv(Doubled(), x, orthogonal=False)
    assert (layer.converged, layer.passes) == (True, 1)
    (layer,) = lsuv(Stubborn(), x, orthogonal=False)
    assert layer.problem == "its weight cannot be set: PermissionError('never')"


def test_a_parametrization_that_undoes_every_scale_is_said_to():
    """Spectral normalisation divides by the largest singular value: no scaling gets through."""
    torch.manual_seed(0)
    model = parametrizations.spectral_norm(nn.Linear(8, 16))
    (layer,) = lsuv(model, torch.randn(256, 8) * 5, generator=seeded())
    assert layer.problem == "not within 0.01 of 1 (mean: of 0)"


# ---- no values


def test_what_has_no_values_is_refused_in_our_own_words():
    x = torch.randn(64, 8)
    with torch.device("meta"):
        empty = Functional()
    with pytest.raises(ValueError, match=r"'first.weight' of the model is on the device meta"):
        lsuv(empty, x)
    with pytest.raises(ValueError, match="batch must hold values; its tensors are on the device"):
        lsuv(Functional(), x.to("meta"))
    model = Functional()
    with torch.device("meta"), pytest.raises(ValueError, match="nothing could be scaled"):
        lsuv(model, x)
    assert lsuv(model, x)[0].converged
