"""Rung 3: the optimizer steps as torch's SGD does, bit for bit, and owns only what it was given."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lehr.foundations.module import Linear, ReLU, Sequential
from lehr.foundations.optimizer import Optimizer

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long() + (X[:, 0] > 0.5).long()


def net() -> Sequential:
    torch.manual_seed(0)
    return Sequential(Linear(6, 5), ReLU(), Linear(5, 3))


def backward(model, xb=X, yb=Y) -> None:
    F.cross_entropy(model(xb), yb).backward()


def values(model) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def grads(model) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters()]


def equal(a, b) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def close(a, b) -> bool:
    return all(torch.allclose(p, q, atol=1e-6) for p, q in zip(a, b, strict=True))


def trained(make_opt, steps=100, update=None):
    model = net()
    opt = make_opt(model)
    for i in range(steps):
        backward(model, X[i % 8 :: 8], Y[i % 8 :: 8])
        if update is None:
            opt.step()
            opt.zero_grad()
        else:
            update(model)
    return values(model)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 2), st.floats(0, 2), st.integers(1, 10))
def test_two_groups_step_as_torchs_do(lr, other_lr, steps):
    def groups(model):
        return [
            {"params": model[0].parameters()},
            {"params": model[2].parameters(), "lr": other_lr},
        ]

    ours = trained(lambda model: Optimizer(groups(model), lr), steps)
    theirs = trained(lambda model: torch.optim.SGD(groups(model), lr), steps)
    assert equal(ours, theirs)
    assert not equal(ours, trained(lambda model: Optimizer(groups(model), lr + 0.1), steps))


def test_an_update_without_the_minus_assignment_trains_nothing():
    """Assigning ``p = p.grad * lr`` to the loop's own variable changes no parameter and raises
    nothing; ``p -= p.grad * lr`` does train.
    """

    def printed(model):
        with torch.no_grad():
            for p in model.parameters():
                p = p.grad * 0.5
        model_zero(model)

    def meant(model):
        with torch.no_grad():
            for p in model.parameters():
                p -= p.grad * 0.5
        model_zero(model)

    assert equal(trained(lambda model: None, 100, printed), values(net()))
    assert not close(trained(lambda model: None, 100, meant), values(net()))


def model_zero(model) -> None:
    for p in model.parameters():
        p.grad = None


def test_gradients_that_are_not_cleared_add_up():
    """Without clearing, the gradient at the second batch is the sum of both batches' gradients."""
    model = net()
    backward(model, X[:32], Y[:32])
    first = grads(model)
    backward(model, X[32:], Y[32:])
    both = grads(model)
    model_zero(model)
    backward(model, X[32:], Y[32:])
    second = grads(model)
    assert close(both, [a + b for a, b in zip(first, second, strict=True)])
    assert not close(both, second)


def test_every_step_moves_every_parameter_even_of_a_generator():
    """Parameters given as a generator are kept as a list: the second step moves them all again."""
    model = net()
    opt = Optimizer(p for p in model.parameters())
    generator = (p for p in model.parameters())
    assert (len(list(generator)), len(list(generator))) == (4, 0)  # what is read only once
    for _ in range(2):
        before = values(model)
        backward(model)
        opt.step()
        opt.zero_grad()
        assert all(not torch.equal(a, b) for a, b in zip(before, values(model), strict=True))


def test_the_learning_rate_is_the_optimizers_own():
    """From the same point, lr 0.5 moves ten times as far as lr 0.05."""
    moves = []
    for lr in (0.5, 0.05):
        p = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
        opt = Optimizer([p], lr)
        (3 * p).sum().backward()
        opt.step()
        moves.append(1 - p.item())
    assert moves[0] / moves[1] == pytest.approx(10)
    assert Optimizer([p]).param_groups[0]["lr"] == 0.5


def test_a_parameter_without_gradient_is_skipped():
    """Frozen and unused parameters have no gradient: stepping and clearing pass them by."""
    used, unused = (torch.ones(1, requires_grad=True) for _ in range(2))
    opt = Optimizer([used, unused])
    used.sum().backward()
    opt.step()
    opt.zero_grad()
    assert (used.item(), unused.item()) == (0.5, 1.0)
    with pytest.raises(AttributeError):  # what clearing without looking does
        unused.grad.zero_()


def test_an_optimizer_owns_its_layer_only_until_more_is_added():
    """An optimizer over the last layer leaves the first layer's weights as they are and its
    gradients in place; added as a group, the first layer moves too.
    """
    model = net()
    opt = Optimizer(model[2].parameters(), lr=0.1)
    first = values(model[0])
    for _ in range(10):
        backward(model)
        opt.step()
        opt.zero_grad()
    assert equal(values(model[0]), first)
    assert model[0].weight.grad is not None
    assert model[2].weight.grad is None
    model_zero(model)
    opt.add_param_group({"params": model[0].parameters(), "lr": 0.01})
    backward(model)
    opt.step()
    assert not equal(values(model[0]), first)
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.01]


def test_step_and_clear_replace_the_update_by_hand():
    """After 100 steps the weights have the bits of torch's SGD and of p.sub_(grad, alpha=lr); the
    product lr * grad, rounded before it is subtracted, ends within 1e-5.
    """
    ours = trained(lambda model: Optimizer(model.parameters(), 0.5))
    assert equal(ours, trained(lambda model: torch.optim.SGD(model.parameters(), 0.5)))

    def update(rule):
        def step(model):
            with torch.no_grad():
                for p in model.parameters():
                    rule(p)
            model_zero(model)

        return trained(lambda model: None, 100, step)

    assert equal(ours, update(lambda p: p.sub_(p.grad, alpha=0.5)))
    rounded_twice = update(lambda p: p.sub_(p.grad * 0.5000001))
    assert not equal(ours, rounded_twice)
    for p, q in zip(ours, update(lambda p: p.sub_(p.grad * 0.5)), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-5)


