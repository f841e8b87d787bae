import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr.inspect.measure import measure
from lehr.state.differences import first_difference
from lehr.state.entries import GradState, ModelState, ModeState, RandomState
from lehr.state.snapshot import capture


def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(8, 3)
    )


def entries(net):
    return {
        "model": ModelState(net),
        "modes": ModeState(net),
        "gradients": GradState(net),
        "random": RandomState(),
    }


def test_nothing_is_left_of_it():
    net, batch = model(), (torch.randn(16, 6), torch.randint(3, (16,)))
    net(batch[0]).sum().backward()
    net[1].eval()
    calls = []
    net[0].register_forward_hook(lambda *_: calls.append(1))
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    kept, before = [t.clone() for t in batch], capture(entries(net))
    measure(net, batch, F.cross_entropy)
    assert first_difference(before, capture(entries(net))) is None
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    assert all(torch.equal(a, b) for a, b in zip(kept, batch, strict=True))
    net(batch[0])
    assert first_difference(before, capture(entries(net))) is not None  # a plain pass does


def test_nothing_is_left_of_a_failure_either():
    net, batch = nn.Sequential(model(), nn.Linear(4, 4)), torch.randn(16, 6)
    before = capture(entries(net))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measure(net, batch)
    assert first_difference(before, capture(entries(net))) is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    torch.relu(torch.zeros(1))  # the watch is off


def test_an_input_that_the_model_writes_into_is_not_the_users():
    batch = torch.randn(8, 4)
    kept = batch.clone()
    measure(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)), batch)
    assert torch.equal(batch, kept)


def test_gradients_are_those_of_a_plain_backward_pass():
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    xb, yb = torch.randn(16, 6), torch.randint(3, (16,))
    seen = measure(net, (xb, yb), F.cross_entropy)
    loss = F.cross_entropy(net(xb), yb)
    loss.backward()
    assert seen.loss == pytest.approx(loss.item())
    stds = [p.grad.std(correction=0).item() for p in net.parameters() if p.ndim == 2]
    assert [w.grad_std for w in seen.weights] == pytest.approx(stds)
    assert seen.weights[0].grad_std != pytest.approx(seen.weights[1].grad_std)


def test_without_a_loss_the_gradient_starts_with_length_one_for_each_item():
    seen = measure(nn.Sequential(nn.Linear(6, 400), nn.Identity()), torch.randn(16, 6))
    assert seen.loss is None
    assert seen.sites[0].grad.norm == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("batch", [{"x": torch.randn(8, 6)}, ((torch.randn(8, 6),), None)])
def test_dicts_and_tuples_reach_the_model_as_arguments(batch):
    class Net(nn.Linear):
        def forward(self, x):
            return {"logits": super().forward(x)}

    assert measure(Net(6, 3), batch).sites[0].shape == (8, 3)


def test_dropout_is_off_and_batch_normalisation_on():
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.9), nn.Linear(6, 3))
    given = measure(net, 5 + 3 * torch.randn(64, 6)).sites[1].given
    assert given.across == pytest.approx(1, rel=1e-3)


def test_tied_weights_are_one_and_copies_are_counted():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5))
    net[2].weight = net[0].weight
    with torch.no_grad():
        net[1].weight[2:] = net[1].weight[0]
    first, second = measure(net, torch.randint(5, (8, 3))).weights
    assert (first.name, first.tied) == ("0.weight", ("2.weight",))
    assert (second.copies, second.units, second.zero) == (2, 4, 0)


def test_refusals():
    with pytest.raises(ValueError, match=re.escape("at least 2 items, better 32 or more; got 1")):
        measure(nn.Linear(2, 2), torch.zeros(1, 2))
    for wrong in ("cnn", nn.Linear):
        with pytest.raises(TypeError, match=re.escape("model must be a torch.nn.Module; got ")):
            measure(wrong, torch.zeros(4, 2))
    with pytest.raises(ValueError, match="Identity shows none"):
        measure(nn.Identity(), torch.zeros(4, 2))
    with pytest.raises(ValueError, match=re.escape("loss_func must return one number; got shape")):
        measure(nn.Linear(2, 2), (torch.zeros(4, 2), torch.zeros(4, 2)), lambda p, y: p - y)
    with pytest.raises(TypeError, match="a batch must be a pair"):
        measure(nn.Linear(2, 2), [torch.zeros(4, 2)] * 3)
    net = nn.Linear(2, 2)
    net.cache = net(torch.zeros(4, 2))
    with pytest.raises(TypeError, match="Audit it before it has made a prediction"):
        measure(net, torch.zeros(4, 2))


def test_a_device_without_values_is_refused_in_our_own_words():
    net, batch = nn.Linear(6, 3), torch.randn(8, 6)
    with torch.device("meta"), pytest.raises(ValueError, match="torch's default device is meta"):
        measure(net, batch)
    with pytest.raises(ValueError, match="batch must hold values; its tensors are on the device"):
        measure(net, batch.to("meta"))
    with pytest.raises(ValueError, match="'weight' of the model is on the device meta"):
        measure(nn.Linear(6, 3, device="meta"), batch)
    assert measure(net, batch).items == 8


def test_a_lazy_buffer_is_refused_and_a_lazy_parameter_is_made_in_the_copy():
    batch = torch.randn(8, 6)
    net = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Linear(4, 2))
    says = "'1.running_mean' has none yet. Call the model on one batch first."
    with pytest.raises(ValueError, match=re.escape(says)):
        measure(net, batch)
    net(batch)
    assert measure(net, batch).sites
    net = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    assert measure(net, batch).sites[0].shape == (8, 4)
    assert nn.parameter.is_lazy(net[0].weight)


def test_a_model_that_names_a_device_as_it_runs_is_measured():
    class Named(nn.Linear):
        def forward(self, x):
            return super().forward(x.to(torch.device("cpu")))

    assert len(measure(Named(6, 3), torch.randn(8, 6)).sites) == 2
