"""A probe leaves no trace, whatever happened inside."""

import re
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader as TorchLoader
from torchmetrics import MeanMetric

from lehr import Callback, Learner
from lehr.callbacks import Checkpoint
from lehr.data import DataBunch
from lehr.state.differences import first_difference
from lehr.state.entries import ModelState, RandomState
from lehr.state.probe import probe
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


@pytest.fixture
def entries():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
    opt = torch.optim.Adam(model.parameters())
    return {"model": ModelState(model), "opt": opt, "random": RandomState()}


def step(entries):
    entries["model"].model(torch.randn(4, 2)).sum().backward()
    entries["opt"].step()


def test_everything_changes_inside_and_nothing_outside(entries):
    before = capture(entries)
    with probe(entries):
        step(entries)
        inside = capture(entries)
    for name in entries:
        assert first_difference(before[name], inside[name])
    assert first_difference(before, capture(entries)) is None


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_goes_on_and_leaves_no_trace(entries, error):
    before = capture(entries)
    with pytest.raises(error), probe(entries):
        step(entries)
        raise error
    assert first_difference(before, capture(entries)) is None


def test_probes_nest(entries):
    with probe(entries):
        step(entries)
        between = capture(entries)
        with probe(entries):
            step(entries)
            assert first_difference(between, capture(entries))
        assert first_difference(between, capture(entries)) is None


def test_what_is_no_entry_keeps_its_change(entries):
    model = entries["model"].model
    del entries["model"]
    before = model[0].weight.detach().clone()
    with probe(entries):
        step({**entries, "model": ModelState(model)})
    assert not torch.equal(before, model[0].weight)


def test_a_lasting_change_can_be_made_again_after_the_probe(entries):
    with probe(entries):
        step(entries)
        inside = capture(entries)
    entries["opt"].zero_grad()  # gradients were no entry here
    step(entries)
    assert first_difference(inside, capture(entries)) is None


@pytest.mark.parametrize("how", ["probe", "find_lr"])
def test_a_shared_tensor_still_drives_the_groups_of_an_optimizer(how):
    lr = torch.tensor(0.1)

    def opt(params):
        halves = [{"params": [p]} for p in params]
        return torch.optim.Adam(halves, lr=lr, foreach=False)

    learn = tiny_learner(opt=opt)
    learn.fit(1)
    groups = [*learn.opt.param_groups]
    before = capture(learn.state_entries())
    if how == "find_lr":
        assert len(learn.find_lr(steps=20).lrs) > 1
    else:
        with learn.probe():
            learn.fit(2)
            lr.fill_(3)
            assert first_difference(before, capture(learn.state_entries()))
    assert first_difference(before, capture(learn.state_entries())) is None
    for group, old in zip(learn.opt.param_groups, groups, strict=True):
        assert group is old
        assert group["lr"] is lr
    lr.fill_(9)
    assert {float(group["lr"]) for group in learn.opt.param_groups} == {9.0}


