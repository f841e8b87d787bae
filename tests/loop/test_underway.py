"""What is refused, because a run is under way that it would disturb."""

import random
import signal
import threading
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

from lehr import Callback, DataBunch, Layer
from lehr.callbacks import Checkpoint
from lehr.data.loading.feed import Feed
from lehr.events import EVENTS
from lehr.loop.underway import course, runs_of
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def calling(work, moment="after_batch", when=3):
    """A callback that does some work once, and keeps the error."""

    def ask(self, run):
        if not hasattr(self, "error") and run.n_iter >= when:
            self.error = None
            try:
                work(self, run)
            except Exception as error:
                self.error = error

    return type("Calls", (Callback,), {moment: ask})()


def outcome(learn):
    return capture(learn.state_entries())


def dropout_learner(*callbacks, seed=0, **more):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    return tiny_learner(callbacks, model=model, seed=seed, **more)


@pytest.mark.parametrize("moment", [e for e in EVENTS if e not in ("begin_fit", "after_fit")])
def test_a_fit_within_a_run_of_the_same_learner_is_refused_and_changes_nothing(moment):
    calls = calling(lambda self, run: run.learn.fit(1), moment)
    learn = dropout_learner(calls)
    run = learn.fit(2)
    assert isinstance(calls.error, RuntimeError)
    assert str(calls.error) == (
        "fit was called within a run of the same Learner: it would move the weights and clear the "
        "gradients under that run. To try some steps and put everything back, call "
        "learn.rehearse(steps); to train another model, make a Learner of its own for it; to train "
        "this one longer, call fit when the run is over."
    )
    assert learn.run is run
    straight = dropout_learner()
    straight.fit(2)
    learn.callbacks.clear()
    assert first_difference(outcome(straight), outcome(learn)) is None
    assert not runs_of(learn)


@pytest.mark.parametrize("around", ["validate", "rehearse"])
def test_a_fit_within_a_pass_of_the_same_learner_is_refused(around):
    calls = calling(lambda self, run: run.learn.fit(1), "after_loss", when=0)
    learn = tiny_learner()
    ask = partial(learn.rehearse, 2) if around == "rehearse" else learn.validate
    ask(callbacks=[calls])
    assert "fit was called within a run of the same Learner" in str(calls.error)


def test_a_fit_in_a_probe_within_a_fit_is_refused():
    def work(self, run):
        with run.learn.probe():
            run.learn.fit(1)

    calls = calling(work)
    tiny_learner([calls]).fit(2)
    assert "fit was called within a run" in str(calls.error)


class Student(Callback):
    """Trains a Learner within another's fit, and draws from all that is random."""

    def __init__(self, moment, *callbacks):
        self.inner = dropout_learner(*callbacks, seed=5)
        self.losses = []
        setattr(self, moment, self.trains)

    def trains(self, run):
        inner = self.inner.fit(1)
        self.losses.append(inner.history["train_loss"][-1])


class DrawsFromPython(Callback):
    def begin_batch(self, run):
        run.xb = run.xb + 0.1 * random.random() + 0.1 * np.random.rand()


@pytest.mark.parametrize("moment", ["begin_batch", "after_loss", "after_batch", "after_validate"])
def test_another_learner_that_fits_within_a_fit_leaves_its_bits(moment):
    ends = []
    for more in ([], [Student(moment, DrawsFromPython())]):
        random.seed(1)
        np.random.seed(1)
        learn = dropout_learner(DrawsFromPython())
        learn.fit(2, callbacks=more)
        ends.append(outcome(learn))
    assert first_difference(*ends) is None
    assert len(set(more[0].losses)) > 1  # the other one does train
    random.seed(2)
    learn = dropout_learner(DrawsFromPython())
    learn.fit(2)
    assert first_difference(ends[0], outcome(learn)) is not None


def test_the_fit_inside_gives_what_it_would_give_alone():
    student = Student("after_train")
    tiny_learner([student]).fit(3)
    alone = dropout_learner(seed=5)
    losses = [alone.fit(1).history["train_loss"][-1] for _ in range(3)]
    assert student.losses == losses


class Autocast(Callback):
    layer = Layer.CAPTURE
    evaluates = False

    def one_batch(self, run, proceed):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            proceed()


