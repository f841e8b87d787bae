"""A generator and a critic take turns."""

import itertools

import pytest
import torch
from torch import nn

from lehr import Callback, CancelBatch, DataBunch, Learner
from lehr.callbacks import (
    EMA,
    GAN,
    SAM,
    Accumulate,
    ClipGradients,
    MixedPrecision,
    ParamScheduler,
)
from lehr.callbacks.loops.adversarial import slope_penalty
from lehr.schedules import sched_lin
from lehr.state.streams import Streams

CENTRES = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]])


def batches(count, size=16, seed=0):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(count):
        which = torch.randint(4, (size,), generator=draw)
        yield CENTRES[which] + 0.2 * torch.randn(size, 2, generator=draw)


def mlp(*sizes):
    layers = [(nn.Linear(a, b), nn.LeakyReLU(0.2)) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*[part for pair in layers for part in pair][:-1])


def networks(width=8):
    torch.manual_seed(0)
    return nn.ModuleDict({"generator": mlp(2, width, 2), "critic": mlp(2, width, 1)})


def optimizers(model, make=lambda params: torch.optim.SGD(params, lr=0.05)):
    return {name: make(model[name].parameters()) for name in model}


def learner(*callbacks, count=12, loss_func=GAN.wasserstein, model=None, **named):
    model = model or networks()
    named = {"opt": optimizers(model), "data": DataBunch(list(batches(count))), **named}
    return Learner(model, loss_func=loss_func, callbacks=callbacks, seed=0, progress=False, **named)


def by_hand(count, n_crit, penalty, clip):
    """The loop that one would write; only the numbers that are drawn are the library's."""
    model = networks()
    opts, streams = optimizers(model), Streams(0)
    for i, real in enumerate(batches(count)):
        draw = streams.at("gan", 0, i, -1)
        noise = torch.randn(16, 2, generator=draw)
        generator, critic = model["generator"], model["critic"]
        if i % (n_crit + 1) < n_crit:
            fake = generator(noise).detach()
            loss = critic(fake).mean() - critic(real).mean()
            if penalty:
                loss = loss + penalty * slope_penalty(critic, real, fake, draw)
            opts["critic"].zero_grad()
            loss.backward()
            opts["critic"].step()
            if clip:
                for p in critic.parameters():
                    p.data.clamp_(-clip, clip)
        else:
            opts["generator"].zero_grad()
            (-critic(generator(noise)).mean()).backward()
            opts["generator"].step()
    return model


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize(("penalty", "clip"), [(0.0, 0.05), (10.0, None)])
def test_it_is_the_loop_that_one_would_write(penalty, clip):
    learn = learner(GAN(2, n_crit=3, penalty=penalty, clip=clip))
    learn.fit(1)
    assert same(learn.model, by_hand(12, 3, penalty, clip))
    assert not same(learn.model, by_hand(12, 3, penalty / 2, clip and clip / 2))
    assert not same(learn.model, by_hand(12, 2, penalty, clip))


def test_a_mixture_in_two_dimensions_is_learnt():
    """Each of the four centres gets its share of what the generator makes, near to it; before the
    training nothing lies there."""

    def near_each(model):
        with torch.no_grad():
            made = model["generator"](
                torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
            )
        distances = torch.cdist(made, CENTRES)
        return [(distances[:, i] < 0.8).float().mean().item() for i in range(4)]

    model = networks(width=64)
    opts = optimizers(model, lambda ps: torch.optim.Adam(ps, lr=3e-3, betas=(0.5, 0.9)))
    data = DataBunch(list(batches(2000, size=128)))
    settle = ParamScheduler("lr", sched_lin(3e-3, 0.0))
    assert max(near_each(model)) < 0.02
    gan = GAN(2, n_crit=1, penalty=0.1)
    run = learner(gan, settle, loss_func=GAN.logistic, model=model, opt=opts, data=data).fit(1)
    assert min(near_each(model)) > 0.1
    assert sum(near_each(model)) > 0.7
    names = ("critic_loss", "generator_loss", "gradient_penalty")
    assert [len(run.history[name]) for name in names] == [1000, 1000, 1000]