class Growing(nn.Module):
    """Changes what it is made of in every forward, in all the ways that there are."""

    def __init__(self):
        super().__init__()
        self.lazy = nn.LazyLinear(2)
        self.norm = nn.LazyBatchNorm1d()
        self.inner = nn.Linear(3, 3)
        self.register_buffer("was_buffer", torch.ones(2))
        self.register_buffer("none", None)
        self.register_buffer("shown", torch.ones(2))
        self.was_attribute = torch.zeros(3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 1:
            del self.was_buffer, self.was_attribute, self.shown
            self.was_buffer = torch.zeros(5)
            self.register_buffer("was_attribute", torch.ones(3))
            self.register_buffer("shown", torch.zeros(3), persistent=False)
            self.register_buffer("new_buffer", torch.ones(1))
            self.none = torch.ones(1)
            self.new_module = nn.Linear(1, 1)
            self.new_parameter = nn.Parameter(torch.ones(1))
            self.inner = nn.Linear(3, 3)
            self.inner.register_forward_hook(lambda *args: None)
        return self.norm(self.lazy(self.inner(x) * self.new_parameter))


def made_of(model):
    """Every part, its class and its registries by identity, and the values of what is not lazy."""
    parts = []
    for name, module in model.named_modules():
        registries = (
            module._parameters,
            module._buffers,
            module._modules,
            module._forward_pre_hooks,
        )
        held = [[(key, id(value)) for key, value in one.items()] for one in registries]
        names = sorted(vars(module)), sorted(module._non_persistent_buffers_set)
        parts.append((name, id(module), type(module), held, names))
    tensors = [*model.parameters(), *model.buffers()]
    values = [None if is_lazy(t) else t.detach().clone() for t in tensors]
    return parts, [(id(t), type(t)) for t in tensors], values


@pytest.mark.parametrize("how", ["probe", "find_lr", "rehearse", "summary", "error"])
def test_whatever_a_forward_makes_of_a_model_is_undone_and_all_else_is_put_back(how):
    learn = tiny_learner(model=Growing(), opt=partial(torch.optim.Adam, lr=0.1))
    model, opt = learn.model, learn.opt
    before, buffer, attribute = made_of(model), model.was_buffer, model.was_attribute
    counters = (learn.epochs_done, learn.steps_done, learn._seed)
    if how == "error":
        with pytest.raises(ZeroDivisionError), learn.probe():
            learn.fit(1)
            1 / 0
    elif how == "probe":
        with learn.probe():
            learn.fit(1)
            assert made_of(model)[:2] != before[:2]
            assert opt.state
            opt.add_param_group({"params": [model.new_parameter]})
    else:
        getattr(learn, how)(*([12] if how == "rehearse" else []))
    after = made_of(model)
    assert after[:2] == before[:2]
    assert first_difference(before[2], after[2]) is None
    assert (model.was_buffer, model.was_attribute) == (buffer, attribute)
    assert (model.calls, type(model.lazy), model.lazy.in_features) == (0, nn.LazyLinear, 0)
    assert not opt.state
    assert len(opt.param_groups) == 1
    assert (learn.epochs_done, learn.steps_done, learn._seed) == counters
    assert learn.run is None
    assert learn.fit(1).n_steps == 4
    assert made_of(model)[:2] != before[:2]  # negative control


def test_a_cast_in_a_probe_is_undone_in_the_memory_that_was():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    view = model[0].weight.detach().view(-1)
    before = capture({"model": ModelState(model)})
    with probe({"model": ModelState(model)}):
        nn.init.zeros_(model[0].weight)
        model.half().to("meta")
    assert first_difference(before, capture({"model": ModelState(model)})) is None
    assert torch.equal(view, model[0].weight.detach().view(-1))
    with torch.no_grad():
        model[0].weight.add_(1)
    assert torch.equal(view, model[0].weight.detach().view(-1))


class Wide(torch.optim.Optimizer):
    """Keeps the mean gradient of bfloat16 parameters in float32."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            mean = self.state[p].setdefault("mean", torch.zeros_like(p, dtype=torch.float32))
            mean.lerp_(p.grad.float(), 0.1)
            p.sub_((mean * 0.1).bfloat16())


def wide_learner(**more):
    torch.manual_seed(0)
    model = nn.Linear(3, 2).bfloat16()
    return tiny_learner(
        model=model,
        opt=Wide(model.parameters()),
        split_batch=lambda batch: (batch[0].bfloat16(), batch[1]),
        **more,
    )


def test_moments_in_another_dtype_than_their_parameter_come_back_in_theirs():
    learn = wide_learner()
    learn.fit(1)
    before = capture({"opt": learn.opt})
    (mean, _) = (state["mean"] for state in learn.opt.state.values())
    assert not torch.equal(mean, mean.bfloat16().float())
    with learn.probe():
        learn.fit(1)
        assert first_difference(before, capture({"opt": learn.opt}))
    assert first_difference(before, capture({"opt": learn.opt})) is None


def test_moments_in_another_dtype_than_their_parameter_come_back_from_a_file(tmp_path):
    straight = wide_learner()
    straight.fit(2)
    wide_learner().fit(1, [Checkpoint(tmp_path)])
    resumed = wide_learner()
    resumed.fit(2, [Checkpoint(tmp_path)], resume="auto", exact=True)
    ends = [
        capture({"model": ModelState(one.model), "opt": one.opt}) for one in (straight, resumed)
    ]
    assert first_difference(*ends) is None
    assert {state["mean"].dtype for state in resumed.opt.state.values()} == {torch.float32}
    cast = {"opt": {**ends[0]["opt"], "state": {}}}  # negative control
    assert first_difference(cast["opt"], ends[1]["opt"])


class Stubborn:
    """A callback's state, a loader … that cannot be put back."""

    def __init__(self, error):
        self.error = error

    def state_dict(self):
        return {}

    def load_state_dict(self, state_dict):
        raise self.error


@pytest.mark.parametrize("kind", [OSError, SystemExit])
def test_what_cannot_be_put_back_is_named_and_all_else_is_put_back(entries, kind):
    before = capture(entries)
    odd = {"first": Stubborn(ValueError("no")), **entries, "last": Stubborn(kind("closed"))}
    match = r"could not be put back: first \(ValueError\('no'\)\), last \((OSError|SystemExit)\("
    with pytest.raises(RuntimeError if kind is OSError else SystemExit) as caught, probe(odd):
        step(entries)
    text = str(caught.value) if kind is OSError else caught.value.__notes__[0]
    assert re.match(match, text)
    assert text.endswith("Everything else is as it was.")
    assert first_difference(before, capture(entries)) is None


def test_a_part_that_cannot_be_put_back_is_named(entries):
    class Fixed(nn.Module):
        def __setattr__(self, name, value):
            if name == "__class__":
                raise AttributeError("fixed")
            super().__setattr__(name, value)

    model = nn.Sequential(nn.Linear(1, 1), Fixed())
    before = capture({"model": ModelState(model)})
    with (
        pytest.raises(RuntimeError, match=r"model \(RuntimeError\(.*1 \(AttributeError\('fixed'"),
        probe({"model": ModelState(model)}),
    ):
        nn.init.zeros_(model[0].weight)
        object.__setattr__(model[1], "__class__", type("Other", (Fixed,), {}))
    assert first_difference(before, capture({"model": ModelState(model)})) is None


@pytest.mark.parametrize("loaders", ["single", "dict", "list"])
def test_loaders_are_put_back_also_in_dicts_and_lists(loaders):
    def loader():
        items = [(torch.zeros(3), 1)] * 8
        return TorchLoader(items, 2, shuffle=True, generator=torch.Generator().manual_seed(0))

    one, other = loader(), loader()
    valid = {"single": one, "dict": {"a": one, "b": other}, "list": [one, other]}[loaders]
    entries = tiny_learner(data=DataBunch(loader(), valid)).state_entries()
    before = one.generator.get_state(), other.generator.get_state()
    with probe(entries):
        list(one), list(other)
        assert not torch.equal(before[0], one.generator.get_state())
    assert torch.equal(before[0], one.generator.get_state())
    assert torch.equal(before[1], other.generator.get_state()) == (loaders != "single")


class Foreign(torch.optim.Optimizer):
    """Its state holds whatever optimizers of other people hold; not all of it can be copied."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})
        self.seen, self.log, self.base = {0}, [], torch.optim.SGD(self.param_groups, lr=0.1)
        self.noise, self.array = torch.Generator().manual_seed(1), np.zeros(2)
        self.rates = (0.1 / n for n in range(1, 1000))

    @torch.no_grad()
    def step(self):
        self.seen.add(len(self.seen))
        self.log.append([next(self.rates)])
        self.array += 1
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            state.setdefault("dtype", torch.float32)
            state.setdefault("none", None)
            state.setdefault("kinds", set()).add(len(self.log))
            state.setdefault("nested", {"a": ({"mean": torch.zeros_like(p)}, 1.5)})
            state["dtype"] = torch.float64 if state["dtype"] is torch.float32 else torch.float32
            state["nested"]["a"][0]["mean"].add_(p.grad)
            state["nested"]["count"] = state["nested"].get("count", 0) + 1
            p.sub_(torch.rand(p.shape, generator=self.noise) * p.grad * self.param_groups[0]["lr"])


def of_foreign(opt):
    """All that it has, but for the generator, which nobody can look into."""
    return deepcopy(
        {
            "state": [dict(state) for state in opt.state.values()],
            "noise": opt.noise.get_state(),
            "rest": [opt.seen, opt.log, opt.array, opt.base.param_groups[0]["lr"]],
        }
    )


@pytest.mark.parametrize("how", ["probe", "find_lr", "rehearse", "summary"])
@pytest.mark.parametrize("fits", [0, 1])
def test_whatever_an_optimizer_has_in_its_state_is_put_back_in_place(how, fits):
    learn = tiny_learner(opt=Foreign)
    if fits:
        learn.fit(fits)
    opt = learn.opt
    before, seen, log = of_foreign(opt), opt.seen, opt.log
    means = [state["nested"]["a"][0]["mean"] for state in opt.state.values()]
    if how == "probe":
        with learn.probe():
            learn.fit(1)
            opt.base.param_groups[0]["lr"] = 5
            assert first_difference(before, of_foreign(opt))
    else:
        getattr(learn, how)(*([12] if how == "rehearse" else []))
    assert first_difference(before, of_foreign(opt)) is None
    assert (opt.seen, opt.log) == (seen, log)
    assert opt.seen is seen
    assert len(means) == 4 * fits
    assert all(
        state["nested"]["a"][0]["mean"] is mean
        for state, mean in zip(opt.state.values(), means, strict=True)
    )


def test_an_optimizer_that_inherits_from_nothing_is_put_back_in_place():
    class Plain:
        def __init__(self, params):
            self.param_groups = [{"params": list(params), "lr": 0.1}]
            self.state, self.steps = {}, 0

        def step(self):
            self.steps += 1
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    self.state.setdefault(p, torch.zeros_like(p)).add_(p.grad)
                    p.sub_(self.state[p], alpha=0.1)

        def zero_grad(self):
            for p in self.param_groups[0]["params"]:
                p.grad = None

        def state_dict(self):
            raise NotImplementedError

        load_state_dict = state_dict

    learn = tiny_learner(opt=Plain)
    with learn.probe():
        learn.fit(1)
        assert (learn.opt.steps, len(learn.opt.state)) == (4, 4)
    assert (learn.opt.steps, len(learn.opt.state)) == (0, 0)


class Cached(nn.Module):
    """Changes plain attributes in every forward."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.calls, self.keys, self.by_name = 0, [], {"last": None}
        self.buffer, self.hidden = torch.zeros(2), [nn.BatchNorm1d(3)]

    def forward(self, x):
        y = self.linear(self.hidden[0](x))
        self.calls += 1
        self.keys.append(y.detach())
        self.by_name["last"] = y
        self.buffer += 1
        return y


@pytest.mark.parametrize("how", ["probe", "find_lr", "rehearse", "summary"])
def test_plain_attributes_of_a_model_are_put_back_with_what_is_in_them(how):
    learn = tiny_learner(model=Cached())
    model, norm = learn.model, learn.model.hidden[0]
    learn.model(torch.ones(4, 3))
    before = deepcopy([model.calls, model.buffer, norm.state_dict(), len(model.keys)])
    keys, last = model.keys, model.by_name["last"]
    if how == "probe":
        with learn.probe():
            learn.fit(1)
            assert len(model.keys) == 6  # four batches and one of validation
            assert first_difference(before[2], norm.state_dict())
    else:
        getattr(learn, how)(*([12] if how == "rehearse" else []))
    after = [model.calls, model.buffer, norm.state_dict(), len(model.keys)]
    assert first_difference(before, after) is None
    assert model.keys is keys
    assert model.by_name == {"last": last}


class HoldsMuch(Callback):
    """Modules, an optimizer and tensors of its own, none of which it declares."""

    evaluates = True

    def __init__(self):
        self.critic, self.others = nn.Linear(2, 1), {"a": [nn.Linear(2, 1)]}
        self.opt = torch.optim.Adam(self.critic.parameters())
        self.sum, self.sizes = torch.zeros(2), []

    def begin_fit(self, run):
        nn.init.zeros_(self.others["a"][0].weight)

    def after_pred(self, run):
        self.sum += run.pred.detach().sum(0)
        self.sizes.append(len(run.pred))
        if run.training:
            self.critic(run.pred.detach()).sum().backward()
            self.opt.step()

    def everything(self):
        parts = {"critic": self.critic, "other": self.others["a"][0], "opt": self.opt}
        return {**capture(parts), "sum": self.sum.clone(), "grad": self.critic.weight.grad}


@pytest.mark.parametrize("how", ["probe", "find_lr", "rehearse", "summary"])
@pytest.mark.parametrize("inside", [False, True])
def test_what_callbacks_hold_is_put_back_whether_they_declare_it_or_not(how, inside):
    class Asks(Callback):
        def after_epoch(self, run):
            probed()

    def probed():
        before = callback.everything()
        if how == "probe":
            with learn.probe():
                learn.validate() if inside else learn.fit(1)
                callback.critic(torch.ones(1, 2)).sum().backward()
                callback.opt.step()
                nn.init.ones_(callback.others["a"][0].weight)
                assert first_difference(before, callback.everything())
        else:
            getattr(learn, how)(*([12] if how == "rehearse" else []))
        assert first_difference(before, callback.everything()) is None

    callback = HoldsMuch()
    learn = tiny_learner([callback])
    if inside:
        learn.fit(1, [Asks()])
    else:
        probed()
    assert callback.sizes  # a list that something was gathered in keeps it


class MakesAnew(Callback):
    """Makes what it holds in `begin_fit`; of its mean nothing is in a ``state_dict``."""

    evaluates = True

    def begin_fit(self, run):
        self.critic, self.others = nn.Linear(2, 1), {"a": [nn.Linear(2, 1)]}
        self.opt = torch.optim.Adam(self.critic.parameters())
        self.sum, self.mean, self.sizes = torch.zeros(2), MeanMetric(), []

    def after_pred(self, run):
        self.sum = self.sum + run.pred.detach().sum(0)
        self.mean.update(run.pred.detach())
        self.sizes.append(len(run.pred))

    def objects(self):
        return [self.critic, self.others["a"][0], self.opt, self.sum, self.mean]

    def values(self):
        parts = {"critic": self.critic, "other": self.others["a"][0], "opt": self.opt}
        return {**capture(parts), "sum": self.sum.clone(), "mean": self.mean.compute()}


class DeclaresIt(MakesAnew):
    state = ("critic", "opt", "sum", "mean")


@pytest.mark.parametrize("how", ["probe", "find_lr", "rehearse", "summary"])
@pytest.mark.parametrize("kind", [MakesAnew, DeclaresIt])
def test_what_a_callback_makes_anew_in_a_probe_is_what_it_was(how, kind):
    callback = kind()
    learn = tiny_learner([callback])
    learn.fit(1)
    objects, values = callback.objects(), callback.values()
    if how == "probe":
        with learn.probe():
            learn.fit(1)
            assert not any(a is b for a, b in zip(objects, callback.objects(), strict=True))
            assert first_difference(values, callback.values())
        assert len(callback.sizes) == 5  # what was gathered in there may be read
    else:
        getattr(learn, how)(*([12] if how == "rehearse" else []))
    assert first_difference(values, callback.values()) is None
    again = [a is b for a, b in zip(objects, callback.objects(), strict=True)]
    assert again[:3] + again[4:] == [True] * 4
    assert again[3] or kind.state  # a declared tensor is another one, with the same numbers


def test_a_module_that_a_callback_first_makes_in_a_probe_is_gone():
    callback = MakesAnew()
    callback.critic = None
    learn = tiny_learner([callback])
    with learn.probe():
        learn.fit(1)
        assert callback.critic
        callback.n = 3
    assert callback.critic is None
    assert not hasattr(callback, "mean")
    assert callback.n == 3  # a plain number, which it does not declare


def test_parameters_that_only_the_optimizer_holds_are_put_back():
    scale = nn.Parameter(torch.ones(()))

    def loss_func(pred, yb):
        return nn.functional.cross_entropy(pred * scale, yb)

    learn = tiny_learner(
        loss_func=loss_func, opt=lambda params: torch.optim.SGD([*params, scale], lr=0.1)
    )
    with learn.probe():
        learn.fit(1)
        assert scale.item() != 1
    assert scale.item() == 1
    learn.find_lr(steps=10)
    assert scale.item() == 1
    assert scale.grad is None


def test_hooks_of_the_user_stay_in_their_order():
    order = []
    learn = tiny_learner()
    for name in "abc":
        learn.model[0].register_forward_hook(lambda *args, name=name: order.append(name))
    for look in (learn.summary, learn.find_lr, learn.audit, learn.validate):
        look()
        order.clear()
        learn.model(torch.ones(2, 3))
        assert order == ["a", "b", "c"]


class Odd(nn.Module):
    """Sparse buffers, in both layouts."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("coo", torch.eye(3).to_sparse())
        self.register_buffer("csr", torch.eye(3).to_sparse_csr())

    def forward(self, x):
        if self.training:
            self.coo.mul_(0.5)
            self.csr.mul_(0.5)
        return self.linear(torch.sparse.mm(self.csr, torch.sparse.mm(self.coo, x.T)).T)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_sparse_buffers_are_put_back():
    learn = tiny_learner(model=Odd())
    coo, csr = learn.model.coo, learn.model.csr
    before = capture(learn.state_entries())
    with learn.probe():
        learn.fit(1)
        assert first_difference(before, capture(learn.state_entries()))
    assert first_difference(before, capture(learn.state_entries())) is None
    learn.find_lr(steps=10)
    learn.summary()
    assert first_difference(before, capture(learn.state_entries())) is None
    assert learn.model.coo is coo
    assert learn.model.csr is csr


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.LazyLinear(2))

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("how", ["find_lr", "summary", "audit", "rehearse"])
def test_a_lazy_model_that_was_never_called_can_be_probed_and_is_lazy_again(how):
    learn = tiny_learner(model=Lazy())
    before = capture(learn.state_entries())
    found = getattr(learn, how)(*([3] if how == "rehearse" else []))
    assert first_difference(before, capture(learn.state_entries())) is None
    assert all(map(is_lazy, learn.model.parameters()))
    if how == "summary":
        assert found.parameters == 34  # as the first batch makes it
    if how == "audit":
        assert [site.kind for site in found.sites[:3]] == ["linear", "batch_norm", "linear"]
    learn.fit(1)
    assert first_difference(before, capture(learn.state_entries()))


class Centre(nn.Module):
    """Has a weight and a moving mean."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("mean", torch.zeros(2))

    def loss(self, pred, yb):
        if pred.requires_grad:
            self.mean.mul_(0.9).add_(pred.detach().mean(0), alpha=0.1)
        return nn.functional.cross_entropy((pred - self.mean) * self.scale, yb)


class Around:
    """A loss that is no module, and holds one; its own mean is bound anew at every batch."""

    def __init__(self):
        self.centre, self.mean = Centre(), torch.zeros(2)

    def __call__(self, pred, yb):
        if pred.requires_grad:
            self.mean = 0.5 * self.mean + pred.detach().mean(0)
        return self.centre.loss(pred - self.mean, yb)


@pytest.mark.parametrize("how", ["object", "method", "method of a module", "function"])
def test_what_a_loss_function_holds_that_is_no_module_is_put_back(how):
    around = Around()
    loss_func = {
        "object": around,
        "method": around.__call__,
        "method of a module": around.centre.loss,
        "function": lambda pred, yb: around.centre.loss(pred, yb),
    }[how]
    model, data = tiny_learner().model, tiny_learner().data
    opt = torch.optim.SGD([*model.parameters(), around.centre.scale], 0.1)
    learn = Learner(model, opt, loss_func, data, progress=False)
    learn.fit(1)
    assert around.centre.mean.any()
    kept, mean = around.centre.mean.clone(), around.mean.clone()
    learn.find_lr(steps=12)
    with learn.probe():
        learn.fit(1)
        assert not torch.equal(around.centre.mean, kept)
    assert torch.equal(around.centre.mean, kept)
    assert torch.equal(around.mean, mean)
