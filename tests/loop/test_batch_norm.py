"""BatchNorm's statistics, computed anew for the weights of the moment."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import update_bn

from lehr import Callback
from lehr.loop.batch_norm import measure, moving, set_statistics, statistics
from lehr.models import RunningBatchNorm
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 2)
    )


class Measure(Callback):
    """Computes the statistics anew after every epoch, and keeps what came of it."""

    state = ()

    def __init__(self, paths, batches=None):
        self.paths, self.batches, self.measured = paths, batches, None

    def after_epoch(self, run):
        own = statistics(run.model, ["1", "3"])
        measure(run, self.paths, self.batches)
        self.measured = statistics(run.model, ["1", "3"])
        set_statistics(run.model, own)


def test_they_are_those_of_torchs_update_bn():
    mine = Measure(["1", "3"])
    learn = tiny_learner([mine], model=net())
    learn.fit(1)
    update_bn([batch for batch, _ in learn.planned(learn.data).train.epoch(0, 0)], learn.model)
    assert first_difference(mine.measured, statistics(learn.model, ["1", "3"])) is None
    assert mine.measured["1.num_batches_tracked"] == 4


def test_layers_that_are_not_named_keep_theirs():
    mine = Measure(["3"])
    learn = tiny_learner([mine], model=net())
    learn.model[1].eval()
    before = learn.model[1].running_mean.clone()
    learn.fit(1)
    assert torch.equal(mine.measured["1.running_mean"], before)
    assert not torch.equal(mine.measured["3.running_mean"], learn.model[3].running_mean)


def test_so_many_batches_are_read_as_were_asked_for():
    mine = Measure(["1", "3"], batches=3)
    tiny_learner([mine], model=net()).fit(1)
    assert mine.measured["3.num_batches_tracked"] == 3


def test_nothing_else_of_the_run_is_changed():
    with_it, without = tiny_learner([Measure(["1"])], model=net()), tiny_learner(model=net())
    histories = [learn.fit(3).history.to_dict()["series"] for learn in (with_it, without)]
    assert histories[0] == histories[1]
    entries = [capture({"model": learn.model, "opt": learn.opt}) for learn in (with_it, without)]
    assert first_difference(*entries) is None
    assert all(m.training for m in with_it.model.modules())
    assert [m.momentum for m in with_it.model if isinstance(m, nn.BatchNorm1d)] == [0.1, 0.1]


def test_callbacks_that_take_part_in_an_evaluation_take_part():
    class Shifts(Callback):
        moves = ("batches",)
        state = ()

        def begin_batch(self, run):
            run.xb = run.xb + 100

    mine = Measure(["1"])
    learn = tiny_learner([mine, Shifts()], model=net())
    learn.fit(1)
    batches = [x + 100 for (x, _), _ in learn.planned(learn.data).train.epoch(0, 0)]
    update_bn(batches, learn.model)
    assert torch.equal(mine.measured["1.running_mean"], learn.model[1].running_mean)


def test_those_move_that_are_in_training_mode_under_one_path_each():
    norm = nn.BatchNorm1d(2)
    model = nn.Sequential(norm, norm, nn.BatchNorm2d(1).eval(), nn.InstanceNorm1d(1))
    assert moving(model) == ["1"]
    assert moving(nn.DataParallel(net())) == ["1", "3"]
    assert moving(nn.BatchNorm1d(2, track_running_stats=False)) == []
    kept = nn.InstanceNorm1d(1, track_running_stats=True)
    assert moving(nn.Sequential(RunningBatchNorm(2), RunningBatchNorm(2).eval(), kept)) == [
        "0",
        "2",
    ]


def test_no_other_buffer_moves_and_no_other_layer_trains():
    class Watched(nn.Dropout):
        def forward(self, x):
            modes.append(self.training)
            return super().forward(x)

    modes = []
    model = nn.Sequential(
        spectral_norm(nn.Linear(3, 4)), nn.BatchNorm1d(4), Watched(0.5), nn.Linear(4, 2)
    )

    class Look(Callback):
        state = ()

        def after_epoch(self, run):
            before = {name: buffer.clone() for name, buffer in run.model.named_buffers()}
            modes.clear()
            measure(run, ["1"])
            self.moved = {
                name for name, buffer in run.model.named_buffers() if not buffer.equal(before[name])
            }

    look = Look()
    tiny_learner([look], model=model).fit(1)
    assert look.moved == {"1.running_mean", "1.running_var"}  # the count was four, and is again
    assert modes == [False] * 4


@pytest.mark.parametrize(
    "norm",
    [RunningBatchNorm(4), nn.InstanceNorm1d(4, track_running_stats=True), nn.BatchNorm1d(4)],
    ids=lambda norm: type(norm).__name__,
)
def test_norms_of_every_kind_get_the_mean_over_all_batches(norm):
    class Cut(nn.Module):
        def forward(self, x):
            return x.reshape(len(x), 4, 3)

    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(-1)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 12), Cut(), norm, Mean(), nn.Linear(4, 2))
    measured = {}

    class Look(Callback):
        state = ()

        def after_epoch(self, run):
            measure(run, moving(run.model))
            measured.update(statistics(run.model, ["2"]))

    learn = tiny_learner([Look()], model=model)
    learn.fit(1)
    with torch.no_grad():
        batches = [model[:2](x) for (x, _), _ in learn.planned(learn.data).train.epoch(0, 0)]
    whole = torch.cat(batches)
    if isinstance(norm, RunningBatchNorm):
        mean = measured["2.sums"] / measured["2.count"]
        assert norm.momentum == 0.1
        assert measured["2.num_batches_tracked"] == 4
        assert measured["2.items"] == len(whole)
    else:
        mean = measured["2.running_mean"]
    torch.testing.assert_close(mean, whole.mean((0, 2)))
    assert (mean - batches[-1].mean((0, 2))).abs().max() > 1e-3


def test_a_callback_that_computes_the_loss_in_its_own_way_is_not_asked_for_one():
    class Own(Callback):
        state = ()

        def compute_loss(self, run, proceed):
            proceed()
            run.loss = run.loss + 0.0 * run.loss.detach()

    mine, plain = Measure(["1", "3"]), Measure(["1", "3"])
    tiny_learner([mine, Own()], model=net()).fit(1)
    tiny_learner([plain], model=net()).fit(1)
    assert first_difference(mine.measured, plain.measured) is None