@pytest.mark.parametrize("own", [True, False])
def test_a_run_inside_has_its_own_autocast_and_no_weights_from_before(own):
    losses = {}

    learn = dropout_learner()
    losses["before"] = learn.rehearse(4, [Autocast()] * own).history["loss"]
    inside = dropout_learner(opt=partial(torch.optim.SGD, lr=0.0))

    class Rate(Callback):
        def begin_batch(self, run):
            run.opt.param_groups[0]["lr"] = 0.1

    def work(self, run):
        given = [Rate(), *[Autocast()] * own]
        losses["inside"] = run.learn.rehearse(4, given).history["loss"]

    calls = calling(work, "after_loss", when=2)
    inside.fit(1, callbacks=[Autocast(), calls])
    assert calls.error is None
    assert losses["inside"] == losses["before"]


def test_what_draws_from_python_does_not_draw_the_same_in_every_fit_inside():
    seen = []

    class Sees(Callback):
        def begin_fit(self, run):
            seen.append(random.random())

    tiny_learner([Student("after_train", Sees())]).fit(3)
    assert len(set(seen)) == 3


@pytest.mark.parametrize("ask", ["fit", "validate", "rehearse"])
def test_a_callback_of_a_run_that_is_under_way_is_refused_inside(ask):
    other = tiny_learner()
    doors = {"fit": other.fit, "validate": other.validate, "rehearse": other.rehearse}
    given = {"fit": (1,), "validate": (), "rehearse": (2,)}[ask]
    calls = calling(lambda self, run: doors[ask](*given, callbacks=[self]))
    before = outcome(other)
    tiny_learner([calls]).fit(2)
    assert isinstance(calls.error, ValueError)
    assert str(calls.error) == (
        "this Calls is attached to a run that is under way: it would take the batches of one run "
        "for those of the other. Make another one for the run inside."
    )
    assert first_difference(before, outcome(other)) is None


def test_a_callback_may_serve_two_learners_one_after_the_other():
    counts = calling(lambda self, run: None)
    tiny_learner([counts]).fit(1)
    tiny_learner([counts]).fit(1)


class Resumable:
    """A loader of somebody else's with a state of its own, and no way to be entered anywhere."""

    def __init__(self, batches):
        self.all, self.at = batches, 0

    def __len__(self):
        return len(self.all)

    def __iter__(self):
        while self.at < len(self.all):
            self.at += 1
            yield self.all[self.at - 1]
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def batches(n=4):
    generator = torch.Generator().manual_seed(3)
    return [(torch.randn(4, 3, generator=generator), torch.tensor([0, 1, 0, 1])) for _ in range(n)]


@pytest.mark.parametrize("door", ["rehearse", "summary", "audit", "find_lr", "check_resume"])
def test_a_loader_that_a_run_is_in_the_middle_of_is_not_read_if_only_one_can(door):
    asks = {"rehearse": (2,)}.get(door, ())
    calls = calling(lambda self, run: getattr(run.learn, door)(*asks))
    learn = tiny_learner([calls], data=DataBunch(Resumable(batches()), batches(1)))
    learn.fit(2)
    assert isinstance(calls.error, RuntimeError)
    assert str(calls.error) == (
        "train_dl is being read by a run that is under way, and a Resumable like this one cannot "
        "be read twice at once: the run would lose its place. Do this before or after the fit, or "
        "with a loader of its own; lehr.data.DataLoader can be read by many."
    )
    learn.callbacks.clear()
    straight = tiny_learner(data=DataBunch(Resumable(batches()), batches(1)))
    straight.fit(2)
    assert first_difference(outcome(straight), outcome(learn)) is None
    getattr(learn, door)(*asks)  # after the fit it works


def test_a_probe_within_a_fit_leaves_such_a_loader_where_it_is():
    def work(self, run):
        with run.learn.probe():
            run.learn.predict(torch.zeros(2, 3))

    calls = calling(work)
    learn = tiny_learner([calls], data=DataBunch(Resumable(batches()), batches(1)))
    learn.fit(2)
    assert calls.error is None
    assert learn.run.n_steps == 8


