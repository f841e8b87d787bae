"""A run that was stopped and goes on in fresh objects is, bit for bit, the run that never stopped.

Whatever optimizer, precision, window, schedule, order, number of workers and length, wherever it
was stopped, with every callback that comes with lehr attached.
"""

import itertools
import random
from dataclasses import fields

import pytest

import lehr.callbacks.log.step_log
import lehr.callbacks.measure.recorder
import lehr.loop.past
from lehr import Callback
from lehr.callbacks import Rewind
from lehr.state.differences import first_difference
from tests.tier import count

from ..faults.figures import Tally
from .jobs import (
    BATCHES,
    LENGTHS,
    OPTIMIZERS,
    SCHEDULES,
    STOPS,
    VALIDATIONS,
    Job,
    Stop,
    outcome,
    shipped,
    techniques,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:batches are cut into micro-batches"),  # on purpose
    pytest.mark.filterwarnings("ignore:epoch . passed without one optimizer step"),  # all gone back
]
AXES = {
    "optimizer": tuple(OPTIMIZERS),
    "precision": ("fp32", "bf16", "fp16"),
    "window": (1, 3),
    "schedule": tuple(SCHEDULES),
    "stop": tuple(STOPS),
    "shuffle": (True, False),
    "workers": (0, 2),
    "item_seeds": (False, True),
    "length": LENGTHS,
    "validate_every": VALIDATIONS,
    "technique": ("none", *techniques()),
}


def pairs(job):
    values = [(axis, getattr(job, axis)) for axis in AXES if axis != "workers"]  # they cost time
    return set(itertools.combinations(values, 2))


def can_be(job):
    """Whether a fit may begin: SAM refuses optimizers with a closure."""
    return (job.optimizer, job.technique) != ("lbfgs", "SAM")


def sample(n):
    """So many jobs, of which each brings as many new pairs of values as any of 500 would.

    Every eighth has workers.
    """
    draw = random.Random(0)
    chosen, seen = [], set()
    for number in range(n):
        workers = 2 * (number % 8 == 7)
        few = [
            Job(**{a: draw.choice(v) for a, v in AXES.items()} | {"workers": workers})
            for _ in range(500)
        ]
        best = max(filter(can_be, few), key=lambda job: len(pairs(job) - seen))
        chosen.append(best)
        seen |= pairs(best)
    return chosen, seen


JOBS, SEEN = sample(count(90))
TALLY = Tally("resume_matrix", "cells", "other ends", of=len(JOBS))


@pytest.fixture(autouse=True)
def clocks(monkeypatch):
    """The seconds in the rows, and in the files, are all zero: the rest is compared whole.

    Another clock keeps logs waiting for more than 5 seconds, now here, now there: it decides when
    they write, and nothing of what they write.
    """
    seconds = itertools.count(0.0, 2.3)
    monkeypatch.setattr(lehr.callbacks.measure.recorder, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(lehr.callbacks.log.step_log, "monotonic", lambda: next(seconds))


def ended(train):
    """What a training ends in, which may be the error of one that goes back from every step."""
    try:
        return train()
    except RuntimeError as error:
        if "passed without one optimizer step" not in str(error):
            raise
        return {"raised": str(error)}


@pytest.mark.parametrize("job", JOBS, ids=str)
def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path, job):
    stop = Stop(*STOPS[job.stop])
    straight = ended(lambda: job.straight(tmp_path / "straight"))
    resumed = ended(lambda: job.resumed(tmp_path / "resumed", stop))
    assert stop.stopped_at is not None or "raised" in straight
    difference = first_difference(straight, resumed)
    TALLY.add(good=difference is None)
    assert difference is None


class Spike(Callback):
    """Makes the loss of one training batch a million times as large."""

    state = ()

    def compute_loss(self, run, proceed):
        proceed()
        if run.training and (run.epoch, run.batch_index) == (1, 4):
            run.loss = run.loss * 1e6


class Spiked(Job):
    """A training that goes back once: it leaves step 12 and goes to step 8."""

    def callbacks(self, folder):
        usual = [cb for cb in super().callbacks(folder) if not isinstance(cb, Rewind)]
        return [*usual, Spike(), Rewind(every="4 steps", keep=3, back=3, lr_factor=0.5)]


GOING_BACK = {
    "long before": ("after_batch", lambda run: run.training and run.n_steps == 3),
    "between the state and the spike": (
        "after_batch",
        lambda run: run.training and run.n_steps == 10,
    ),
    "in the batch of the spike": (
        "after_batch",
        lambda run: run.training and (run.epoch, run.batch_index) == (1, 4),
    ),
    "in the first batch after it went back": (
        "begin_batch",
        lambda run: run.training and run.rewinds and run.n_steps == 8,
    ),
    "at the first step after it went back": ("after_step", lambda run: run.rewinds),
    "long after": ("after_batch", lambda run: run.rewinds and run.n_steps == 15),
}


