"""The mean of the weights of the last epochs."""

from functools import cache, partial
from itertools import cycle

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel, get_swa_multi_avg_fn, update_bn

from lehr import Callback, DataBunch
from lehr.callbacks import EMA, SWA, Accumulate, Checkpoint, EarlyStopping, Freeze
from lehr.models import RunningBatchNorm
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner

sgd = partial(torch.optim.SGD, lr=0.2, momentum=0.9)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def learner(*callbacks, **kwargs):
    return tiny_learner(callbacks, **{"model": net(), "opt": sgd, **kwargs})


def by_hand(epochs, first, *, refresh=True):
    """With torch's own tools, in a plain loop."""
    learn = learner()
    model = learn.model.train()
    opt, mean = sgd(model.parameters()), AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn())
    feed = learn.planned(learn.data).train
    for epoch in range(epochs):
        for (x, y), _ in feed.epoch(0, epoch):
            nn.functional.cross_entropy(model(x), y).backward()
            opt.step()
            opt.zero_grad()
        if epoch >= first:
            mean.update_parameters(model)
    if refresh:
        update_bn([batch for batch, _ in feed.epoch(0, 0)], mean)
    return mean.module.state_dict()


@pytest.mark.parametrize("arguments", [{"start": 1}, {"start": 0.5}])
@pytest.mark.parametrize("validates", [True, False])
def test_it_is_torchs_averaged_model_with_update_bn(arguments, validates):
    learn = learner(SWA(**arguments, validates=validates))
    learn.fit(4)
    assert first_difference(by_hand(4, 1), dict(learn.model.state_dict())) is None
    assert first_difference(by_hand(4, 2), dict(learn.model.state_dict())) is not None
    stale = by_hand(4, 1, refresh=False)
    assert not torch.equal(stale["1.running_mean"], learn.model[1].running_mean)


def test_training_is_as_without_it():
    assert learner(SWA(0.5)).fit(4).history["loss"] == learner().fit(4).history["loss"]


def test_what_is_validated_is_what_is_kept():
    learn = learner(SWA(0.5))
    run = learn.fit(4)
    assert learn.validate()["valid_loss"] == run.history["valid_loss"][-1]
    plain = learner().fit(4).history["valid_loss"]
    assert run.history["valid_loss"][0] == plain[0]
    assert all(a != b for a, b in zip(run.history["valid_loss"][2:], plain[2:], strict=True))
    learn = learner(SWA(0.5, validates=False))
    assert learn.fit(4).history["valid_loss"] == plain
    assert learn.validate()["valid_loss"] != plain[-1]


def test_what_is_restored_as_best_is_what_was_measured():
    stop = EarlyStopping("valid_loss", patience=1, restore_best=True)
    learn = learner(SWA(0), stop, opt=partial(torch.optim.SGD, lr=6.0))
    run = learn.fit(8)
    best = min(run.history["valid_loss"])
    assert run.stop_reason is not None
    assert best != run.history["valid_loss"][-1]
    assert learn.validate()["valid_loss"] == best


@pytest.mark.parametrize(
    ("swa", "epochs", "count"),
    [
        (SWA(0), 4, 4),
        (SWA(2), 4, 2),
        (SWA(0.75), 4, 2),
        (SWA(1.0), 4, 1),
        (SWA(0, every="2 epochs"), 4, 2),
        (SWA(0.5, every="3 steps"), 4, 3),
        (SWA(1, every="1 step"), 2, 4),
    ],
    ids=str,
)
def test_weights_are_added_as_often_as_it_says(swa, epochs, count):
    learner(swa).fit(epochs)
    assert swa.average.count == count


def test_a_skipped_step_adds_nothing():
    class Skip(Callback):
        state = ()

        def step(self, run, proceed):
            if run.n_iter < 4:
                proceed()

    swa = SWA(0, every="1 step")
    learner(swa, Skip()).fit(2)
    assert swa.average.count == 4
    swa = SWA(0)
    learner(swa, Skip()).fit(2)
    assert swa.average.count == 1


