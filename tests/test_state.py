"""State entries: captured without sharing, compared bit for bit, put back exactly."""

import copy
import random
import re

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.optim import LBFGS, SGD, Adam, AdamW
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import RandomSampler, WeightedRandomSampler

from lehr.data import DataLoader, Dataset
from lehr.state import (
    GeneratorState,
    GradState,
    ModelState,
    ModeState,
    RandomState,
    capture,
    first_difference,
    loader_entries,
    modules,
    restore,
)


class Box:
    """An entry that is its value."""

    def __init__(self, value=None):
        self.value = value

    def state_dict(self):
        return self.value

    def load_state_dict(self, state_dict):
        self.value = state_dict


class Wrapper(nn.Module):
    """What torch.compile puts around a model."""

    def __init__(self, model):
        super().__init__()
        self._orig_mod = model

    def forward(self, x):
        return self._orig_mod(x)


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0), nn.Tanh(), nn.Linear(4, 1))


def with_hidden_buffer():
    model = small_model()
    model.register_buffer("shown", torch.ones(2))
    model.register_buffer("hidden", torch.ones(2), persistent=False)
    model[0].register_buffer("deep", torch.zeros(()), persistent=False)
    return model


def containers_and_tensors(value):
    yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, torch.Tensor):
            yield inner
        elif isinstance(inner, (dict, list, tuple)):
            yield from containers_and_tensors(inner)


def compiled(model):
    return torch.compile(model, backend="eager")


# capture and restore ----------------------------------------------------------------------------


def test_a_snapshot_holds_plain_copies_and_shares_nothing():
    live = {"t": torch.zeros(3), "list": [torch.ones(2), {"n": 1}], "tuple": (torch.ones(1), None)}
    snapshot = capture({"box": Box(live)})
    assert first_difference(snapshot, {"box": live}) is None
    ours = [*containers_and_tensors(snapshot["box"])]
    theirs = [*containers_and_tensors(live)]
    assert not {id(part) for part in ours} & {id(part) for part in theirs if part != ()}
    live["t"] += 1
    live["list"][1]["n"] = 2
    live["list"].append(None)
    assert snapshot["box"]["t"].tolist() == [0, 0, 0]
    assert snapshot["box"]["list"][1:] == [{"n": 1}]


@pytest.mark.parametrize("make", [lambda p: SGD(p, 0.1, momentum=0.9), Adam, LBFGS])
def test_a_snapshot_shares_no_memory_with_a_model_or_an_optimizer(make):
    model = small_model()
    entries = {"model": ModelState(model), "opt": make(model.parameters())}
    train(model, entries["opt"], 2)
    snapshot = capture(entries)
    live = {name: entry.state_dict() for name, entry in entries.items()}
    theirs = [t for t in containers_and_tensors(live) if isinstance(t, torch.Tensor)]
    ours = [t for t in containers_and_tensors(snapshot) if isinstance(t, torch.Tensor)]
    memory = {t.untyped_storage().data_ptr() for t in theirs}
    assert len(ours) == len(theirs) > 6
    assert not memory & {t.untyped_storage().data_ptr() for t in ours}
    kept = copy.deepcopy(snapshot)
    train(model, entries["opt"], 2)
    assert first_difference(kept, snapshot) is None
    assert first_difference(kept, capture(entries))


def test_what_is_restored_shares_nothing_with_the_snapshot():
    box = Box({"t": torch.zeros(2), "list": [1]})
    snapshot = capture({"box": box})
    for _ in range(2):
        restore({"box": box}, snapshot)
        assert box.value["list"] == [1]
        assert not box.value["t"].any()
        box.value["t"] += 1
        box.value["list"].append(2)


