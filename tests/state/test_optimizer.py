"""An optimizer's state comes back in place."""

import pytest
import torch
from torch import nn, optim
from torch.optim import LBFGS, SGD, Adam, AdamW

from lehr.state.differences import first_difference
from lehr.state.entries import (
    ModelState,
)
from lehr.state.probe import probe
from lehr.state.snapshot import capture, restore

from .parts import small_model, train


def flat_model():
    """Matrices alone, as Muon takes them."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 1, bias=False))


class Embedded(nn.Module):
    """Its gradient is sparse."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(8, 1, sparse=True)

    def forward(self, x):
        return self.embedding(torch.arange(len(x))) * 3


OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.1, momentum=0.9),
    "sgd_nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "sgd_fused": lambda p: SGD(p, lr=0.1, momentum=0.9, fused=True),
    "adam": lambda p: Adam(p, lr=0.01),
    "adam_with_tensor_lr": lambda p: Adam(p, lr=torch.tensor(0.01), amsgrad=True),
    "adam_fused": lambda p: Adam(p, lr=0.01, amsgrad=True, fused=True),
    "adam_foreach": lambda p: Adam(p, lr=0.01, foreach=True),
    "adamw": lambda p: AdamW(p, lr=0.01),
    "adamw_fused": lambda p: AdamW(p, lr=0.01, fused=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.1),
    "adagrad_fused": lambda p: optim.Adagrad(p, lr=0.1, fused=True),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "adafactor": lambda p: optim.Adafactor(p, lr=0.1),
    "nadam": lambda p: optim.NAdam(p, lr=0.01),
    "radam": lambda p: optim.RAdam(p, lr=0.1),
    "adadelta": lambda p: optim.Adadelta(p, lr=1.0),
    "adamax": lambda p: optim.Adamax(p, lr=0.01),
    "asgd": lambda p: optim.ASGD(p, lr=0.1, lambd=0.1, t0=1),
    "rprop": lambda p: optim.Rprop(p, lr=0.01),
    "sparse_adam": lambda p: optim.SparseAdam(p, lr=0.1),
    "lbfgs": lambda p: LBFGS(p, lr=0.1, max_iter=3, history_size=4),
    "lbfgs_searching": lambda p: LBFGS(p, max_iter=4, line_search_fn="strong_wolfe"),
}
if hasattr(optim, "Muon"):
    OPTIMIZERS["muon"] = lambda p: optim.Muon(p, lr=0.1)
MODELS = {"muon": flat_model, "sparse_adam": Embedded}


def test_no_optimizer_of_torch_is_left_out():
    kinds = {type(make(MODELS.get(name, small_model)().parameters())) for name, make in
             OPTIMIZERS.items()}  # fmt: skip
    every = {kind for kind in vars(optim).values() if isinstance(kind, type)}
    assert {kind for kind in every if issubclass(kind, optim.Optimizer)} - {
        optim.Optimizer
    } == kinds


