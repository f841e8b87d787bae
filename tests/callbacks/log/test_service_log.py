"""What every log of a service keeps: rising axes, each point once, and a fit that goes on."""

import importlib.util
import json

import pytest

from lehr import Callback, Phase, accuracy
from lehr.callbacks import Accumulate, Checkpoint, Rewind
from lehr.callbacks.log.service_log import ServiceLog
from lehr.testing import tiny_learner


class Store:
    """A service: runs by name, each a list of points; it may be out of reach."""

    def __init__(self):
        self.runs, self.down, self.ended = {}, False, {}

    def points(self, name="0"):
        return [(point.name, point.at) for point in self.runs[name]]


class Fake(ServiceLog, Callback):
    """Sends to a `Store`."""

    state = ("written",)
    replays = False

    def __init__(self, store, forgets=False):
        super().__init__()
        self.store, self.forgets = store, forgets

    def _reach(self):
        if self.store.down:
            raise ConnectionError("the service is out of reach")

    def connect(self, run, place):
        self._reach()
        self.here = place or str(len(self.store.runs))
        if place is not None and self.forgets:
            self.store.runs[place] = []
            points = self.everything(run)
            self.send(points)
            return place, {point.name: point.at for point in points}
        points = self.store.runs.setdefault(self.here, [])
        return self.here, {point.name: point.at for point in points}

    def send(self, points):
        for point in points:
            self._reach()
            self.store.runs[self.here].append(point)

    def disconnect(self, failed):
        self.store.ended[self.here] = failed


class Norm(Callback):
    """Logs by batch, now and then."""

    state = ()

    def after_step(self, run):
        if run.n_steps % 3 == 0:
            run.log("norm", float(run.n_steps))


class Stop(Callback):
    state = ()
    replays = False

    def __init__(self, batches):
        self.batches = batches

    def after_batch(self, run):
        if run.training and run.n_iter == self.batches:
            raise KeyError("power cut")


def fit(store, *callbacks, epochs=3, forgets=False, **kwargs):
    learn = tiny_learner([Fake(store, forgets), Norm(), *callbacks], metrics=[accuracy])
    return learn.fit(epochs, validate_every="3 steps", **kwargs)


def test_every_number_of_the_history_becomes_a_point():
    store = Store()
    run = fit(store)
    sent = {}
    for at, name, value in store.runs["0"]:
        sent.setdefault(name, []).append((at, value))
    for name, series in run.history.series.items():
        assert sent[name] == list(zip(series.batches, series.values, strict=True))
    rows = [row for row in run.history.rows if row.get("valid_loss") is not None]
    assert [value for _, value in sent["valid_loss"]] == [row["valid_loss"] for row in rows]
    assert [at for at, _ in sent["valid_loss"]] == [row["step"] - 1 for row in rows]
    assert {"loss", "lr", "norm", "accuracy", "train_loss", "epoch", "step"} <= sent.keys()
    assert store.ended == {"0": False}


def test_axes_rise_and_nothing_is_doubled():
    store = Store()
    fit(store, Accumulate(2))
    by_name = {}
    for name, at in store.points():
        by_name.setdefault(name, []).append(at)
    for axis in by_name.values():
        assert axis == sorted(set(axis))
    everything = [at for _, at in store.points()]
    assert everything == sorted(everything)


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("every", ["1 epoch", "1 steps", "2 steps"])
@pytest.mark.parametrize("after", [1, 3, 4, 5, 8, 11])
def test_a_run_that_is_killed_and_resumed_has_each_point_once(tmp_path, after, every, forgets):
    straight, store = Store(), Store()
    fit(straight)
    with pytest.raises(KeyError):
        fit(store, Stop(after), Checkpoint(tmp_path, every=every))
    fit(store, Stop(0), Checkpoint(tmp_path, every=every), forgets=forgets, resume="auto")
    assert set(store.runs) == {"0"}
    assert sorted(store.points()) == sorted(straight.points())
    same = {(p.name, p.at): p.value for p in straight.runs["0"] if p.name != "seconds"}
    assert {(p.name, p.at): p.value for p in store.runs["0"] if p.name != "seconds"} == same