def test_a_captured_tensor_has_no_graph():
    weight = torch.ones(2, requires_grad=True)
    assert capture({"box": Box({"loss": weight.sum()})})["box"]["loss"].requires_grad is False


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        ({"seen": {1, 2}}, "box.seen", "set"),
        ({"a": [0, {"b": np.zeros(2)}]}, "box.a[1].b", "ndarray"),
        ({"a": (None, torch.float32)}, "box.a[1]", "dtype"),
        ({"a": Box()}, "box.a", "Box"),
    ],
)
def test_what_no_state_can_hold_is_refused_with_its_path(value, path, kind):
    match = f"^{re.escape(f'state entry {path} is {kind}; a state holds tensors, numbers, ')}.*"
    with pytest.raises(TypeError, match=match + r"Convert it in state_dict\.$"):
        capture({"box": Box(value)})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("ab", "state entry 'b' is missing from the snapshot; nothing was restored."),
        ("", "state entry 'a' is missing from these objects; nothing was restored."),
        ("acb", "state entries 'b', 'c' are missing from the snapshot; nothing was restored."),
        (
            "cb",
            "state entries 'b', 'c' are missing from the snapshot and state entry 'a' is missing "
            "from these objects; nothing was restored.",
        ),
    ],
)
def test_a_snapshot_of_other_entries_is_refused_and_nothing_changes(names, message):
    entries = {name: Box(2) for name in names}
    with pytest.raises(KeyError, match=f"^{re.escape(repr(message))}$"):
        restore(entries, {"a": 1})
    assert all(box.value == 2 for box in entries.values())


class Refusing(Box):
    """Takes in half of a state, and then no more."""

    def load_state_dict(self, state_dict):
        self.value = state_dict["half"]
        if state_dict.get("bad"):
            raise state_dict_error(state_dict["bad"])


def state_dict_error(name):
    return {"key": KeyError("left"), "stop": KeyboardInterrupt("now")}[name]


@pytest.mark.parametrize(("bad", "error"), [("key", KeyError), ("stop", KeyboardInterrupt)])
def test_an_entry_that_cannot_be_loaded_leaves_all_as_they_were(bad, error):
    model = small_model()
    opt = Adam(model.parameters())
    entries = {"model": ModelState(model), "opt": opt, "last": Refusing({"half": {"half": 1}})}
    snapshot = capture(entries)
    train(model, opt, 2)
    entries["last"].value = {"half": {"half": 2}}
    before = capture(entries)
    assert first_difference(snapshot["opt"], before["opt"])
    with pytest.raises(error) as caught:
        restore(entries, {**snapshot, "last": {"half": 3, "bad": bad}})
    assert caught.value.__notes__ == [
        "state entry 'last' could not be loaded; all entries are as they were before."
    ]
    entries["last"].value = {"half": entries["last"].value}
    assert first_difference(before, capture(entries)) is None


def test_entries_that_cannot_be_put_back_are_named():
    class Closing(Box):
        def load_state_dict(self, state_dict):
            raise OSError("closed")

    entries = {"set": Box({1, 2}), "shut": Closing(1), "fine": Box(2)}
    with pytest.raises(OSError, match="closed") as caught:
        restore(entries, {"set": 3, "shut": 3, "fine": 3})
    assert caught.value.__notes__ == [
        "state entry 'shut' could not be loaded; all entries are as they were before, except set, "
        "shut."
    ]
    assert entries["fine"].value == 2


def test_what_cannot_be_captured_can_be_replaced():
    box = Box({1, 2})
    restore({"box": box}, {"box": 3})
    assert box.value == 3


# first_difference -------------------------------------------------------------------------------

NAN = float("nan")
LONG = 2**40


@pytest.mark.parametrize(
    ("a", "b", "difference"),
    [
        (0.1, 0.2, "x: 0.1 against 0.2"),
        (1, 1.0, "x: 1 against 1.0"),
        (1, True, "x: 1 against True"),
        (None, 0, "x: None against 0"),
        ("a", "b", "x: 'a' against 'b'"),
        (NAN, 0.0, "x: nan against 0.0"),
        ([1, 2], [1, 3], "x[1]: 2 against 3"),
        ([1, 2], [1], "x: 2 items against 1"),
        ({"y": 1}, {}, "x.y: only in the first"),
        ({}, {"y": 1}, "x.y: only in the second"),
        ({"y": [{"z": 1}]}, {"y": [{"z": 2}]}, "x.y[0].z: 1 against 2"),
        ({}, [], "x: {} against []"),
        ({0: 1}, {0: 2}, "x.0: 1 against 2"),
        (torch.zeros(2), torch.zeros(3), "x: (2,) float32 against (3,) float32"),
        (torch.zeros(1), torch.zeros(1).double(), "x: (1,) float32 against (1,) float64"),
        (torch.zeros(3), torch.tensor([0, 2.0, -3]), "x: 2 of 3 values differ, by up to 3"),
        (torch.tensor(1), torch.tensor(LONG + 1), f"x: 1 of 1 values differ, by up to {LONG:g}"),
        (torch.tensor([True, True]), torch.tensor([True, False]), "x: 1 of 2 values differ, by "),
        (torch.tensor(0.0), torch.tensor(-0.0), "x: "),
        (torch.tensor(NAN), torch.tensor(0.0), "x: 1 of 1 values differ, by up to nan"),
        (torch.zeros(1).bfloat16(), torch.ones(1).bfloat16(), "x: 1 of 1 values differ, by up to"),
        (torch.zeros(1), [0.0], "x: tensor([0.]) against [0.0]"),
    ],
)
def test_the_first_difference_is_named_and_nothing_differs_from_its_copy(a, b, difference):
    assert first_difference({"x": a}, {"x": b}).startswith(difference)
    assert first_difference({"x": a}, {"x": copy.deepcopy(a)}) is None
    assert first_difference({"x": b}, {"x": copy.deepcopy(b)}) is None


