"""A graph is called with what it takes, or not at all."""

import pytest
import torch

from lehr import Callback, Changes, GraphPart
from lehr.loop.run import Run
from lehr.loop.step.calls import Calls
from lehr.loop.step.inside import Inside
from lehr.loop.step.layout import Layout
from lehr.testing import tiny_learner


def same(values, tensors, numbers, *, held):
    return Changes(logs={"held": torch.tensor(held)})


class Holds(Callback):
    in_graph = ("finish_grad",)

    def __init__(self):
        self.held = 0

    def finish_grad(self, run, proceed): ...

    def graph_part(self, method, run):
        return GraphPart(same, fixed={"held": self.held})


@pytest.fixture
def parts():
    """A run before its first batch, its callback, and the calls that a stand-in answers."""
    learn, callback = tiny_learner(opt=torch.optim.AdamW, compile="eager"), Holds()
    run = Run(learn, learn.planned(learn.data), [callback])
    run.xb, run.yb = torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)
    run.weight, seen = 2, []

    def graph(*given):
        seen.append(given)
        return torch.tensor(1.0), torch.zeros(2, 2), {}, [{}]

    graph.made_for = lambda given: graph

    learn.graphs.of = lambda *args, **kwargs: graph
    return run, callback, Calls(run, Inside(run.callbacks)), seen


def test_without_states_nothing_is_done_but_to_gather(parts):
    run, _, calls, seen = parts
    layout = Layout(with_gradients(run), run.plan.graphs)
    assert not calls.make("whole", layout)
    assert (seen, run.loss, calls.why) == ([], None, None)
    assert calls.make("gather", layout)
    (given,) = seen
    assert (given[5].item(), given[6:9], given[10]) == (2.0, ((), (), []), None)
    assert given[9][0][0] is run.model[0].weight.grad
    assert run.loss == 1


def with_gradients(run):
    for p in run.model.parameters():
        p.grad = torch.zeros_like(p)
    return run


def with_states(run):
    with_gradients(run).opt.step()
    return Layout(run, run.plan.graphs)


def test_the_last_of_a_window_has_its_weight_and_clears_the_gradients(parts):
    run, _, calls, seen = parts
    layout = with_states(run)
    run.window.weight = 3
    assert calls.make("close", layout)
    assert seen[0][10].item() == 5
    assert all(p.grad is None for p in run.model.parameters())
    assert calls.make("whole", layout)
    assert (seen[1][5], seen[1][9], seen[1][10]) == (None, (), None)  # the mean loss, alone


def test_what_the_graph_holds_may_change_three_times(parts):
    run, callback, calls, _ = parts
    layout = with_states(run)
    for callback.held in range(4):
        assert calls.make("whole", layout)
    callback.held = 4
    assert not calls.make("whole", layout)
    assert calls.why == (
        "'held', which Holds.graph_part returns as fixed for finish_grad, keeps changing, and the "
        "graph holds it; return it as one of the numbers or tensors, or leave its schedule out"
    )


class MadeAnew(Callback):
    in_graph = ("finish_grad",)

    def finish_grad(self, run, proceed): ...

    def graph_part(self, method, run):
        return GraphPart(lambda values, tensors, numbers: Changes())


def test_a_function_that_is_made_anew_is_told_from_what_it_is_given(parts):
    run, _, calls, seen = parts
    calls = Calls(run, Inside([MadeAnew()]))
    layout = with_states(run)
    made = [calls.make("whole", layout) for _ in range(5)]
    assert made == [True] * 4 + [False]
    assert len(seen) == 4
    assert calls.why == (
        "the function that MadeAnew.graph_part returns for finish_grad keeps changing: a lambda, "
        "an inner function or a partial that is made in each call is another one every time. "
        "Return a function of a module, and give it what it needs as numbers, tensors or fixed"
    )


def test_a_number_in_the_graph_may_change_three_times_too(parts):
    run, _, calls, _ = parts
    layout = with_states(run)
    for run.opt.param_groups[0]["eps"] in (0.1, 0.2, 0.3, 0.4):
        assert calls.make("whole", layout)
    layout = with_states(run)  # a new one does not compare with the one before
    run.opt.param_groups[0]["eps"] = 0.5
    assert calls.make("whole", layout)
    run.opt.param_groups[0]["eps"] = 0.6
    assert not calls.make("whole", layout)
    assert calls.why.startswith("eps of AdamW keeps changing")


def test_what_the_graph_is_made_of_may_be_replaced_three_times(parts):
    run, _, calls, _ = parts
    for _ in range(3):
        run.loss_func = torch.nn.CrossEntropyLoss()
        for _ in range(2):  # the same one, in another epoch
            assert calls.make("whole", with_states(run))
    run.loss_func = torch.nn.CrossEntropyLoss()
    layout = with_states(run)
    assert not calls.make("whole", layout)
    assert calls.why.startswith("the model or the loss function keeps being replaced")


def test_before_a_graph_is_made_it_is_asked_what_is_trained(parts):
    run, _, calls, _ = parts
    layout, known = with_states(run), run.plan.graphs.of()
    known.made_for = lambda given: None
    assert not calls.make("whole", layout)
    assert calls.asks
    assert calls.make("whole", layout, seen=True)
    assert not calls.asks
    known.made_for = lambda given: known
    assert calls.make("whole", layout)
    assert not calls.asks


def test_who_asks_leaves_no_gradients_that_were_not_there(parts):
    run, _, calls, _ = parts
    layout, known = with_states(run), run.plan.graphs.of()
    known.made_for = lambda given: None
    run.opt.zero_grad()
    assert not calls.make("gather", layout)
    assert all(p.grad is None for p in run.model.parameters())
    with_gradients(run).window.batches = 1
    assert not calls.make("gather", layout)
    assert all(p.grad is not None for p in run.model.parameters())
