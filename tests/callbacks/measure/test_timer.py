"""Where the time of a fit goes."""

import time

import pytest

from lehr import Callback
from lehr.callbacks import Checkpoint, Timer
from lehr.callbacks.measure import timer as module
from lehr.testing import tiny_learner


class Clock:
    """A clock that moves when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    return clock


def takes(clock, moments):
    """A callback before which the clock has moved on by so much, at each of these moments."""

    def moment(seconds):
        def method(self, run, *proceed):
            clock.now += seconds if run.training else 10 * seconds
            for go in proceed:
                go()

        return method

    return type("Takes", (Callback,), {"state": (), **{n: moment(s) for n, s in moments.items()}})()


def test_each_part_has_its_own_seconds(clock):
    moments = {"begin_batch": 1, "predict": 2, "backward": 4, "step": 8, "after_epoch": 0.5}
    timer = Timer()
    run = tiny_learner().fit(2, [timer, takes(clock, moments)])
    batches, epochs = run.n_iter, 2
    validated = 1  # batch
    assert timer.seconds == {
        "data": batches * 1,
        "forward": batches * 2,
        "backward": batches * 4,
        "update": batches * 8,
        "validation": epochs * validated * 10 * (1 + 2),
        "rest": epochs * 0.5 + validated * 10 * (1 + 2),  # the rehearsal
    }
    assert sum(timer.seconds.values()) == clock.now
    assert sum(timer.shares().values()) == pytest.approx(1)


def test_saving_is_no_waiting_for_data(clock, tmp_path, monkeypatch):
    from lehr.state.disk.checkpoint_folder import CheckpointFolder

    save = CheckpointFolder.save
    saved = []

    def slowly(self, *args, **kwargs):
        clock.now += 3
        saved.append(1)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(CheckpointFolder, "save", slowly)
    timer = Timer()
    learn = tiny_learner([timer, Checkpoint(tmp_path, every="1 step"), takes(clock, {"step": 1})])
    learn.fit(1)
    assert len(saved) > 3
    assert timer.seconds["rest"] == 3 * len(saved)
    assert timer.seconds["data"] == 0


def test_the_real_clock_sums_to_the_fit():
    timer = Timer()
    learn = tiny_learner()
    began = time.perf_counter()
    learn.fit(1, [timer])
    assert 0 < sum(timer.seconds.values()) <= time.perf_counter() - began
    assert all(seconds >= 0 for seconds in timer.seconds.values())


def test_what_was_not_measured_has_no_shares():
    with pytest.raises(RuntimeError, match="has measured nothing yet"):
        Timer().shares()
