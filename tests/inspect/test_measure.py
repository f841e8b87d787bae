import re
import threading
from functools import partial

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


class Lazily(nn.Module):
    """Calls its layer when what it returns is read."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return (self.layer(part) for part in x.split(2))


class Pads(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x).to_padded_tensor(0.0)


def test_where_no_layer_is_measured_it_says_why():
    with pytest.raises(ValueError, match=r"Lazily shows none\. It returns a generator, and calls"):
        measure(Lazily(), torch.randn(4, 2))
    jagged = torch.nested.nested_tensor([torch.randn(n, 2) for n in (2, 3)], layout=torch.jagged)
    with pytest.raises(ValueError, match=r"Pads shows none\. It is given nested tensors.*padded"):
        measure(Pads(), jagged)
    assert measure(Pads().layer, torch.randn(4, 2)).sites  # the control
    with pytest.raises(ValueError, match=r"Identity shows none\. Audit it before it is scripted"):
        measure(nn.Identity(), torch.ones(4, 2))


@pytest.mark.filterwarnings("ignore:.torch.jit.script")
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
    net.lock = threading.Lock()
    with pytest.raises(TypeError, match=r"Linear is not: .*lock.* Give the class that it names a"):
        measure(net, torch.zeros(4, 2))
    needs_two = "the batch has no target, and loss_func takes one"
    for loss_func in (F.l1_loss, nn.MSELoss()):
        with pytest.raises(TypeError, match=needs_two):
            measure(nn.Linear(2, 2), torch.zeros(4, 2), loss_func)
    for hidden, name in ((torch.jit.script(nn.Linear(2, 2)), "(model)"), (Mapped(), "inner")):
        with pytest.raises(ValueError, match=re.escape(f"be seen inside {name}. Audit it before")):
            measure(hidden, torch.zeros(4, 2))


class Mapped(nn.Module):
    """A layer that torch.func maps over the items, and perhaps another one behind it."""

    def __init__(self, head=None):
        super().__init__()
        self.inner, self.head = nn.Linear(2, 2), head or nn.Identity()

    def forward(self, x):
        return self.head(torch.func.vmap(self.inner)(x))


@pytest.mark.filterwarnings("ignore:.torch.jit.script")
def test_what_cannot_be_seen_is_named_and_the_rest_is_measured():
    for part in (
        Mapped(nn.Linear(2, 1)),
        nn.Sequential(torch.jit.script(nn.Linear(2, 2)), model()),
    ):
        batch = torch.randn(16, 2)
        net = nn.Sequential(part[0], nn.Linear(2, 1)) if isinstance(part, nn.Sequential) else part
        net(batch).sum().backward()
        before = capture(entries(net))
        seen = measure(net, batch)
        assert first_difference(before, capture(entries(net))) is None
        assert seen.hidden == (("inner",) if net is part else ("0",))
        assert [site.kind for site in seen.sites] == ["linear", ""]
    assert measure(model(), torch.randn(16, 6)).hidden == ()


def test_a_loss_of_the_output_alone_is_measured():
    net, xb = model(), torch.randn(16, 6)
    seen = measure(net, xb, lambda pred: pred.square().mean())
    assert seen.loss > 0
    again = measure(net, xb, lambda pred: 2 * pred.square().mean())
    assert again.loss == 2 * seen.loss
    assert again.weights[0].grad_std == pytest.approx(2 * seen.weights[0].grad_std)
    assert measure(net, xb).loss is None


def test_complex_layers_are_measured_and_predicted():
    torch.manual_seed(0)
    net = nn.Linear(64, 64, dtype=torch.complex64)
    site, output = measure(net, torch.randn(256, 64, dtype=torch.complex64)).sites
    assert site.predicted == pytest.approx(site.out.across, rel=0.05)
    assert site.grad.norm > 0
    assert output.out == site.out
    [weights] = measure(net, torch.randn(256, 64, dtype=torch.complex64)).weights
    assert weights.scale == pytest.approx(net.weight.abs().square().mean().sqrt().item())
    assert weights.grad_std > 0


def test_sparse_gradients_are_measured_as_the_dense_ones():
    torch.manual_seed(0)
    ids = torch.randint(5, (16, 1))
    nets = [
        nn.Sequential(nn.Embedding(5, 3, sparse=sparse), nn.Linear(3, 2))
        for sparse in (False, True)
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    dense, sparse = (measure(net, ids).weights for net in nets)
    assert dense == sparse
    assert dense[0].grad_std > 0


def test_models_that_deepcopy_refuses_are_measured():
    xb = torch.randn(16, 2)
    kept = nn.Linear(2, 2)
    kept.cache = [kept(xb)]
    lazy = nn.Sequential(nn.LazyLinear(2), nn.LazyBatchNorm1d())
    with pytest.warns(FutureWarning):
        normed = nn.utils.weight_norm(nn.Linear(2, 2))
    for net in (kept, lazy, normed):
        before = capture({"model": ModelState(net)})
        assert measure(net, xb).sites[0].kind == "linear"
        assert first_difference(before, capture({"model": ModelState(net)})) is None


def test_compiled_and_wrapped_parts_are_seen():
    def net(wrap):
        torch.manual_seed(0)
        return nn.Sequential(wrap(nn.Linear(2, 3)), nn.ReLU(), nn.Linear(3, 2))

    xb = torch.randn(16, 2)
    plain = measure(net(lambda layer: layer), xb)
    for wrap in (partial(torch.compile, backend="eager"), nn.DataParallel):
        wrapped = net(wrap)
        before = wrapped[0]
        seen = measure(wrapped, xb)
        assert [site.out for site in seen.sites] == [site.out for site in plain.sites]
        assert wrapped[0] is before


def test_a_device_without_values_is_refused_in_our_own_words():
    net, batch = nn.Linear(6, 3), torch.randn(8, 6)
    with torch.device("meta"), pytest.raises(ValueError, match="torch's default device is meta"):
        measure(net, batch)
    with pytest.raises(ValueError, match="batch must hold values; its tensors are on the device"):
        measure(net, batch.to("meta"))
    with pytest.raises(ValueError, match="'weight' of the model is on the device meta"):
        measure(nn.Linear(6, 3, device="meta"), batch)
    assert measure(net, batch).items == 8


def test_a_model_that_names_a_device_as_it_runs_is_measured():
    class Named(nn.Linear):
        def forward(self, x):
            return super().forward(x.to(torch.device("cpu")))

    assert len(measure(Named(6, 3), torch.randn(8, 6)).sites) == 2