def test_clearing_is_a_call_of_its_own_as_gradients_add_up():
    """Two backward passes over one batch give exactly twice the gradient of one."""
    model = net()
    backward(model)
    once = grads(model)
    backward(model)
    assert equal(grads(model), [2 * g for g in once])
    Optimizer(model.parameters()).zero_grad()
    backward(model)
    assert equal(grads(model), once)


def test_clearing_within_the_step_forbids_accumulation():
    """If every step clears, no gradient is left after it, and a second batch's step uses that
    batch's gradient alone.
    """
    model = net()
    opt = Optimizer(model.parameters(), 0.0, auto_zero=True)
    backward(model, X[:32], Y[:32])
    opt.step()
    assert all(p.grad is None for p in model.parameters())
    backward(model, X[32:], Y[32:])
    effective = grads(model)
    model_zero(model)
    backward(model, X[32:], Y[32:])
    assert equal(effective, grads(model))
    backward(model, X[:32], Y[:32])
    assert not close(effective, grads(model))


def test_two_halved_losses_give_the_gradient_of_the_whole_batch():
    """Half the loss of two half-batches, added up, has the whole batch's gradient; without the
    halving it is twice that, which doubles the learning rate as well.
    """
    model = net()
    backward(model)
    whole = grads(model)
    for share in (0.5, 1.0):
        model_zero(model)
        for part in (slice(0, 32), slice(32, 64)):
            (share * F.cross_entropy(model(X[part]), Y[part])).backward()
        assert close(grads(model), [2 * share * g for g in whole])
    assert not close(grads(model), whole)


def test_unequal_parts_are_weighted_by_their_size():
    """Parts of 48 and 16 items need weights of 3/4 and 1/4; equal weights give another gradient."""
    model = net()
    backward(model)
    whole = grads(model)
    for weights, right in (((0.75, 0.25), True), ((0.5, 0.5), False)):
        model_zero(model)
        for part, weight in zip((slice(0, 48), slice(48, 64)), weights, strict=True):
            (weight * F.cross_entropy(model(X[part]), Y[part])).backward()
        assert close(grads(model), whole) is right


def test_auto_zero_has_the_path_of_clearing_by_hand():
    """With ``auto_zero`` the weights have the bits of those that clearing by hand leads to."""

    def never_cleared(auto_zero):
        model = net()
        opt = Optimizer(model.parameters(), 0.1, auto_zero=auto_zero)
        for _ in range(20):
            backward(model)
            opt.step()
        return values(model)

    by_hand = net()
    opt = Optimizer(by_hand.parameters(), 0.1)
    for _ in range(20):
        backward(by_hand)
        opt.step()
        opt.zero_grad()
    assert equal(never_cleared(auto_zero=True), values(by_hand))
    assert not close(never_cleared(auto_zero=False), values(by_hand))


def test_clearing_happens_after_all_parameters_have_moved():
    """``auto_zero`` clears once the loop over the parameters is done; inside it, only the first
    parameter would move.
    """

    class ClearsInside(Optimizer):
        @torch.no_grad()
        def step(self):
            for p in self._parameters():
                if p.grad is not None:
                    p -= 0.1 * p.grad
                self.zero_grad()

    for kind, moved in ((Optimizer, 4), (ClearsInside, 1)):
        model = net()
        before = values(model)
        opt = kind(model.parameters(), 0.1, auto_zero=True)
        backward(model)
        opt.step()
        after = values(model)
        assert sum(not torch.equal(p, q) for p, q in zip(before, after, strict=True)) == moved


def test_its_state_is_laid_out_as_torchs_and_loads_into_the_same_groups():
    model = net()
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.1}]
    opt = Optimizer(groups, 0.5)
    state = copy.deepcopy(opt.state_dict())
    assert state["param_groups"][1] == {"lr": 0.1, "params": [2, 3]}
    opt.param_groups[1]["lr"] = 9.0
    opt.load_state_dict(state)
    assert opt.param_groups[1]["lr"] == 0.1
    assert opt.param_groups[1]["params"][0] is model[2].weight
    with pytest.raises(ValueError, match=r"groups of \[4\] parameters; got \[2, 2\]"):
        Optimizer(model.parameters()).load_state_dict(state)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ([], ValueError, "params must hold at least one tensor; got none"),
        (torch.ones(2), TypeError, r"got one tensor. Write \[p\]"),
        ([torch.ones(1), 3], TypeError, "params must hold tensors; got 3"),
        ([torch.ones(2, requires_grad=True) * 2], ValueError, "must not be computed from others"),
        ([{"params": []}], ValueError, "at least one tensor"),
        ([{"params": [torch.ones(1)], "lr": -1.0}], ValueError, "lr must be at least 0; got -1.0"),
    ],
)
def test_params_that_cannot_be_trained_are_refused(params, error, message):
    with pytest.raises(error, match=message):
        Optimizer(params)


def test_a_parameter_given_twice_is_refused():
    p = torch.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match=r"each tensor once; got one of shape \(3,\) twice"):
        Optimizer([p, p])
    opt = Optimizer([p])
    with pytest.raises(ValueError, match="twice"):
        opt.add_param_group({"params": [p]})
    assert len(opt.param_groups) == 1
