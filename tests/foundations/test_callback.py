"""Callbacks that read the runner's fields as their own, and the averages they keep."""

import copy
import pickle
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from lehr.foundations import validate
from lehr.foundations.callback import (
    AvgStats,
    AvgStatsCallback,
    Callback,
    TrainEvalCallback,
    camel2snake,
    listify,
)
from lehr.foundations.losses import accuracy
from lehr.foundations.runner import Runner


def quiet(*args):
    """Reports nothing."""


def test_a_callbacks_name_is_its_class_in_snake_case():
    """The suffix is left out: train_eval, avg_stats; a plain Callback is called callback."""
    assert TrainEvalCallback().name == "train_eval"
    assert AvgStatsCallback().name == "avg_stats"
    assert Callback().name == "callback"
    assert camel2snake("LRFinder") == "lr_finder"
    assert camel2snake("AvgStatsCallback") == "avg_stats_callback"


class Recursive:
    """Falls through to its runner as it is usually written."""

    def __getattr__(self, name):
        return getattr(self.run, name)


def test_an_unknown_attribute_is_an_attribute_error_also_before_attachment():
    """Reading what neither callback nor runner has says so, attached or not, and after copying and
    unpickling. Written without care, the fall-through never ends."""
    cb = AvgStatsCallback()
    for each in (cb, copy.deepcopy(cb), copy.copy(cb), pickle.loads(pickle.dumps(cb))):
        with pytest.raises(AttributeError, match="AvgStatsCallback has no 'lost', nor has its run"):
            each.lost
        assert each.valid_stats.count == 0
    cb.run = Runner()
    with pytest.raises(AttributeError, match="no 'lost'"):
        cb.lost
    with pytest.raises(RecursionError):
        Recursive().lost
    with pytest.raises(RecursionError):
        copy.deepcopy(Recursive())


def test_an_attached_callback_survives_copy_and_pickle(make_learner):
    """With its runner, and all that the runner holds."""
    run = Runner(AvgStatsCallback(accuracy, report=quiet))
    run.fit(1, make_learner())
    for again in (copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        assert again.avg_stats.run is again
        assert again.avg_stats.n_iter == 2
        assert again.avg_stats.valid_stats.avg_stats == run.avg_stats.valid_stats.avg_stats


def test_reading_falls_through_and_writing_goes_through_run(make_learner):
    """A callback that changes the batch writes to the runner; written to itself, the change would
    only hide the batch from the callback and the model would not see it."""

    class Zero(Callback):
        def begin_batch(self):
            self.run.xb = torch.zeros_like(self.xb)

    class Shadow(Callback):
        def begin_batch(self):
            self.xb = torch.zeros_like(self.xb)

    seen = {}
    for kind in (Zero, Shadow):
        cb, learn = kind(), make_learner()
        Runner(cb).fit(1, learn)
        seen[kind] = cb.run.xb.abs().sum().item()
    assert seen[Zero] == 0
    assert seen[Shadow] > 0


def test_counters_and_mode_follow_the_batches(make_learner):
    """After k of m training batches n_epochs is epoch + k/m exactly; n_iter counts training batches
    only; the model trains and is evaluated in turn."""
    seen = []

    class Look(Callback):
        _order = 1

        def begin_batch(self):
            seen.append((self.in_train, self.model.training, self.n_iter, self.n_epochs))

    run = Runner(Look())
    run.fit(2, make_learner(3, 1))
    assert seen == [
        *[(True, True, k, k / 3) for k in range(3)],
        (False, False, 3, 1.0),
        *[(True, True, 3 + k, 1 + k / 3) for k in range(3)],
        (False, False, 6, 2.0),
    ]
    assert run.n_iter == 6


def test_the_last_batch_begins_below_the_number_of_epochs(make_learner):
    """With 98 batches in an epoch, the last of three epochs begins at n_epochs = 2.98980."""
    positions = []

    class Look(Callback):
        def begin_batch(self):
            if self.in_train:
                positions.append(self.n_epochs)

    Runner(Look()).fit(3, make_learner(98))
    assert len(positions) == 294
    assert positions[-1] == pytest.approx(2.98980, abs=5e-6)
    assert max(positions) < 3


def averaged(*pairs):
    stats = AvgStats([lambda pred, yb: pred])
    for value, n in pairs:
        batch = SimpleNamespace(
            xb=range(n), yb=None, pred=torch.tensor(value), loss=torch.tensor(value)
        )
        stats.accumulate(batch)
    loss, metric = stats.avg_stats
    assert loss == pytest.approx(metric, abs=1e-6)
    return metric


def test_averages_are_weighted_by_the_size_of_the_batch():
    """78 batches of 128 with value 1 and one of 16 with value 0 average to 0.9984, 0.6 over 32 and
    0.9 over 2 to 0.617647; unweighted these would be 0.98734 and 0.75."""
    for pairs, weighted, unweighted in (
        ([(1.0, 128)] * 78 + [(0.0, 16)], 0.9984, 0.98734),
        ([(0.6, 32), (0.9, 2)], 0.617647, 0.75),
    ):
        assert averaged(*pairs) == pytest.approx(weighted, abs=1e-5)
        mean = sum(value for value, _ in pairs) / len(pairs)
        assert mean == pytest.approx(unweighted, abs=1e-5)
        assert averaged(*pairs) != pytest.approx(mean, abs=1e-3)


def test_one_line_reports_the_figures_of_both_passes(make_learner):
    """After each epoch one line tells both passes' averages. The validation figures are those of
    the trained weights; the training figures were gathered while the weights moved, so at first
    they are behind what the same data give afterwards."""
    lines, learn = [], make_learner(40, 3, bs=3)
    run = Runner(cb_funcs=partial(AvgStatsCallback, accuracy, report=lines.append))
    run.fit(1, learn)
    assert run.avg_stats.valid_stats.avg_stats == pytest.approx(validate(learn), abs=1e-6)
    learn.data.valid_dl = learn.data.train_dl
    assert run.avg_stats.train_stats.avg_stats[0] > validate(learn)[0] + 0.01
    assert len(lines) == 1
    assert lines[0].startswith("train: [0.")
    assert ", valid: [0." in lines[0]


class SkipValidation(Callback):
    def begin_validate(self):
        return True


def test_a_pass_without_batches_has_no_average(make_learner):
    """The figure of a pass that saw nothing is not a number, never that of another epoch."""
    run = Runner([AvgStatsCallback(report=quiet), SkipValidation()])
    run.fit(1, make_learner())
    assert run.avg_stats.valid_stats.avg_stats != run.avg_stats.valid_stats.avg_stats  # nan
    assert run.avg_stats.train_stats.avg_stats[0] > 0


def test_listify_makes_a_list_of_whatever_it_is_given():
    """None gives no items, a list stays, a string and a single thing are one item, and any other
    iterable gives its items."""
    given = [1, 2]
    assert listify(None) == []
    assert listify(given) == given
    assert listify("abc") == ["abc"]
    assert listify(range(3)) == [0, 1, 2]
    assert listify(1) == [1]
    assert list("abc") != ["abc"]