@pytest.mark.parametrize("loss", ["wasserstein", "logistic", "hinge"])
def test_each_of_its_losses_moves_a_gaussian_to_the_target(loss):
    torch.manual_seed(0)
    model = nn.ModuleDict({"generator": nn.Linear(1, 1), "critic": mlp(1, 16, 1)})
    draw = torch.Generator().manual_seed(0)
    data = DataBunch([4 + 0.5 * torch.randn(64, 1, generator=draw) for _ in range(1000)])
    opts = optimizers(model, lambda ps: torch.optim.Adam(ps, lr=0.02, betas=(0.0, 0.9)))
    callbacks = GAN(1, n_crit=1, penalty=0.1), ParamScheduler("lr", sched_lin(0.02, 0.0))
    assert abs(model["generator"].bias.item()) < 1
    learner(*callbacks, loss_func=getattr(GAN, loss), model=model, opt=opts, data=data).fit(1)
    assert model["generator"].bias.item() == pytest.approx(4, abs=0.4)


class Turns(Callback):
    """Notes whose turn each batch is."""

    def __init__(self, gan):
        self.gan, self.turns = gan, []

    def begin_batch(self, run):
        if run.training:
            self.turns.append(self.gan.turn[0])


def test_turns_are_as_long_as_they_are_said_to_be_over_epochs():
    gan = GAN(2, n_crit=3, n_gen=2)
    turns = Turns(gan)
    learner(gan, turns, count=7).fit(2)
    assert "".join(turns.turns) == "cccgg" * 2 + "cccg"


def test_a_turn_ends_early_when_its_loss_is_low_enough():
    gan = GAN(2, n_crit=6, critic_below=1e9)
    turns = Turns(gan)
    learner(gan, turns, count=6).fit(1)
    assert "".join(turns.turns) == "cgcgcg"
    gan = GAN(2, n_crit=4, n_gen=2, critic_below=-1e9, generator_below=1e9)
    turns = Turns(gan)
    learner(gan, turns, count=10).fit(1)
    assert "".join(turns.turns) == "ccccgccccg"

    gan = GAN(2, n_crit=50, critic_below=-0.5)
    turns = Turns(gan)
    run = learner(gan, turns, count=40).fit(1)
    low = [loss < -0.5 for loss in run.history["critic_loss"]]
    ended = [a == "c" and b == "g" for a, b in itertools.pairwise(turns.turns)]
    ended = [end for end, turn in zip(ended, turns.turns, strict=False) if turn == "c"]
    assert low[: len(ended)] == ended
    assert any(ended)
    assert not all(ended)


def test_a_skipped_step_does_not_count():
    class Skip(Callback):
        def step(self, run, proceed):
            if run.batch_index != 1:
                proceed()

    gan = GAN(2, n_crit=2)
    turns = Turns(gan)
    learner(gan, turns, Skip(), count=6).fit(1)
    assert "".join(turns.turns) == "cccgcc"


def test_the_batches_of_a_window_are_of_one_turn():
    gan = GAN(2, n_crit=2)
    turns = Turns(gan)
    run = learner(gan, turns, Accumulate(2), count=12).fit(1)
    assert "".join(turns.turns) == "ccccgg" * 2
    assert run.n_steps == 6


def test_validation_measures_both_and_predictions_are_what_was_made():
    def off(made, real):
        return (made.mean(0) - real.mean(0)).norm()

    train = list(batches(6))
    learn = learner(GAN(2), data=DataBunch(train, train[:2]), metrics=[off])
    run = learn.fit(2)
    assert run.history["valid_critic_loss"] == pytest.approx(run.history["valid_loss"])
    assert len(run.history["valid_generator_loss"]) == 2
    assert run.history["off"][-1] > 0
    made = learn.predict(torch.cat(train[:3]))
    assert made.shape == (48, 2)
    assert not made.requires_grad


