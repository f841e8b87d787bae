"""Any number of stops in a row leave no trace: not in the state, the record or the files."""

import csv
import json
import random

import pytest

import lehr.callbacks.log.step_log
import lehr.callbacks.measure.recorder
from lehr.record.log_file import LogFile
from lehr.state.differences import first_difference
from tests.tier import count

from ..faults.figures import Tally
from .jobs import BATCHES, OPTIMIZERS, VALIDATIONS, Job, Stop

LAST = 3 * BATCHES
TALLY = Tally("resume_chains", "chains", "other ends", of=count(12))


@pytest.fixture(autouse=True, scope="module")
def clock_that_stands_still():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(lehr.callbacks.measure.recorder, "perf_counter", lambda: 0.0)
        monkeypatch.setattr(lehr.callbacks.log.step_log, "monotonic", lambda: 0.0)
        yield


def at(batch, event="after_batch"):
    """A stop once so many training batches are done; in ``begin_batch``, in the one after."""
    return Stop(event, lambda run: run.training and run.n_iter >= batch)


def chain(number):
    """A job, and the batches where it is stopped: five to ten, some of them twice or neighbours."""
    draw = random.Random(number)
    job = Job(
        optimizer=draw.choice(list(OPTIMIZERS)),
        window=draw.choice((1, 3)),
        item_seeds=draw.random() < 0.3,
        validate_every=draw.choice(VALIDATIONS),
    )
    return job, sorted(draw.choices(range(1, LAST), k=draw.randint(5, 10)))


def each_once(outcome, folder):
    """The record and the files, looked at for gaps and doubles, not only for being equal."""
    rows = outcome["record"]["rows"]
    steps = [row["step"] for row in rows]
    assert steps == sorted(set(steps))
    batches = outcome["record"]["series"]["loss"]["batch"]
    assert batches == list(range(LAST))
    with (folder / "log.csv").open(newline="") as file:
        assert [int(line["step"]) for line in csv.DictReader(file)] == steps
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["batch"] for line in lines if line["kind"] == "step"] == batches
    assert [line["step"] for line in lines if line["kind"] == "row"] == steps
    assert [line["kind"] for line in lines].count("meta") == 1


@pytest.mark.parametrize("number", range(count(12)))
def test_stopped_five_to_ten_times_it_is_the_run_that_never_stopped(tmp_path, number):
    job, places = chain(number)
    straight = job.straight(tmp_path / "straight")
    resumed = job.resumed(tmp_path / "resumed", *(at(place) for place in places))
    each_once(resumed, tmp_path / "resumed")
    difference = first_difference(straight, resumed)
    TALLY.add(good=difference is None, stops=len(places))
    assert difference is None


EVERY_THIRD = Job(validate_every="3 steps")


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory, clock_that_stands_still):
    return EVERY_THIRD.straight(tmp_path_factory.mktemp("straight"))


@pytest.mark.parametrize(
    "places",
    [(1,), (5, 6), (7, 8, 9), (8, 9, 16, 17), (1, 1, 1), (23, 23), tuple(range(6, 13))],
    ids=str,
)
@pytest.mark.parametrize("event", ["after_batch", "begin_batch"])
def test_at_neighbouring_batches_and_over_the_border_of_epochs(
    tmp_path, never_stopped, places, event
):
    resumed = EVERY_THIRD.resumed(tmp_path, *(at(place, event) for place in places))
    each_once(resumed, tmp_path)
    assert first_difference(never_stopped, resumed) is None


def test_stopped_before_the_first_batch_again_and_again_it_comes_to_its_end(tmp_path):
    job = Job()
    straight = job.straight(tmp_path / "straight")
    stops = [Stop("begin_fit", lambda run: True) for _ in range(3)]
    resumed = job.resumed(tmp_path / "resumed", stops[0], at(10), *stops[1:])
    assert [stop.stopped_at is not None for stop in stops] == [True, True, True]
    assert first_difference(straight, resumed) is None


def test_a_link_that_loses_a_batch_would_be_seen(tmp_path):
    job = Job()
    straight = job.straight(tmp_path / "straight")
    learn, _ = job.interrupted(tmp_path / "resumed", at(5), at(12))

    class SkipOne(Stop):
        def __init__(self):
            super().__init__("begin_batch", lambda run: False)

        def one_batch(self, run, proceed):
            if run.n_iter != 13:
                proceed()

    learn.fit(callbacks=[SkipOne()], resume="auto", **job.fit_arguments())
    assert learn.run.history["loss"] != straight["record"]["series"]["loss"]["value"]


def test_a_file_that_is_not_cut_would_be_seen(tmp_path, monkeypatch):
    job, places = chain(0)
    monkeypatch.setattr(LogFile, "cut", lambda self, mark: None)
    resumed = job.resumed(tmp_path, *(at(place) for place in places))
    with pytest.raises(AssertionError):
        each_once(resumed, tmp_path)
