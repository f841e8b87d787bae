"""Optimizers that ask for the loss anew train as in a loop of one's own."""

from functools import partial

import pytest
import torch
from torch import nn

from lehr import Callback, DataBunch
from lehr.callbacks import Closure, ParamScheduler, Rewind
from lehr.events import Layer
from lehr.schedules import sched_lin
from lehr.testing import tiny_learner


class SAM(torch.optim.Optimizer):
    """As the usual one: it climbs along the gradient, asks for it there, and steps from before."""

    def __init__(self, params, rho=0.1, **kwargs):
        super().__init__(params, {"rho": rho, **kwargs})
        self.base = torch.optim.SGD(self.param_groups, **kwargs)
        self.base.state = self.state

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.base.param_groups, self.base.state = self.param_groups, self.state

    @torch.no_grad()
    def step(self, closure=None):
        assert closure is not None, "SAM requires closure, but it was not provided"
        held = [p for group in self.param_groups for p in group["params"]]
        norm = torch.stack([p.grad.norm() for p in held]).norm()
        before = [p.clone() for p in held]
        for p in held:
            p.add_(p.grad, alpha=self.param_groups[0]["rho"] / (norm.item() + 1e-12))
        with torch.enable_grad():
            closure()
        for p, old in zip(held, before, strict=True):
            p.copy_(old)
        self.base.step()


OPTIMIZERS = {
    "LBFGS": lambda ps: torch.optim.LBFGS(ps, lr=0.3, max_iter=5),
    "LBFGS with a line search": lambda ps: torch.optim.LBFGS(ps, line_search_fn="strong_wolfe"),
    "SAM": lambda ps: SAM(ps, lr=0.2, momentum=0.9),
    "one that may do without": lambda ps: torch.optim.Adam(ps, lr=0.1),
}


def parts(make):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    batches = [(torch.randn(6, 3), torch.randint(2, (6,))) for _ in range(5)]
    return model, make(model.parameters()), batches


def learner(make, *callbacks):
    model, opt, batches = parts(make)
    return tiny_learner(callbacks, model=model, opt=opt, data=DataBunch(batches, batches))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_fit_equals_the_plain_loop_bit_for_bit(name):
    model, opt, batches = parts(OPTIMIZERS[name])
    for xb, yb in batches * 3:

        def closure():
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(xb), yb)  # noqa: B023
            loss.backward()
            return loss

        closure()
        opt.step(closure)
        opt.zero_grad()
    learn = learner(OPTIMIZERS[name], Closure())
    assert learn.fit(3).n_steps == 15
    pairs = list(zip(model.parameters(), learn.model.parameters(), strict=True))
    assert all(torch.equal(p, q) for p, q in pairs)
    learn.fit(1)
    assert not all(torch.equal(p, q) for p, q in pairs)


class Point(nn.Module):
    """Predicts its only weight, whatever it is given."""

    def __init__(self, n):
        super().__init__()
        self.x = nn.Parameter(torch.zeros(n, dtype=torch.float64))

    def forward(self, _):
        return self.x


class ExactSearch(Callback):
    """Goes along LBFGS's direction to where a quadratic with this curvature is lowest."""

    layer = Layer.SEARCH

    def __init__(self, curved):
        self.curved, self.errors = curved, []

    @torch.no_grad()
    def step(self, run, proceed):
        x = run.model.x
        before, slope = x.clone(), x.grad.clone()
        with torch.enable_grad():
            proceed()
        state = run.opt.state[x]
        d = state["d"]
        state["t"] = (-(slope @ d) / (d @ self.curved @ d)).item()
        x.copy_(before + state["t"] * d)


@pytest.mark.parametrize("n", [2, 5])
def test_lbfgs_solves_a_quadratic_in_as_many_steps_as_it_has_dimensions(n):
    """With an exact line search each direction is conjugate to those before, and the last step ends
    at the solution: Nocedal and Wright 2006, theorems 5.1 and 6.4. One step before it is far."""
    torch.manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
    curved = q @ torch.diag(torch.logspace(0, 2, n, dtype=torch.float64)) @ q.T
    b = torch.ones(n, dtype=torch.float64)
    solution = torch.linalg.solve(curved, b)

    def error(steps):
        learn = tiny_learner(
            [Closure(), ExactSearch(curved)],
            model=Point(n),
            opt=partial(torch.optim.LBFGS, max_iter=1, history_size=n),
            loss_func=lambda x: x @ curved @ x / 2 - b @ x,
            data=DataBunch([torch.zeros(1, 1)] * steps),
        )
        return (learn.fit(1).model.x - solution).norm().item()

    assert error(n) < 1e-8
    assert error(n - 1) > 1e-3


@pytest.mark.parametrize("name", ["LBFGS", "SAM"])
def test_what_probes_looks_and_resumes_works_with_it(name):
    learn = learner(OPTIMIZERS[name], Closure())
    learn.fit(1)
    before = [p.detach().clone() for p in learn.model.parameters()]
    learn.find_lr(steps=10)
    learn.rehearse(3)
    learn.validate()
    learn.summary()
    assert all(torch.equal(p, q) for p, q in zip(before, learn.model.parameters(), strict=True))
    assert learn.check_resume(epochs=2, batches=3).ok