class Reads(Callback):
    """Counts the batches that the model was given."""

    state = ()

    def around_fit(self, run):
        self.calls = []
        return run.model.register_forward_hook(lambda *_: self.calls.append(1))


def test_the_pass_is_made_once_for_a_mean_and_not_without_batchnorm():
    def calls(swa, *others, **kwargs):
        reads = Reads()
        learner(swa, reads, *others, rehearsal=False, **kwargs).fit(4, validate_every="2 steps")
        return len(reads.calls)

    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    alone = calls(SWA(0), model=plain)
    assert calls(SWA(0)) == alone + 4 * 4
    assert calls(SWA(0, batches=1)) == alone + 4
    assert calls(SWA(0, validates=False)) == alone + 4


def test_frozen_statistics_are_kept():
    learn = learner(SWA(0), Freeze("1"))
    before = learn.model[1].running_mean.clone()
    learn.fit(2)
    assert torch.equal(before, learn.model[1].running_mean)


class Stop(Callback):
    state = ()
    replays = False

    def __init__(self, at, event):
        self.at = at
        setattr(self, event, self.stop)

    def stop(self, run):
        if run.n_steps == self.at:
            run.interrupt("test")


def saving_fit(folder, every, *callbacks):
    learn = learner(SWA(0.4), Checkpoint(folder), *callbacks)
    run = learn.fit(4, resume="auto", validate_every=every)
    return learn.model.state_dict(), run.history["valid_loss"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The fit that never stops, made once for all stops; it differs from one without an average."""

    @cache
    def made(every):
        weights, losses = saving_fit(tmp_path_factory.mktemp("straight"), every)
        assert losses != learner().fit(4, validate_every=every).history["valid_loss"]
        return weights, losses

    return made


@pytest.mark.parametrize("event", ["after_step", "after_epoch", "begin_epoch", "after_validate"])
@pytest.mark.parametrize("at", [4, 6, 8, 9, 12])
@pytest.mark.parametrize("every", [None, "3 steps"])
def test_a_fit_that_is_resumed_is_the_one_that_never_stopped(at, event, every, tmp_path, straight):
    weights, losses = straight(every)
    saving_fit(tmp_path, every, Stop(at, event))
    found, again = saving_fit(tmp_path, every)
    assert first_difference(dict(weights), dict(found)) is None
    assert losses == again


def test_a_fit_that_is_interrupted_leaves_the_model_its_own_weights():
    learn, plain = learner(SWA(0), Stop(8, "after_step")), learner(Stop(8, "after_step"))
    entries = []
    for one in (learn, plain):
        one.fit(4)
        entries.append(capture({"model": one.model}))
    assert first_difference(*entries) is None


def test_an_error_in_the_validation_gives_the_model_its_own_weights_back():
    class Break(Callback):
        state = ()

        def begin_batch(self, run):
            if not run.training:
                raise ZeroDivisionError

    learn, plain = learner(SWA(0), Break(), rehearsal=False), learner()
    with pytest.raises(ZeroDivisionError):
        learn.fit(1)
    plain.fit(1)
    assert first_difference(*(capture({"m": one.model}) for one in (learn, plain))) is None


def test_it_goes_together_with_others_in_any_order():
    def result(*callbacks):
        learn = learner(*callbacks)
        learn.fit(4)
        return dict(learn.model.state_dict())

    first = result(SWA(0.5), EMA(0.5), Accumulate(2))
    assert first_difference(first, result(Accumulate(2), EMA(0.5), SWA(0.5))) is None
    assert first_difference(first, result(SWA(0.5), Accumulate(2))) is None  # the mean wins


def test_loaders_that_cannot_be_read_once_more_are_refused_at_the_start():
    data = learner().data
    stream = iter([])
    once = DataBunch(lambda: stream, data.valid_dl)
    with pytest.raises(ValueError, match=r"train_dl reads 'stream', which can be read only once"):
        learner(SWA(0), data=once).fit(1)
    batches = list(data.train_dl)
    endless = DataBunch(lambda: cycle(batches), data.valid_dl)
    with pytest.raises(ValueError, match=r"train_dl has no length, .* Give batches="):
        learner(SWA(0), data=endless).fit(steps=4)
    swa = SWA(0, batches=4)
    learner(swa, data=endless).fit(steps=4, validate_every="2 steps")
    assert swa.average.count == 1
    kept = torch.utils.data.DataLoader(
        [(x, y) for xs, ys in batches for x, y in zip(xs, ys, strict=True)],
        8,
        num_workers=1,
        persistent_workers=True,
    )
    workers = DataBunch(kept, data.valid_dl)
    with pytest.raises(ValueError, match=r"cannot be read again in the middle of an epoch. Give v"):
        learner(SWA(0), data=workers).fit(1, validate_every="2 steps")
    learner(SWA(0), data=workers).fit(2)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"start": 1.5}, ValueError, "start must be from 0 to 1; got 1.5"),
        ({"start": -1}, ValueError, "start must be at least 0; got -1"),
        ({"every": 3}, ValueError, "every must be a whole number and a unit"),
        ({"batches": 0}, ValueError, "batches must be at least 1; got 0"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, error, text):
    with pytest.raises(error, match=text):
        SWA(**arguments)


def test_a_start_that_no_epoch_reaches_is_refused_and_so_is_a_share_of_an_unknown_length():
    with pytest.raises(ValueError, match="start must be below the number of epochs; got 4, and"):
        learner(SWA(4)).fit(4)
    data = learner().data
    batches = list(data.train_dl)
    with pytest.raises(ValueError, match=r"run.pos needs the length of the run"):
        learner(SWA(0.5), data=DataBunch(lambda: iter(batches), None)).fit(4)


def test_its_repr_says_how_it_was_made():
    assert repr(SWA(0.5, every="3 steps")) == "SWA(0.5, every='3 steps')"


def test_a_fit_in_which_nothing_was_added_warns_at_the_end():
    swa = SWA(0.5, every="5 epochs")
    plain, learn = learner(), learner(swa)
    with pytest.warns(
        UserWarning, match=r"SWA\(0.5, every='5 epochs'\) has added no weights in the 8"
    ):
        learn.fit(2)
    plain.fit(2)
    assert first_difference(*(capture({"m": one.model}) for one in (learn, plain))) is None
    learner(SWA(0.5, every="5 epochs"), Stop(4, "after_step")).fit(2)  # it may go on

    class End(Stop):
        def stop(self, run):
            run.stop("enough")

    learner(SWA(1), End(0, "begin_train")).fit(2)
    learner(SWA(0.5, every="2 epochs")).fit(2)


def test_spectral_norms_and_dropout_are_left_alone_by_the_pass_for_statistics():
    def model():
        torch.manual_seed(0)
        return nn.Sequential(
            spectral_norm(nn.Linear(3, 4)), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)
        )

    with_it, plain = (learner(*swa, model=model()) for swa in ([SWA(0)], []))
    runs = [one.fit(3) for one in (with_it, plain)]
    assert runs[0].history["loss"] == runs[1].history["loss"]
    buffers = [dict(one.model.named_buffers()) for one in (with_it, plain)]
    moved = {name for name in buffers[0] if not torch.equal(buffers[0][name], buffers[1][name])}
    assert moved == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_the_statistics_of_our_own_running_norm_are_those_of_the_mean():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), RunningBatchNorm(4), nn.ReLU(), nn.Linear(4, 2))
    learn = learner(SWA(0), model=model)
    run = learn.fit(3)
    assert learn.validate()["valid_loss"] == run.history["valid_loss"][-1]
    with torch.no_grad():
        x = torch.cat([model[0](x) for (x, _), _ in learn.planned(learn.data).train.epoch(0, 0)])
    torch.testing.assert_close(model[1].sums / model[1].count, x.mean(0))
    frozen = nn.Sequential(nn.Linear(3, 4), RunningBatchNorm(4), nn.ReLU(), nn.Linear(4, 2))
    learner(SWA(0), Freeze("1"), model=frozen).fit(2)
    assert frozen[1].items == 0
