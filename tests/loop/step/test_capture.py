"""A step on a GPU becomes a CUDA graph; without one, what torch needs for that is there."""

from functools import partial

import pytest
import torch
from torch import nn

from lehr.callbacks import EMA, Accumulate, ClipGradients, ParamScheduler
from lehr.loop.step import capture
from lehr.loop.step.capture import Captured
from lehr.loop.step.graphs import Graphs
from lehr.schedules import one_cycle
from lehr.testing import tiny_learner

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),  # of torch.jit, within torch
]


def test_what_a_step_returns_is_not_what_the_next_one_writes():
    place = torch.zeros(1)
    step = Captured(lambda value: (place.fill_(value), {"loss": place}, None))
    (first, parts, none), (second, _, _) = step(1.0), step(2.0)
    assert (first.item(), parts["loss"].item(), none, second.item()) == (1.0, 1.0, None, 2.0)


@pytest.fixture
def graphs_of(monkeypatch):
    """Trace as for a CUDA device; returns what torch's compiler would be given for each graph.

    The graphs are run operation by operation.
    """
    from torch._functorch.aot_autograd import make_boxed_func
    from torch._inductor.compile_fx import compile_fx

    made, compile = [], torch.compile

    def noted(graph, inputs, static_input_idxs=(), **how):
        places = [node for node in graph.graph.nodes if node.op == "placeholder"]
        copies = [node for node in graph.graph.nodes if node.target is torch.ops.aten.copy_.default]
        written = {places.index(node.args[0]) for node in copies}
        made.append((written, set(static_input_idxs), set(range(len(inputs)))))
        return make_boxed_func(graph.forward)

    def traced(step, *, options, backend, **how):
        assert options["triton.cudagraphs"]
        assert backend == "inductor"
        return compile(step, backend=partial(compile_fx, inner_compile=noted), **how)

    monkeypatch.setattr(Graphs, "captures_on", lambda self, device: self.captures)
    monkeypatch.setattr(torch, "compile", traced)
    return made


def trained(compile):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    callbacks = [EMA(0.9), ClipGradients(1.0), Accumulate(2)]
    opt = partial(torch.optim.AdamW, lr=0.01)
    learn = tiny_learner(callbacks, model=model, opt=opt, compile=compile)
    learn.fit(3, [ParamScheduler("lr", one_cycle(0.05))])
    return learn


def test_a_graph_writes_only_to_what_is_said_to_stay(graphs_of):
    learn, eager = trained("always"), trained(False)
    assert len(graphs_of) == 2  # one gathers gradients, one makes the step: no epoch needs another
    for written, stays, every in graphs_of:
        assert written
        assert written <= stays
        assert len(every - stays) == 2  # xb and yb are copied to where the graph reads them
    for p, q in zip(learn.model.parameters(), eager.model.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_without_being_told_torch_would_capture_nothing(graphs_of, monkeypatch):
    monkeypatch.setattr(capture, "keep_in_place", lambda given: None)
    trained("always")
    assert not any(written <= stays for written, stays, _ in graphs_of)


def test_only_torchs_own_compiler_captures():
    cuda, cpu = torch.device("cuda", 0), torch.device("cpu")
    assert Graphs("inductor").captures_on(cuda)
    assert not Graphs("inductor").captures_on(cpu)
    assert not Graphs("eager").captures_on(cuda)
    told_not_to = Graphs("inductor")
    told_not_to.captures = False
    assert not told_not_to.captures_on(cuda)