@pytest.mark.parametrize("fresh", [False, True], ids=["same_objects", "fresh_objects"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_bit_for_bit_from_a_snapshot(name, fresh):
    def built():
        model = MODELS.get(name, small_model)()
        opt = OPTIMIZERS[name](model.parameters())
        return model, opt, {"model": ModelState(model), "opt": opt}

    model, opt, entries = built()
    train(model, opt, 3)
    snapshot = capture(entries)
    losses, end = train(model, opt, 3), capture(entries)

    if fresh:
        model, opt, entries = built()
        train(model, opt, 1)
    restore(entries, snapshot)
    assert train(model, opt, 3) == losses
    assert first_difference(end, capture(entries)) is None

    without, empty, _ = built()  # the weights alone are not enough
    restore({"model": ModelState(without)}, {"model": snapshot["model"]})
    assert train(without, empty, 3)[1:] != losses[1:]


def test_an_optimizer_that_has_not_stepped_is_emptied_again():
    model = small_model()
    opt = Adam(model.parameters())
    before = capture({"opt": opt})
    train(model, opt, 1)
    assert opt.state
    restore({"opt": opt}, before)
    assert first_difference(before, capture({"opt": opt})) is None
    assert not opt.state


def test_an_optimizer_is_restored_in_its_own_groups_and_tensors():
    model, lr = small_model(), torch.tensor(0.1)
    betas = (torch.tensor(0.9), torch.tensor(0.99))
    halves = [{"params": model[i].parameters()} for i in (0, 3)]
    opt = Adam(halves, lr=lr, betas=betas, foreach=False, capturable=False)
    opt.param_groups[1]["name"] = "last"
    entries = {"opt": opt}
    before, groups, params = capture(entries), [*opt.param_groups], opt.param_groups[0]["params"]
    train(model, opt, 2)
    lr.fill_(7)
    betas[1].fill_(0.5)
    opt.param_groups[0]["weight_decay"] = 0.3
    opt.param_groups[0]["new"] = 1
    del opt.param_groups[1]["name"]
    assert first_difference(before, capture(entries))
    restore(entries, before)
    assert first_difference(before, capture(entries)) is None
    assert all(a is b for a, b in zip(groups, opt.param_groups, strict=True))
    assert opt.param_groups[0]["params"] is params
    for group in opt.param_groups:
        assert group["lr"] is lr
        assert all(a is b for a, b in zip(group["betas"], betas, strict=True))
    lr.fill_(9)
    assert [float(group["lr"]) for group in opt.param_groups] == [9, 9]


@pytest.mark.parametrize(
    "value", [torch.tensor(0.5, dtype=torch.float64), torch.full((1,), 0.5), 0.5, "shared"]
)
def test_a_tensor_that_no_longer_fits_is_replaced(value):
    model = small_model()
    halves = [
        {"params": model[0].parameters(), "lr": torch.tensor(0.1)},
        {"params": model[3].parameters(), "lr": torch.tensor(0.2)},
    ]
    opt = Adam(halves, foreach=False)
    before = capture({"opt": opt})
    first, second = opt.param_groups
    second["lr"] = first["lr"] if value == "shared" else value  # one tensor cannot be both
    restore({"opt": opt}, before)
    assert first_difference(before, capture({"opt": opt})) is None
    assert first["lr"] is not second["lr"]


def test_an_lbfgs_goes_on_with_the_list_of_parameters_that_it_holds():
    model = small_model()
    opt = LBFGS(model.parameters())
    before = capture({"opt": opt})
    restore({"opt": opt}, before)
    assert opt._params is opt.param_groups[0]["params"]


class Foreign(optim.Optimizer):
    """Keeps its state in dtypes of its own, in nested containers, and words in it."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    def step(self, closure):
        closure()
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["mean"] = torch.zeros_like(p, dtype=torch.float32)
                    state["seen"] = torch.zeros((), dtype=torch.int64)
                    state["nested"] = ([torch.zeros_like(p, dtype=torch.float64)], {"n": 0})
                    state["mode"] = "warm"
                assert state["mode"] == "warm"
                state["seen"] += 2**40 + 1  # no float32
                state["mean"].lerp_(p.grad.float(), 0.1)
                state["nested"][0][0].add_(p.grad.double(), alpha=1 / 3)
                state["nested"][1]["n"] += 1
                with torch.no_grad():
                    p.sub_((state["mean"] + state["nested"][0][0]).to(p.dtype) * group["lr"])


def test_state_in_other_dtypes_than_the_parameters_comes_back_bit_for_bit():
    def built():
        model = small_model().bfloat16()
        return model, Foreign(model.parameters())

    def steps(model, opt, n):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1)).bfloat16()
        for _ in range(n):
            opt.zero_grad()
            opt.step(lambda: model(x).square().mean().backward())

    model, opt = built()
    steps(model, opt, 3)
    snapshot = capture({"model": ModelState(model), "opt": opt})
    steps(model, opt, 3)
    end = capture({"model": ModelState(model), "opt": opt})

    twin, other = built()
    other.load_state_dict(snapshot["opt"])  # as torch does it
    assert first_difference(snapshot["opt"], capture({"opt": other})["opt"])
    restore({"model": ModelState(twin), "opt": other}, snapshot)
    assert first_difference(snapshot["opt"], capture({"opt": other})["opt"]) is None
    steps(twin, other, 3)
    now = capture({"model": ModelState(twin), "opt": other})
    assert first_difference(end, now) is None


def test_state_goes_to_the_device_of_the_parameter_in_the_dtype_that_was_saved():
    opt = Foreign([nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))])
    p = opt.param_groups[0]["params"][0]
    opt.step(lambda: p.sum().backward())
    snapshot = capture({"opt": opt})
    restore({"opt": (other := Foreign([nn.Parameter(p.detach().to("meta"))]))}, snapshot)
    (state,) = other.state.values()
    assert (state["mean"].device.type, state["mean"].dtype) == ("meta", torch.float32)
    assert (state["nested"][0][0].device.type, state["nested"][0][0].dtype) == (
        "meta",
        torch.float64,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_order_in_memory_comes_back(dtype):
    def built():
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, 2).to(dtype, memory_format=torch.channels_last)
        return model, Foreign(model.parameters())

    model, opt = built()
    opt.step(lambda: model(torch.ones(1, 3, 4, 4, dtype=dtype)).sum().backward())
    snapshot = capture({"opt": opt})
    _, other = built()
    restore({"opt": other}, snapshot)
    for old, new in zip(opt.state.values(), other.state.values(), strict=True):
        assert new["mean"].stride() == old["mean"].stride()
        assert new["nested"][0][0].stride() == old["nested"][0][0].stride()
    mean = next(iter(other.state.values()))["mean"]
    assert mean.is_contiguous(memory_format=torch.channels_last)
    assert not mean.is_contiguous()


class Wrapper:
    """An optimizer around another, that is none of torch's."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    def state_dict(self):
        return self.optimizer.state_dict()

    def load_state_dict(self, state):
        self.optimizer.load_state_dict(state)


def test_a_wrapper_keeps_its_groups_too():
    opt = Wrapper(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))
    saved, group = capture({"opt": opt}), opt.param_groups[0]
    group["lr"] = 0.3
    restore({"opt": opt}, saved)
    assert opt.param_groups[0] is group
    assert group["lr"] == 0.1
    with probe({"opt": opt}):
        opt.optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
        group["lr"] = 0.3
    assert opt.param_groups == [group]
    assert group["lr"] == 0.1