def test_labels_of_the_data_are_left_to_metrics():
    seen = []

    def metric(made, labels):
        seen.append((made.shape, labels.shape))
        return torch.tensor(0.0)

    train = [(real, torch.zeros(16).long()) for real in batches(3)]
    learner(GAN(2), data=DataBunch(train, train), metrics=[metric]).fit(1)
    assert set(seen) == {((16, 2), (16,))}


TOGETHER = {
    "half precision": (lambda: [MixedPrecision("bf16")], True),
    "scaled losses": (lambda: [MixedPrecision("fp16", init_scale=64.0)], True),
    "clipped in windows": (lambda: [ClipGradients(0.1), Accumulate(2)], True),
    "SAM": (lambda: [SAM(0.1)], True),
    "an average": (lambda: [EMA(0.5, keep=False)], False),
    "a schedule": (lambda: [ParamScheduler("opt.critic.lr", sched_lin(0.1, 0.0))], True),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_it_goes_together_with_other_techniques_in_any_order(name):
    make, changes = TOGETHER[name]
    models = [networks() for _ in range(3)]
    learner(GAN(2, n_crit=2, penalty=1.0), *make(), model=models[0]).fit(1)
    learner(*make()[::-1], GAN(2, n_crit=2, penalty=1.0), model=models[1]).fit(1)
    assert same(models[0], models[1])
    learner(GAN(2, n_crit=2, penalty=1.0), model=models[2]).fit(1)
    assert same(models[0], models[2]) is not changes


def test_the_penalty_can_be_scheduled():
    gan, plain = GAN(2, penalty=10), GAN(2)
    schedule = ParamScheduler("callbacks.gan.penalty", sched_lin(1.0, 1.0))
    scheduled, fixed, without = (networks() for _ in range(3))
    learner(gan, schedule, model=scheduled).fit(1)
    learner(GAN(2, penalty=1), model=fixed).fit(1)
    learner(plain, model=without).fit(1)
    assert same(scheduled, fixed)
    assert not same(scheduled, without)


@pytest.mark.parametrize("penalty", [0, 1])
def test_it_goes_on_exactly_after_a_stop(penalty):
    train = list(batches(5))
    gan = GAN(2, n_crit=2, n_gen=2, penalty=penalty, critic_below=-0.1, clip=0.5)
    learn = learner(gan, data=DataBunch(train, train[:2]))
    assert learn.check_resume(epochs=2, batches=5).ok

    class Forgets(GAN):
        state = ()

    learn = learner(Forgets(2, n_crit=2, n_gen=2), data=DataBunch(train, train[:2]))
    assert not learn.check_resume(epochs=2, batches=5).ok


def test_a_loss_that_is_a_sum_is_penalised_alike():
    def summed(on_fake, on_real=None):
        return 16 * GAN.wasserstein(on_fake, on_real)

    sums, means = networks().double(), networks().double()
    data = DataBunch([real.double() for real in batches(12)])
    first = learner(GAN(2, penalty=5), model=sums, data=data, loss_func=summed, reduction="sum")
    run = first.fit(1)
    other = learner(GAN(2, penalty=5), model=means, data=data).fit(1)
    assert run.history["critic_loss"] == pytest.approx(other.history["critic_loss"])
    pairs = zip(sums.parameters(), means.parameters(), strict=True)
    assert all(torch.allclose(p, q) for p, q in pairs)


def test_nothing_of_a_batch_is_kept_and_every_part_is_trainable_afterwards():
    class Stop(Callback):
        def after_pred(self, run):
            if run.batch_index == 5:
                raise CancelBatch

    gan = GAN(2, n_crit=5)
    learn = learner(gan, Stop())
    learn.fit(1)
    assert gan._scores == (None, None)
    assert all(p.requires_grad for p in learn.model.parameters())
    assert isinstance(learn.opt, dict)


def test_what_is_no_tensor_of_real_items_is_refused():
    with pytest.raises(TypeError, match=r"a tensor of real items as xb; got \(16, 2\) int64"):
        learner(GAN(2), data=DataBunch([real.long() for real in batches(2)])).fit(1)


def test_numbers_that_cannot_be_used():
    with pytest.raises(ValueError, match="latent must be at least 1; got 0"):
        GAN(0)
    with pytest.raises(ValueError, match="n_crit must be at least 1"):
        GAN(2, n_crit=0)
    with pytest.raises(ValueError, match="n_gen must be at least 1"):
        GAN(2, n_gen=0)
    with pytest.raises(ValueError, match="penalty must be at least 0; got -1"):
        GAN(2, penalty=-1)
    with pytest.raises(ValueError, match="clip must be above 0; got 0"):
        GAN(2, clip=0)
    with pytest.raises(TypeError, match="critic_below must be a real number"):
        GAN(2, critic_below="low")
    assert repr(GAN((4, 1, 1), n_gen=2)) == "GAN((4, 1, 1), n_crit=5, n_gen=2)"


@pytest.mark.parametrize("turn", ["critic", "generator"])
def test_what_the_loss_gets_under_mixed_precision_is_single(turn):
    seen = set()

    def loss(on_fake, on_real=None):
        seen.update(score.dtype for score in (on_fake, on_real) if score is not None)
        return GAN.wasserstein(on_fake, on_real)

    train = list(batches(4))
    data = DataBunch(train, train[:1])
    gan = GAN(2, n_crit=1 if turn == "generator" else 9, penalty=1.0)
    run = learner(gan, MixedPrecision("bf16"), loss_func=loss, data=data).fit(1)
    assert seen == {torch.float32}
    assert len(run.history[f"{turn}_loss"]) > 0


def test_the_generators_loss_in_validation_is_a_mean_though_the_loss_is_a_sum():
    def summed(on_fake, on_real=None):
        return len(on_fake) * GAN.wasserstein(on_fake, on_real)

    train = list(batches(3))
    data = DataBunch(train, train[:2])
    sums = learner(GAN(2), data=data, loss_func=summed, reduction="sum").fit(1)
    means = learner(GAN(2), data=data).fit(1)
    for name in ("valid_generator_loss", "valid_critic_loss"):
        assert sums.history[name] == pytest.approx(means.history[name], abs=1e-5)
        assert abs(means.history[name][0]) > 1e-3  # sixteen times as much is something else


def test_a_bound_is_for_the_mean_over_the_batches_of_a_step():
    """Two batches a step, with losses far above and far below the bound in turn."""
    losses = itertools.cycle([5.0, -5.0])

    def given(on_fake, on_real=None):
        return on_fake.mean() * 0 + next(losses)

    def turns(bound):
        gan = GAN(2, n_crit=3, critic_below=bound, generator_below=1e9)
        log = Turns(gan)
        learner(gan, log, Accumulate(2), loss_func=given, count=12).fit(1)
        return "".join(log.turns)

    assert turns(-1.0) == "ccccccggcccc"  # the last batch alone is below
    assert turns(1.0) == "ccggccggccgg"


def test_batches_without_weight_have_no_say_about_a_turn():
    losses = iter([-9.0, 1.0, 1.0, 1.0, 1.0, 1.0])

    def given(on_fake, on_real=None):
        return on_fake.mean() * 0 + next(losses)

    weights = iter([0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    gan = GAN(2, n_crit=2, critic_below=0.0)
    log = Turns(gan)
    learner(
        gan, log, Accumulate(2), loss_func=given, count=6, weight=lambda run: next(weights)
    ).fit(1)
    assert "".join(log.turns) == "ccccgg"
