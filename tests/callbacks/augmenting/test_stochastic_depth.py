"""Residual branches that are left out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lehr import Callback, DataBunch, Learner, models
from lehr.callbacks import Accumulate, Checkpoint, Freeze, ParamScheduler, StochasticDepth
from lehr.callbacks.augmenting.stochastic_depth import dropped
from lehr.optim.parts import parameters_in
from lehr.schedules import sched_lin


class Block(nn.Module):
    """Adds what its body makes of the input."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


def learner(*callbacks, model=None, n=64, batches=4, lr=1e-3):
    torch.manual_seed(0)
    if model is None:
        model = nn.Sequential(*(Block(nn.Linear(3, 3)) for _ in range(4)), nn.Linear(3, 2))
    draw = torch.Generator().manual_seed(1)
    x = [torch.randn(n, 3, generator=draw) for _ in range(batches)]
    bunch = DataBunch([(one, torch.arange(n) % 2) for one in x], [(x[0], torch.arange(n) % 2)])
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    quiet = {"progress": False, "rehearsal": False, "seed": 5}
    return Learner(model, opt, F.cross_entropy, bunch, callbacks, **quiet)


def outputs_of(model, bodies, x):
    """What each body returns, with the hooks that are there."""
    kept = {name: [] for name in bodies}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda module, args, out, name=name: kept[name].append(out.detach())
        )
        for name in bodies
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(all_of_it) for name, all_of_it in kept.items()}


class Ask(Callback):
    """Passes many items through the model in the middle of a fit."""

    state = ()
    names = ("0.body", "1.body", "2.body", "3.body")

    def after_backward(self, run):
        x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            self.train = outputs_of(run.model, self.names, x)
            run.model.eval()
            self.still = outputs_of(run.model, self.names, x)
            run.model.train()


def test_later_branches_are_left_out_more_often_for_each_item_on_its_own():
    ask = Ask()
    learner(StochasticDepth(0.6), ask, batches=1).fit(1)
    for number, name in enumerate(Ask.names, 1):
        gone = (ask.train[name] == 0).all(1)
        assert gone.float().mean() == pytest.approx(0.6 * number / 4, abs=0.03)
        assert not (ask.still[name] == 0).any()
    first = "0.body"  # the input of the others is another
    stays = (ask.train[first] != 0).all(1)
    torch.testing.assert_close(ask.train[first][stays], ask.still[first][stays] / (1 - 0.15))


def test_the_mean_over_many_draws_is_the_branch_and_its_gradient():
    torch.manual_seed(0)
    branch = torch.randn(50_000, 2, requires_grad=True)
    assert torch.equal(dropped(branch, 0.0), branch)
    out = dropped(branch.detach().abs().requires_grad_(), 0.3)
    assert out.mean().item() == pytest.approx(branch.abs().mean().item(), rel=0.02)
    dropped(branch, 0.3).sum().backward()
    share = torch.tensor(1 / 0.7)
    assert set(branch.grad.unique().tolist()) == {0.0, share.item()}
    assert (branch.grad[:, 0] == branch.grad[:, 1]).all()


def test_a_chance_of_one_leaves_the_branch_out_and_nothing_is_nan():
    assert dropped(torch.tensor([[1.0], [float("nan")]]), 1.0).tolist() == [[0.0], [0.0]]


def test_it_leaves_hooks_evaluation_and_names_as_they_are():
    plain, with_it = learner(), learner(StochasticDepth(0.5))
    before = list(with_it.model.state_dict())
    assert plain.validate() == with_it.validate()
    with_it.fit(1)
    assert list(with_it.model.state_dict()) == before
    assert not any(module._forward_hooks for module in with_it.model.modules())
    assert plain.fit(1).history["loss"] != with_it.run.history["loss"]


def test_without_a_chance_it_is_the_plain_training_bit_for_bit():
    plain, with_it = learner(), learner(StochasticDepth(0.0))
    assert plain.fit(2).history["loss"] == with_it.fit(2).history["loss"]


def test_the_chance_can_be_scheduled():
    ask = Ask()
    schedule = ParamScheduler("callbacks.stochastic_depth.p", sched_lin(1.0, 0.0))
    run = learner(StochasticDepth(), schedule, ask).fit(1)
    gone = (ask.train["3.body"] == 0).all(1).float().mean()
    assert gone == pytest.approx(0.25, abs=0.03)
    assert run.history["callbacks.stochastic_depth.p"] == [1.0, 0.75, 0.5, 0.25]


def test_it_goes_on_exactly_after_a_stop(tmp_path):
    class Stop(Callback):
        replays = False
        state = ()

        def after_step(self, run):
            if run.n_steps == 3:
                run.interrupt("test")

    straight = learner(StochasticDepth(0.5), lr=0.1).fit(2).history["loss"]
    for stop in ([Stop()], []):
        learn = learner(StochasticDepth(0.5), Checkpoint(tmp_path), *stop, lr=0.1)
        run = learn.fit(2, resume="auto")
    assert run.history["loss"] == straight
    assert learner(lr=0.1).fit(2).history["loss"] != straight


def test_a_window_is_computed_again_with_the_same_branches():
    class Again(Callback):
        regrads = True
        state = ()

        def step(self, run, proceed):
            before = [p.grad.clone() for p in run.trained_parameters()]
            run.regrad()
            for p, grad in zip(run.trained_parameters(), before, strict=True):
                torch.testing.assert_close(p.grad, grad)
            proceed()

    learner(StochasticDepth(0.5), Accumulate(2), Again()).fit(1)