def test_of_several_differences_the_first_is_named():
    assert first_difference({"a": 1, "b": 2, "c": 3}, {"c": 4, "b": 5, "a": 1}).startswith("b:")


def test_order_of_keys_strides_and_graphs_are_no_difference():
    t = torch.arange(6.0).reshape(2, 3)
    a = {"x": t.t().contiguous().t(), "y": 1}
    b = {"y": 1, "x": t.clone().requires_grad_()}
    assert a["x"].stride() != b["x"].stride()
    assert first_difference(a, b) is None
    assert first_difference({"x": torch.zeros(0, 3)}, {"x": torch.zeros(0, 3)}) is None


# Models -----------------------------------------------------------------------------------------


def test_a_model_is_put_back_in_place():
    model = with_hidden_buffer()
    entries = {"model": ModelState(model)}
    snapshot = capture(entries)
    objects = [*model.parameters(), *model.buffers()]
    with torch.no_grad():
        for t in objects:
            t.add_(1)
    changed = capture(entries)
    assert all(
        first_difference(snapshot["model"][k], changed["model"][k]) for k in snapshot["model"]
    )
    restore(entries, snapshot)
    assert first_difference(snapshot, capture(entries)) is None
    assert all(
        a is b for a, b in zip(objects, [*model.parameters(), *model.buffers()], strict=True)
    )


def test_buffers_kept_out_of_the_models_own_state_are_part_of_it():
    model = with_hidden_buffer()
    own, ours = {*model.state_dict()}, {*ModelState(model).state_dict()}
    assert ours - own == {"#hidden", "#0.deep"}
    assert own < ours


def test_a_model_without_hidden_buffers_has_its_own_keys_only():
    model = small_model()
    assert ModelState(model).state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("wrap", [Wrapper, lambda m: torch.compile(m, backend="eager")])
def test_a_wrapped_model_has_the_keys_of_the_bare_one_and_states_cross_both_ways(wrap):
    bare, other = with_hidden_buffer(), with_hidden_buffer()
    wrapped = wrap(other)
    assert any(key.startswith("_orig_mod.") for key in wrapped.state_dict())
    with torch.no_grad():
        for t in (*other.parameters(), *other.buffers()):
            t.add_(1)
    for source, target in [(wrapped, bare), (bare, wrapped)]:
        with torch.no_grad():
            source.state_dict(keep_vars=True)[next(iter(source.state_dict()))].mul_(3)
        snapshot = capture({"model": ModelState(source)})
        assert first_difference(snapshot, capture({"model": ModelState(target)}))
        restore({"model": ModelState(target)}, snapshot)
        assert first_difference(snapshot, capture({"model": ModelState(target)})) is None
    assert ModelState(wrapped).state_dict().keys() == ModelState(bare).state_dict().keys()


def test_a_model_refuses_the_state_of_another():
    with pytest.raises(RuntimeError, match="Missing key"):
        ModelState(small_model()).load_state_dict({})


def test_every_module_is_listed_the_model_first():
    model = small_model()
    assert [name for name, _ in modules(model)] == ["", "0", "1", "2", "3"]
    assert modules(model)[0][1] is model


def test_modes_and_frozen_parameters_come_back_one_by_one():
    model = small_model()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    entries = {"modes": ModeState(model)}
    snapshot = capture(entries)
    assert snapshot["modes"]["training"] == {"": True, "0": True, "1": False, "2": True, "3": True}
    for change in (model.eval, model.train, lambda: model.requires_grad_(True)):
        change()
        assert first_difference(snapshot, capture(entries))
        restore(entries, snapshot)
        assert first_difference(snapshot, capture(entries)) is None
    assert model[0].weight.requires_grad is False
    assert model[0].bias.requires_grad is True