@pytest.fixture(scope="module")
def spiked(tmp_path_factory):
    """What runs that go back end in if nothing stops them, by their schedule; each is made once."""
    ends = {}

    def straight(schedule):
        if schedule not in ends:
            folder = tmp_path_factory.mktemp("spiked")
            ends[schedule] = Spiked(schedule=schedule).straight(folder / "straight")
            calm = Job(schedule=schedule).straight(folder / "calm")
            assert ends[schedule]["record"]["meta"]["rewinds"] == [[12, 8]]
            assert first_difference(calm["model"], ends[schedule]["model"]) is not None
        return ends[schedule]

    return straight


@pytest.mark.parametrize("when", GOING_BACK)
@pytest.mark.parametrize("schedule", ["none", "cosine"])
def test_a_run_that_goes_back_is_resumed_before_then_and_after(tmp_path, when, schedule, spiked):
    job, straight = Spiked(schedule=schedule), spiked(schedule)
    stop = Stop(*GOING_BACK[when])
    resumed = job.resumed(tmp_path / "resumed", stop)
    assert stop.stopped_at is not None
    assert first_difference(straight, resumed) is None


def test_every_axis_is_in_the_sample_and_nearly_every_pair():
    assert {field.name for field in fields(Job)} == set(AXES)
    every = set()
    axes = [(axis, values) for axis, values in AXES.items() if axis != "workers"]
    for (a, some), (b, others) in itertools.combinations(axes, 2):
        every |= {((a, x), (b, y)) for x in some for y in others}
    # There are more stops with techniques than jobs; the contract stops each technique everywhere.
    left = {pair for pair in every - SEEN if {axis for axis, _ in pair} != {"stop", "technique"}}
    assert len(left) <= 0.02 * len(every)
    assert len({job.stop for job in JOBS if job.workers}) >= 5


def test_everything_that_comes_with_lehr_takes_part(tmp_path):
    attached = set()
    for technique, schedule in itertools.product(AXES["technique"], ("cosine", "torch")):
        job = Job("lbfgs", "bf16", 3, schedule, technique=technique)
        attached |= {type(callback).__name__ for callback in job.learner(tmp_path).callbacks}
    assert attached >= shipped().keys() - {"Recorder"}


WITHOUT_EFFECT = {
    "modes": "a training sets them anew",
    "train_dl": "it counts how often it was iterated by hand",
    "valid_dl": "it counts how often it was iterated by hand",
    "callbacks.checkpoint": "it only says whose checkpoints these are",
    "callbacks.param_scheduler": "the rate that it puts back is the one that it would find",
    "callbacks.progress": "it only shows",
    "callbacks.stop_on_non_finite": "the losses that it has not read are finite",
}


@pytest.mark.slow
def test_the_state_of_every_entry_is_needed_somewhere(tmp_path, monkeypatch):
    real, left_out = lehr.loop.past.restore, []

    def leave_out(entries, saved, *args, **options):
        rest = {name: entry for name, entry in entries.items() if name not in left_out}
        real(rest, {name: saved[name] for name in rest}, *args, **options)

    monkeypatch.setattr(lehr.loop.past, "restore", leave_out)
    useless = None  # so far
    for stop in ("mid_epoch", "last_epoch"):
        job = Job(schedule="cosine", stop=stop, validate_every="3 steps")
        straight = job.straight(tmp_path / stop)
        learn, _ = job.interrupted(tmp_path / f"{stop} again", Stop(*STOPS[stop]))
        learn.fit(resume="auto", **job.fit_arguments())
        assert first_difference(straight, outcome(learn, tmp_path / f"{stop} again")) is None
        names = {name for name, entry in learn.run.state_entries().items() if entry.state_dict()}
        assert len(names) > 12
        tried = names if useless is None else names & useless
        useless = {n for n in tried if not differs(n, job, straight, tmp_path, left_out)}
    assert useless == WITHOUT_EFFECT.keys()


def differs(name, job, straight, folder, left_out):
    left_out[:] = [name]
    try:
        resumed = job.resumed(folder / f"{job.stop} {name}", Stop(*STOPS[job.stop]))
    except FileExistsError:  # a log that does not know that the file is its own
        return True
    finally:
        left_out.clear()
    return first_difference(straight, resumed) is not None


class Steady(Job):
    """A training that never goes back."""

    def callbacks(self, folder):
        return [cb for cb in super().callbacks(folder) if not isinstance(cb, Rewind)]


def test_another_seed_would_be_seen(tmp_path):
    straight = Steady().straight(tmp_path / "straight")
    learn, places = Steady().interrupted(tmp_path / "resumed", Stop(*STOPS["mid_epoch"]))
    assert places == [(1, 12 - BATCHES - 1, 12)]
    learn.data.train_dl.seed = 4
    learn.fit(resume="auto", **Steady().fit_arguments())
    history = learn.run.history["loss"]
    assert history[:12] == straight["record"]["series"]["loss"]["value"][:12]
    assert history[12:] != straight["record"]["series"]["loss"]["value"][12:]