def test_a_block_that_is_computed_again_in_backward_has_the_same_branches():
    class Checkpointed(nn.Sequential):
        def forward(self, x):
            return checkpoint(super().forward, x, use_reentrant=False)

    losses = []
    for kind in (nn.Sequential, Checkpointed):
        torch.manual_seed(0)
        blocks = kind(*(Block(nn.Linear(3, 3)) for _ in range(3)))
        model = nn.Sequential(blocks, nn.Linear(3, 2))
        run = learner(StochasticDepth(0.5, "*.*.body"), model=model, lr=0.5).fit(2)
        losses.append(run.history["loss"])
    assert losses[0] == losses[1]


def test_the_branches_of_our_resnet_are_found():
    depth = StochasticDepth()
    model = models.resnet(1, 2, widths=(4, 8), blocks=2)
    batches = [(torch.randn(6, 1, 8, 8), torch.arange(6) % 2)]
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    Learner(model, opt, F.cross_entropy, DataBunch(batches), [depth], progress=False).fit(1)
    assert depth.names == ("3.body", "4.body", "5.body", "6.body")


def test_a_star_stands_for_one_name_as_it_does_in_freeze_and_layer_groups():
    def model():
        blocks = nn.Sequential(*(Block(nn.Linear(3, 3)) for _ in range(2)))
        return nn.Sequential(blocks, Block(nn.Linear(3, 3)), nn.Linear(3, 2))

    one, two = StochasticDepth(), StochasticDepth(0.2, "0.*.body")
    learner(one, model=model()).fit(1)
    learner(two, model=model()).fit(1)
    assert one.names == ("1.body",)
    assert two.names == ("0.0.body", "0.1.body")
    for part, count in (("*.body", 2), ("0.*.body", 4)):
        assert len(parameters_in(model(), part)) == count


def test_a_branch_that_ends_in_a_frozen_norm_is_left_out_as_others_are():
    """Its mode says what its statistics do, not whether the model is trained."""

    def model():
        torch.manual_seed(0)
        branch = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        return nn.Sequential(Block(branch), nn.Linear(3, 2))

    class Gone(Callback):
        state = ()

        def begin_train(self, run):
            branch = run.model[0].body
            run.defer(branch[1].register_forward_hook(self.look).remove)
            run.defer(branch.register_forward_hook(self.look_behind).remove)

        def look(self, module, args, output):
            self.mode = module.training

        def look_behind(self, module, args, output):
            self.gone = not output.any()

    for callbacks, mode in (([Freeze("0.body.1")], False), ([], True)):
        gone = Gone()
        learner(StochasticDepth(1.0, "*.body.1"), gone, *callbacks, model=model()).fit(1)
        assert (gone.mode, gone.gone) == (mode, True)

    dropout = nn.Sequential(Block(nn.Linear(3, 3)), nn.Linear(3, 2))
    dropout[0].body.eval()  # by hand: that module is not trained
    gone = Gone()
    gone.begin_train = lambda run: run.defer(
        run.model[0].body.register_forward_hook(gone.look_behind).remove
    )
    learner(StochasticDepth(1.0), gone, model=dropout).fit(1)
    assert gone.gone is False


def test_several_patterns_name_branches_in_the_order_of_the_model():
    depth = StochasticDepth(0.5, ["2.*", "0.body"])
    learner(depth).fit(1)
    assert depth.names == ("0.body", "2.body")


def test_a_model_without_such_branches_is_refused():
    text = r"branches=\('\*.tail',\) names no module of Sequential.*: 0, 0.body, 1, .*…\."
    with pytest.raises(ValueError, match=text):
        learner(StochasticDepth(branches="*.tail")).fit(1)


def test_branches_that_are_never_called_are_refused():
    class Other(Block):
        def forward(self, x):
            return x + self.body.weight.sum()

    model = nn.Sequential(Other(nn.Linear(3, 3)), nn.Linear(3, 2))
    with pytest.raises(RuntimeError, match=r"none of the branches \(0\.body\) was called"):
        learner(StochasticDepth(), model=model).fit(1)


def test_a_compiled_model_sees_the_hooks_or_is_refused():
    torch._dynamo.reset()
    model = nn.Sequential(*(Block(nn.Linear(3, 3)) for _ in range(4)), nn.Linear(3, 2))
    compiled = torch.compile(model, backend="eager")
    losses = []
    for it in (model, compiled):
        learn = learner(StochasticDepth(0.5), model=it)
        with learn.probe():
            losses.append(learn.fit(1).history["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    compiled(torch.zeros(64, 3))  # now without hooks
    with pytest.raises(RuntimeError, match=r"call torch\.compiler\.reset\(\) first"):
        learner(StochasticDepth(0.5), model=compiled).fit(1)


def test_a_branch_that_returns_no_tensor_is_refused():
    class Pair(nn.Linear):
        def forward(self, x):
            return super().forward(x), None

    class First(Block):
        def forward(self, x):
            return x + self.body(x)[0]

    model = nn.Sequential(First(Pair(3, 3)), nn.Linear(3, 2))
    with pytest.raises(TypeError, match=r"module '0.body' must return a tensor.*float32 cpu, None"):
        learner(StochasticDepth(), model=model).fit(1)


def test_arguments_that_cannot_be_used():
    with pytest.raises(ValueError, match="p must be from 0 to 1; got 2"):
        StochasticDepth(2)
    with pytest.raises(TypeError, match="branches must be paths of modules; got 3"):
        StochasticDepth(branches=["0", 3])


def test_its_repr_says_how_it_was_made():
    assert repr(StochasticDepth(0.1)) == "StochasticDepth(0.1, ['*.body'])"
