import signal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr.init import Fans
from lehr.inspect.measure import measure
from lehr.inspect.sites import SiteRecorder


def sites(model, batch):
    return measure(model, batch).sites


def kinds(model, batch):
    return [(s.name, s.kind, s.role) for s in sites(model, batch)]


class Functional(nn.Module):
    """The same as a Sequential of modules, with nothing but parameters and functions."""

    def __init__(self):
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.zeros(5))
        self.w2 = nn.Parameter(torch.randn(5, 3))

    def forward(self, x):
        return torch.sigmoid(F.linear(x, self.w1, self.b1).relu() @ self.w2)


def test_functions_are_seen_like_modules():
    torch.manual_seed(0)
    assert kinds(Functional(), torch.randn(8, 4)) == [
        ("w1", "linear", "weight"),
        ("(model)", "relu", "activation"),
        ("w2", "matmul", "weight"),
        ("(model)", "sigmoid", "activation"),
        ("(output)", "", "output"),
    ]


def test_the_fans_of_a_product_follow_from_the_side_the_weights_are_on():
    model = Functional()
    assert [s.fans for s in sites(model, torch.randn(8, 4)) if s.role == "weight"] == [
        Fans(4, 5, 1),
        Fans(5, 3, 1),
    ]


@pytest.mark.parametrize(
    ("layer", "shape", "fan_in"),
    [
        (nn.Conv2d(4, 8, 3, groups=2), (4, 6, 6), 18),
        (nn.ConvTranspose2d(4, 8, 4, stride=2), (4, 6, 6), 16),
        (nn.Conv1d(4, 8, 5), (4, 9), 20),
        (nn.Linear(4, 8), (3, 4), 4),
    ],
)
def test_weights_know_how_many_numbers_they_sum(layer, shape, fan_in):
    (site, _) = sites(layer, torch.randn(16, *shape))
    assert site.fans.fan_in == fan_in
    assert site.own_gain == pytest.approx(site.scale * fan_in**0.5)


def test_the_own_gain_predicts_what_independent_inputs_become():
    torch.manual_seed(0)
    site = sites(nn.Linear(400, 300), torch.randn(500, 400))[0]
    assert site.predicted == pytest.approx(site.out.across, rel=0.03)
    assert site.predicted == pytest.approx(3**-0.5, rel=0.03)  # what a = √5 comes to


def test_a_layer_that_is_the_whole_model_is_called_so():
    assert sites(nn.Linear(4, 2), torch.randn(8, 4))[0].name == "(model)"


def test_a_module_that_is_passed_twice_is_seen_twice():
    layer = nn.Linear(4, 4)
    names = [s.name for s in sites(nn.Sequential(layer, nn.ReLU(), layer), torch.randn(8, 4))]
    assert names == ["0", "1", "0 (2)", "(output)"]


def test_norms_recurrence_attention_and_embeddings_have_their_roles():
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.norm = nn.Embedding(10, 8), nn.LayerNorm(8)
            self.lstm = nn.LSTM(8, 8, batch_first=True)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, ids):
            x, _ = self.lstm(self.norm(self.embed(ids)))
            return self.attention(x, x, x)[0]

    roles = [(s.name, s.role) for s in sites(Text(), torch.randint(10, (6, 5)))]
    assert roles == [
        ("embed", "weight"),
        ("norm", "norm"),
        ("lstm", "mixer"),
        ("attention", "mixer"),
        ("(output)", "output"),
    ]
    assert sites(Text(), torch.randint(10, (6, 5)))[0].given is None


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        x = self.stem(x)
        return x + self.drop(self.b(self.a(x).relu()))


def test_a_sum_tells_which_layer_ends_a_branch_and_where_it_began():
    stem, a, _, b, _ = sites(Residual(), torch.randn(8, 4))
    assert (b.added, b.begins) == (True, 1)
    assert not stem.added
    assert not a.added
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    assert not any(s.added for s in sites(plain, torch.randn(8, 4)))


def test_dead_and_saturated_shares():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh())
    with torch.no_grad():
        model[0].bias[:3] = -100
        model[2].weight.zero_()
        model[2].bias.copy_(torch.tensor([9.0, 9, 9, 0, 0, 0]))
    _, relu, _, tanh, _ = sites(model, torch.randn(32, 4))
    assert relu.dead >= 0.5
    assert tanh.saturated == 0.5
    assert (relu.saturated, tanh.dead) == (None, None)


def test_the_slope_of_a_leaky_rectifier_is_known():
    model = nn.Sequential(nn.LeakyReLU(0.3), nn.PReLU(init=0.2), nn.ReLU(), nn.Linear(4, 4))
    assert [round(s.slope, 3) for s in sites(model, torch.randn(8, 4))[:3]] == [0.3, 0.2, 0.0]


def test_in_place_activations_do_not_change_what_was_measured_before():
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    batch = torch.randn(16, 4)
    kept = sites(nn.Sequential(layer, nn.ReLU()), batch)
    changed = sites(nn.Sequential(layer, nn.ReLU(inplace=True)), batch)
    assert [s.out for s in kept] == [s.out for s in changed]
    assert [s.grad for s in kept] == [s.grad for s in changed]


def test_a_ctrl_c_while_torch_takes_the_mode_off_leaves_neither_mode_nor_hooks(monkeypatch):
    take_off = torch.overrides._pop_mode_temporarily

    class Pressed:
        """Takes the mode off, and is interrupted before anybody knows."""

        def __enter__(self):
            self.inner = take_off()
            mode = self.inner.__enter__()
            signal.raise_signal(signal.SIGINT)
            return mode

        def __exit__(self, *error):
            return self.inner.__exit__(*error)

    model, before = nn.Sequential(nn.ReLU(), nn.ReLU()), torch._C._len_torch_function_stack()
    recorder = SiteRecorder(model, 8)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(torch.overrides, "_pop_mode_temporarily", Pressed)
            with recorder.recording():
                model(torch.zeros(8, 3))
    finally:
        signal.signal(signal.SIGINT, handler)
    assert torch._C._len_torch_function_stack() == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not recorder.sites  # it was heeded in the first of them
    with recorder.recording():
        model(torch.zeros(8, 3))
    assert len(recorder.sites) == 2