def test_gradients_come_back_and_so_does_their_absence():
    model = nn.Linear(2, 1)
    entries = {"gradients": GradState(model)}
    none = capture(entries)
    assert none == {"gradients": {"weight": None, "bias": None}}
    model(torch.ones(1, 2)).sum().backward()
    some = capture(entries)
    model.weight.grad.add_(1)
    assert first_difference(some, capture(entries)).startswith("gradients.weight: 2 of 2")
    restore(entries, some)
    assert first_difference(some, capture(entries)) is None
    restore(entries, none)
    assert model.weight.grad is None
    assert model.bias.grad is None


def test_gradients_follow_a_model_that_has_moved_and_the_rest_is_restored():
    model = nn.Linear(2, 1).double()
    model(torch.ones(1, 2).double()).sum().backward()
    model.bias.grad = None
    box = Box(1)
    entries = {"gradients": GradState(model), "after": box}
    snapshot = capture(entries)
    model.to("meta")
    model.weight.grad = None
    box.value = 2
    restore(entries, snapshot)
    assert model.weight.grad.device.type == "meta"
    assert model.weight.grad.dtype == torch.float64
    assert model.bias.grad is None
    assert box.value == 1


# Optimizers -------------------------------------------------------------------------------------


def train(model, opt, steps):
    """So many steps on the same data; every loss seen."""
    generator = torch.Generator().manual_seed(1)
    x, losses = torch.randn(8, 3, generator=generator), []

    def closure():
        opt.zero_grad()
        loss = (model(x).squeeze(1) - x.prod(1)).square().mean()
        loss.backward()
        losses.append(loss.item())
        return loss

    for _ in range(steps):
        opt.step(closure)
    return losses


def flat_model():
    """Matrices alone, as Muon takes them."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 1, bias=False))


class Embedded(nn.Module):
    """Its gradient is sparse."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(8, 1, sparse=True)

    def forward(self, x):
        return self.table(torch.arange(len(x))) * 3


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


# Randomness -------------------------------------------------------------------------------------


def test_all_global_generators_are_one_entry():
    entries = {"random": RandomState()}
    snapshot = capture(entries)

    def draws():
        return torch.rand(()).item(), float(np.random.rand()), random.random()

    first = draws()
    assert first_difference(snapshot, capture(entries)).startswith("random.torch[0]: ")
    assert draws() != first
    restore(entries, snapshot)
    assert first_difference(snapshot, capture(entries)) is None
    assert draws() == first
    restore(entries, snapshot)


def test_a_generator_of_somebody_else_is_an_entry():
    generator = torch.Generator().manual_seed(3)
    entries = {"g": GeneratorState(generator)}
    snapshot = capture(entries)
    first = torch.rand(3, generator=generator)
    assert first_difference(snapshot, capture(entries)).startswith("g.state: ")
    assert not torch.equal(first, torch.rand(3, generator=generator))
    restore(entries, snapshot)
    assert torch.equal(first, torch.rand(3, generator=generator))


# Loaders ----------------------------------------------------------------------------------------

ITEMS = [1, 2, 3]


def new():
    return torch.Generator()


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: DataLoader(Dataset(torch.zeros(3), torch.zeros(3)), 2), ["dl"]),
        (lambda: [ITEMS], []),
        (lambda: TorchLoader(ITEMS), []),
        (lambda: TorchLoader(ITEMS, shuffle=True, generator=new()), ["dl.generator"]),
        (
            lambda: TorchLoader(ITEMS, sampler=RandomSampler(ITEMS, generator=new())),
            ["dl.sampler.generator"],
        ),
        (
            lambda: TorchLoader(
                ITEMS, sampler=WeightedRandomSampler([1.0], 2, generator=new()), generator=new()
            ),
            ["dl.generator", "dl.sampler.generator"],
        ),
        (
            lambda: TorchLoader(
                ITEMS,
                batch_sampler=torch.utils.data.BatchSampler(
                    RandomSampler(ITEMS, generator=new()), 2, False
                ),
            ),
            ["dl.batch_sampler.sampler.generator"],
        ),
    ],
    ids=["ours", "list", "plain", "shuffled", "sampler", "two_generators", "batch_sampler"],
)
def test_a_loader_is_its_generators_each_once(make, names):
    assert list(loader_entries("dl", make())) == names