def test_the_check_of_resuming_finds_one_that_forgets_its_momentum():
    class Forgets(SAM):
        def load_state_dict(self, state):
            torch.optim.Optimizer.load_state_dict(self, state)
            self.base.param_groups = self.param_groups

    learn = learner(lambda ps: Forgets(ps, lr=0.2, momentum=0.9), Closure())
    check = learn.check_resume(epochs=2, batches=3)
    assert check.repeats is None
    assert not check.ok


@pytest.mark.parametrize("name", ["LBFGS", "SAM"])
def test_without_it_the_error_says_what_to_attach(name):
    with pytest.raises((TypeError, AssertionError)) as caught:
        learner(OPTIMIZERS[name]).fit(1)
    assert any("Attach lehr.callbacks.Closure()" in note for note in caught.value.__notes__)


def test_an_error_that_has_to_do_with_nothing_of_it_has_no_such_note():
    class Fail(Callback):
        def step(self, run, proceed):
            raise ZeroDivisionError("closed")

    with pytest.raises(ZeroDivisionError) as caught:
        learner(OPTIMIZERS["LBFGS"], Fail(), Closure()).fit(1)
    assert not any("Closure()" in note for note in caught.value.__notes__)


def test_what_others_do_around_a_step_is_still_done():
    class Skip(Callback):
        def step(self, run, proceed):
            if run.batch_index % 2:
                proceed()

    run = learner(OPTIMIZERS["LBFGS"], Skip(), Closure(), Rewind()).fit(1)
    assert run.n_steps == 2


def test_gradients_are_averaged_over_a_window_and_clipped_in_every_evaluation():
    norms = []

    class Clip(Callback):
        def finish_grad(self, run, proceed):
            proceed()
            nn.utils.clip_grad_norm_(run.trained_parameters(), 0.01)
            norms.append(torch.stack([p.grad.norm() for p in run.trained_parameters()]).norm())

    class Accumulate(Callback):
        layer = Layer.WINDOW
        batches_per_step = 5

        def begin_batch(self, run):
            run.closes = run.window.batches + 1 == 5

    run = learner(OPTIMIZERS["LBFGS"], Closure(), Clip(), Accumulate()).fit(1)
    assert run.n_steps == 1
    assert len(norms) > 2
    assert max(norms) <= 0.01 + 1e-6


def test_one_of_several_optimizers_gets_it():
    calls = {"a": [], "b": []}

    def noting(name):
        class Noting(torch.optim.SGD):
            def step(self, closure=None):
                calls[name].append(closure is not None)
                return super().step(closure)

        return Noting

    def several(model):
        return {
            "a": noting("a")(model[0].parameters(), lr=0.1),
            "b": noting("b")(model[2].parameters(), lr=0.1),
        }

    for given, expected in ((None, [True, True]), ("b", [False, True])):
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        tiny_learner([Closure(given)], model=model, opt=several(model)).fit(1)
        assert [calls["a"][-1], calls["b"][-1]] == expected
    with pytest.raises(ValueError, match=r"opt='c' is no optimizer .* Use one of: a, b"):
        tiny_learner([Closure("c")], model=model, opt=several(model)).fit(1)
    with pytest.raises(ValueError, match="It has one; leave opt out"):
        tiny_learner([Closure("c")]).fit(1)
    assert repr(Closure("b")) == "Closure('b')"


def test_a_schedule_drives_it():
    learn = learner(OPTIMIZERS["SAM"], Closure(), ParamScheduler("rho", sched_lin(0.1, 0.0)))
    assert learn.fit(1).history["rho"] == pytest.approx([0.1, 0.08, 0.06, 0.04, 0.02])


class SecondOrder(torch.optim.SGD):
    """As AdaHessian: it differentiates the gradient."""

    def step(self, closure=None):
        held = [p for group in self.param_groups for p in group["params"]]
        grads = [p.grad for p in held]
        curved = torch.autograd.grad(grads, held, [torch.ones_like(g) for g in grads])
        with torch.no_grad():
            for p, h in zip(held, curved, strict=True):
                p.grad = p.grad.detach() / (1 + h.abs())
        super().step()


def second_order(ps):
    return SecondOrder(ps, lr=0.1)


def test_a_gradient_that_must_have_a_graph_is_said_how_to_get():
    with pytest.raises(RuntimeError, match="grad_fn") as caught:
        learner(second_order).fit(1)
    assert any("backward(create_graph=True)" in note for note in caught.value.__notes__)


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
def test_what_is_said_there_trains_as_the_plain_loop_does():
    class Graph(Callback):
        def backward(self, run, proceed):
            run.window.share(run).backward(create_graph=True)

    model, opt, batches = parts(second_order)
    for xb, yb in batches:
        nn.functional.cross_entropy(model(xb), yb).backward(create_graph=True)
        opt.step()
        opt.zero_grad()
    learn = learner(second_order, Graph())
    learn.fit(1)
    pairs = zip(model.parameters(), learn.model.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)