def test_without_looking_what_is_there_points_would_be_doubled(tmp_path):
    """Negative control."""

    class Blind(Fake):
        def connect(self, run, place):
            return super().connect(run, place)[0], {}

    store = Store()
    for resume in (None, "auto"):
        learn = tiny_learner([Blind(store), Stop(6 if resume is None else 0), Checkpoint(tmp_path)])
        try:
            learn.fit(3, resume=resume)
        except KeyError:
            assert resume is None
    assert len(store.points()) > len(set(store.points()))


def test_a_service_that_is_out_of_reach_is_told_once_and_gets_all_when_it_is_back():
    straight, store = Store(), Store()
    fit(straight)

    class Outage(Callback):
        state = ()

        def after_batch(self, run):
            if run.training:
                store.down = 2 < run.n_iter < 8

    with pytest.warns(
        UserWarning, match="Fake cannot reach its service: ConnectionError, "
    ) as caught:
        fit(store, Outage())
    assert len(caught) == 1
    assert sorted(store.points()) == sorted(straight.points())


def test_a_service_that_never_answers_ends_no_fit():
    store = Store()
    store.down = True
    with pytest.warns(
        UserWarning, match=r"out of reach. The fit goes on, and what is missing"
    ) as caught:
        run = fit(store)
    assert len(caught) == 1
    assert (run.n_steps, store.runs) == (12, {})


def test_an_error_of_the_fit_ends_the_run_of_the_service_as_failed():
    store = Store()
    with pytest.raises(KeyError):
        fit(store, Stop(5))
    assert store.ended == {"0": True}
    assert ("loss", 4) in store.points()
    assert ("loss", 5) not in store.points()


def test_each_fit_of_one_object_is_a_run_of_its_own():
    store = Store()
    log = Fake(store)
    learn = tiny_learner([log])
    learn.fit(1)
    learn.fit(1)
    assert store.points("0") == store.points("1")


def test_what_was_sent_before_a_run_goes_back_stays():
    store = Store()

    class Once(Callback):
        state = ()

        def after_step(self, run):
            if run.n_steps == 6 and not run.rewinds:
                run.rewind(3)

    tiny_learner([Fake(store), Rewind(every="1 steps", keep=9), Once()]).fit(3)
    points = store.points()
    assert len(points) == len(set(points))
    assert [at for name, at in points if name == "loss"] == list(range(12))


class Halfway(Callback):
    """Lets the service fail in the middle of what it is sent: after so many points, once."""

    state = ()

    def __init__(self, store, after):
        self.left, real = after, store._reach

        def reach():
            self.left -= 1
            if self.left == 0:
                raise TimeoutError("no answer")
            real()

        store._reach = reach


class Asked(Fake):
    """Can say what the service has."""

    def _reach(self):
        self.store._reach()

    def known(self):
        return {point.name: point.at for point in self.store.runs[self.here]}


@pytest.mark.parametrize("after", [2, 5, 11, 20])
def test_what_failed_halfway_is_completed_and_not_doubled(after):
    def sent(kind):
        store = Store()
        store._reach = lambda: None
        with pytest.warns(UserWarning, match="cannot reach its service: TimeoutError, no answer"):
            tiny_learner([kind(store), Norm(), Halfway(store, after)]).fit(3)
        return sorted(store.points())

    class Silent(Asked):
        known = ServiceLog.known

    straight = Store()
    tiny_learner([Fake(straight), Norm()]).fit(3)
    assert sent(Asked) == sorted(straight.points())
    doubled = sent(Silent)
    assert sorted(set(doubled)) == sorted(straight.points())
    assert len(doubled) > len(set(doubled)) or after == 2


class Together(Fake):
    """A service that takes no more of a batch of which it has something, as wandb online."""

    once_a_batch = True

    def connect(self, run, place):
        here, points = super().connect(run, place)
        return here, {"": max(points.values())} if points else {}


class PowerCut(Callback):
    """Ends a fit so that nothing more reaches the service."""

    phase = Phase.MEASURE
    state = ()
    replays = False

    def __init__(self, store, event, when):
        self.store, self.when = store, when
        setattr(self, event, self.cut)

    def cut(self, run):
        if self.when(run):
            self.store.down = True
            raise KeyError("power cut")