def test_a_loader_with_a_state_of_its_own_is_its_entry():
    loader = Box({"position": 3})
    assert loader_entries("train_dl", loader) == {"train_dl": loader}


def test_a_shuffled_loader_repeats_its_order_after_a_restore():
    loader = TorchLoader(range(50), shuffle=True, generator=torch.Generator().manual_seed(0))
    entries = loader_entries("train_dl", loader)
    snapshot = capture(entries)
    first = [int(item) for item in loader]
    assert [int(item) for item in loader] != first
    restore(entries, snapshot)
    assert [int(item) for item in loader] == first


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        (
            torch.tensor([float("nan"), 1]),
            torch.tensor([float("nan"), 2]),
            "1 of 2 values differ, by",
        ),
        (torch.tensor([0.0]), torch.tensor([-0.0]), "1 of 1 values differ, in their bits alone"),
        (torch.tensor([2**53]), torch.tensor([2**53 + 1]), "1 of 1 values differ, by up to 1"),
        (torch.tensor([1j]), torch.tensor([2j]), "1 of 1 values differ, by up to 1"),
        (torch.tensor([True]), torch.tensor([False]), "1 of 1 values differ, by up to 1"),
    ],
)
def test_the_size_of_a_difference_is_told_right(a, b, text):
    assert text in first_difference({"x": a}, {"x": b})


@pytest.mark.parametrize("kind", [ModeState, GradState, ModelState])
def test_states_of_a_compiled_model_fit_the_bare_one(kind):
    model = nn.Linear(2, 2)
    compiled = torch.compile(model, backend="eager")
    state = capture({"it": kind(compiled)})["it"]
    kind(model).load_state_dict(state)
    assert first_difference(state, capture({"it": kind(model)})["it"]) is None


@pytest.mark.parametrize("kind", [ModeState, GradState, ModelState])
def test_states_of_a_model_with_wrapped_parts_fit_the_bare_one_and_back(kind):
    def built(wrap):
        torch.manual_seed(0)
        norm = nn.BatchNorm1d(2)
        norm.register_buffer("hidden", torch.zeros(1), persistent=False)
        inner = nn.Sequential(nn.Linear(2, 2), norm)
        whole = nn.Sequential(wrap(inner), nn.Linear(2, 2))
        whole(torch.ones(3, 2)).sum().backward()
        return whole, inner

    (whole, inner), (bare, part) = built(lambda m: nn.DataParallel(compiled(m))), built(lambda m: m)
    for model, change in ((inner, 1), (part, 2)):
        with torch.no_grad():
            for p in (*model.parameters(), model[1].hidden):
                p.add_(change)
        model[0].weight.requires_grad_(change == 1)
        model[0].weight.grad.mul_(change + 1)
        model[change - 1].eval()
    for source, target in ((whole, bare), (bare, whole)):
        state = capture({"it": kind(source)})["it"]
        if target is bare:
            assert first_difference(state, capture({"it": kind(target)})["it"])
        assert not any("_orig_mod" in key or "module" in key for key in names_in(state))
        kind(target).load_state_dict(state)
        assert first_difference(state, capture({"it": kind(target)})["it"]) is None


def names_in(state):
    for key, value in state.items():
        yield key
        if isinstance(value, dict):
            yield from names_in(value)


def test_the_wrapper_of_a_part_has_the_mode_of_what_it_wraps():
    model = nn.Sequential(nn.DataParallel(nn.Dropout()))
    state = capture({"modes": ModeState(model)})
    model.eval()
    restore({"modes": ModeState(model)}, state)
    assert model[0].training
    assert model[0].module.training


def test_a_buffer_that_has_grown_is_put_back():
    class Cache(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("cache", torch.zeros(2), persistent=False)

    model = nn.Sequential(Cache())
    entries = {"model": ModelState(model)}
    before = capture(entries)
    for other in (torch.ones(5), torch.ones(2).double()):
        model[0].cache = other
        assert first_difference(before, capture(entries))
        restore(entries, before)
        assert first_difference(before, capture(entries)) is None


def test_a_buffer_that_has_grown_goes_to_the_device_of_the_old_one():
    model = nn.Module()
    model.register_buffer("cache", torch.zeros(2, device="meta"), persistent=False)
    ModelState(model).load_state_dict({"#cache": torch.ones(5)})
    assert (model.cache.device.type, len(model.cache)) == ("meta", 5)