def test_a_validation_loader_may_be_read_within_training_but_not_within_validation():
    learn = tiny_learner(data=DataBunch(batches(), Resumable(batches(2))))
    calls = calling(lambda self, run: run.learn.validate(), "begin_train", when=0)
    learn.fit(1, callbacks=[calls])
    assert calls.error is None
    calls = calling(lambda self, run: run.learn.validate(), "begin_validate", when=0)
    learn.fit(1, callbacks=[calls])
    assert "valid_dl is being read by a run" in str(calls.error)


def test_torchs_loader_with_workers_that_stay_counts_as_one_that_only_one_can_read():
    x, y = torch.zeros(8, 3), torch.zeros(8, dtype=torch.long)
    loader = TorchLoader(TensorDataset(x, y), 4, num_workers=1, persistent_workers=True)
    assert Feed(loader).one_reader
    assert not Feed(TorchLoader(TensorDataset(x, y), 4)).one_reader


def test_the_state_of_a_run_that_is_under_way_has_names_of_its_own():
    seen = []
    calls = calling(lambda self, run: seen.append(list(course(run.learn))))
    tiny_learner([calls]).fit(1)
    assert seen[0][:4] == [
        "run 0, run",
        "run 0, streams",
        "run 0, history",
        "run 0, callbacks.recorder",
    ]


def in_thread(work):
    found = []

    def run():
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, name="the other")
    thread.start()
    thread.join()
    return found[0]


THREADED = {
    "fit": lambda learn: learn.fit(1),
    "validate": lambda learn: learn.validate(),
    "predict": lambda learn: learn.predict(torch.zeros(2, 3)),
    "rehearse": lambda learn: learn.rehearse(2),
    "find_lr": lambda learn: learn.find_lr(),
    "summary": lambda learn: learn.summary(),
    "audit": lambda learn: learn.audit(),
    "check_resume": lambda learn: learn.check_resume(),
    "probe": lambda learn: learn.probe().__enter__(),
}


@pytest.mark.parametrize("door", THREADED)
def test_a_second_thread_is_refused_while_a_fit_is_under_way(door):
    other = tiny_learner(seed=None)
    before = capture({k: v for k, v in other.state_entries().items() if k != "random"})
    calls = calling(
        lambda self, run: setattr(self, "found", in_thread(partial(THREADED[door], other)))
    )
    learn = dropout_learner(calls)
    learn.fit(2)
    assert isinstance(calls.found, RuntimeError)
    assert "'the other' cannot: both would draw from the default random generators" in str(
        calls.found
    )
    assert not getattr(calls.found, "__notes__", [])
    after = capture({k: v for k, v in other.state_entries().items() if k != "random"})
    assert first_difference(before, after) is None
    straight = dropout_learner()
    straight.fit(2)
    learn.callbacks.clear()
    assert first_difference(outcome(straight), outcome(learn)) is None
    assert not isinstance(in_thread(partial(THREADED[door], other)), Exception)


def test_a_learner_can_be_trained_in_a_thread_of_its_own():
    learn, straight = dropout_learner(), dropout_learner()
    in_thread(lambda: learn.fit(2))
    straight.fit(2)
    assert first_difference(outcome(straight), outcome(learn)) is None


def test_a_checkpoint_is_written_in_the_background_while_the_fit_goes_on(tmp_path):
    run = tiny_learner().fit(2, callbacks=[Checkpoint(tmp_path, every="2 steps", background=True)])
    assert run.n_steps == 8


@pytest.mark.parametrize("inner", ["fit", "rehearse"])
def test_ctrl_c_within_a_run_inside_ends_both_in_order(inner):
    events = []

    class Interrupts(Callback):
        def after_step(self, run):
            if run.n_steps == 2:
                signal.raise_signal(signal.SIGINT)

    class Heard(Callback):
        def after_fit(self, run):
            events.append(run.n_steps)

    def work(self, run):
        if inner == "fit":
            tiny_learner([Interrupts()]).fit(1)
        else:
            run.learn.rehearse(4, [Interrupts()])

    calls = calling(work)
    learn = tiny_learner([calls, Heard()])
    with pytest.raises(KeyboardInterrupt, match=r"interrupted by Ctrl-C"):
        learn.fit(2)
    assert calls.error is None
    assert events == [3]
    assert learn.run.interrupted == "interrupted by Ctrl-C"
    straight = tiny_learner()
    straight.fit(steps=3)
    assert first_difference(*(capture({"model": one.model}) for one in (straight, learn))) is None