class Late(Callback):
    """Adds a second row at the last batch of an epoch, after that of a validation there."""

    state = ()

    def after_train(self, run):
        run.log("late", run.epoch)


def together(store, folder, *cut):
    """Train, or go on, with a service that takes the points of a batch only together."""
    store.down = False
    cuts = [PowerCut(store, *cut)] if cut else []
    learn = tiny_learner([Together(store), Late(), Checkpoint(folder, every="1 steps"), *cuts])
    return learn.fit(3, validate_every="2 steps", resume="auto")


@pytest.mark.filterwarnings("ignore:Together cannot reach its service")
@pytest.mark.parametrize("holds", [True, False])
def test_the_second_row_at_one_batch_is_not_lost_to_a_kill(tmp_path, monkeypatch, holds):
    monkeypatch.setattr(Together, "once_a_batch", holds)
    straight, store = Store(), Store()
    together(straight, tmp_path / "straight")
    with pytest.raises(KeyError, match="power cut"):
        together(store, tmp_path / "cut", "after_epoch", lambda run: run.epoch == 1)
    together(store, tmp_path / "cut")
    assert straight.points().count(("late", 7)) == 1
    assert (sorted(store.points()) == sorted(straight.points())) is holds


@pytest.mark.filterwarnings("ignore:Together cannot reach its service")
@pytest.mark.parametrize("after", [1, 3, 4, 8, 11])
def test_what_is_held_for_its_batch_is_there_once_after_a_kill(tmp_path, after):
    straight, store = Store(), Store()
    together(straight, tmp_path / "straight")
    with pytest.raises(KeyError, match="power cut"):
        when = lambda run: run.training and run.n_iter == after  # noqa: E731
        together(store, tmp_path / "cut", "after_batch", when)
    together(store, tmp_path / "cut")
    assert sorted(store.points()) == sorted(straight.points())


def test_two_columns_of_one_name_keep_apart_also_after_a_kill(tmp_path):
    class Dashes(Fake):
        def named(self, name):
            return name.replace(".", "_").replace(":", "_")

    class Two(Callback):
        state = ()

        def after_step(self, run):
            if run.n_steps > 2:
                run.log("a.b", 1.0)
            run.log("a:b", 2.0)

    def train(store, batches, **kwargs):
        saving = Checkpoint(tmp_path / str(id(store)), every="1 steps")
        return tiny_learner([Dashes(store), Two(), Stop(batches), saving]).fit(3, **kwargs)

    straight, store = Store(), Store()
    train(straight, 0)
    with pytest.raises(KeyError):
        train(store, 7)
    train(store, 0, resume="auto")
    for one in (straight, store):
        values = {(point.name, point.value) for point in one.runs["0"] if point.name[0] == "a"}
        assert values == {("a_b", 2.0), ("a_b_2", 1.0)}
    assert sorted(store.points()) == sorted(straight.points())


@pytest.mark.parametrize("mistake", [TypeError, KeyError, AttributeError, AssertionError])
def test_a_mistake_in_the_log_is_an_error_and_no_outage(mistake):
    class Wrong(Fake):
        def send(self, points):
            raise mistake("mine")

    with pytest.raises(mistake, match="mine"):
        tiny_learner([Wrong(Store())]).fit(1)
    with pytest.raises(NotImplementedError, match="Half has no connect"):
        tiny_learner([type("Half", (ServiceLog, Callback), {"state": ("written",)})()]).fit(1)


def test_what_the_package_of_a_service_raises_is_told_as_an_outage_whatever_it_is():
    class Fails(Fake):
        def send(self, points):
            json.loads("{")  # a ValueError, in another package

    with pytest.warns(UserWarning, match="Fails cannot reach its service: JSONDecodeError"):
        assert tiny_learner([Fails(Store())]).fit(1).n_steps == 4


def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch):
    class Needs(Fake):
        package = "tensorboard"

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("lehr.callbacks.log.service_log.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'Needs needs the package tensorboard.*"lehr\[tensorb'):
        Needs(Store())


def test_the_other_half_must_be_there():
    class Half(ServiceLog, Callback):
        state = ("written",)

    with pytest.raises(NotImplementedError, match="Half has no connect"):
        Half().connect(None, None)
    with pytest.raises(NotImplementedError, match="Half has no send"):
        Half().send([])
