"""An exception of any kind from any place of a fit comes out as it is, and everything is undone.

A cancel means what it means there, or is an error that says that it has no meaning.
"""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from lehr import Callback, Learner, accuracy
from lehr.callbacks import ParamScheduler
from lehr.data import DataBunch, DataLoader
from lehr.events import ACTIONS, EVENTS
from lehr.schedules import sched_cos
from tests.tier import NIGHTLY

from . import figures
from .strange import CANCELS, KINDS
from .world import Scene, begin_anew, changed, model_with_all_sorts, seed_all, trained

LOOP = {  # what a cancel means where it is raised: nothing but its own, or an error
    "around_fit enter": (),
    "around_fit exit": (),
    "begin_fit": ("CancelFit",),
    "begin_epoch": ("CancelEpoch", "CancelFit"),
    "begin_train": ("CancelEpoch", "CancelFit"),
    "after_train": ("CancelEpoch", "CancelFit"),
    "begin_validate": ("CancelEpoch", "CancelFit"),
    "after_validate": ("CancelEpoch", "CancelFit"),
    "after_epoch": ("CancelEpoch", "CancelFit"),
    "after_fit": (),
    **dict.fromkeys(("dataset", "collate", "sampler", "loader"), ("CancelEpoch", "CancelFit")),
    **dict.fromkeys(("split_batch", "deferred"), ("CancelEpoch", "CancelFit")),
}
PLACES = (
    *EVENTS,
    *ACTIONS,
    *("around_fit enter", "around_fit exit", "deferred"),
    *("loss_func", "metric", "dataset", "sampler", "collate", "loader", "optimizer", "schedule"),
    *("forward", "split_batch", "weight"),
)


class Bomb:
    """Raises what it was given where it was put, when that is reached for the second time."""

    def __init__(self) -> None:
        self.place, self.error, self.left = "", None, 0
        self.deferred = self.undone = 0

    def set(self, place, error, left=2):
        self.place, self.error, self.left = place, error, left

    def pass_by(self, place):
        if place == self.place and self.error is not None:
            self.left -= 1
            if self.left == 0:
                error, self.error = self.error, None
                raise error


class Everywhere(Callback):
    """Passes by at every event, action and scope, and defers something in each."""

    state = ()

    def __init__(self, bomb):
        self.bomb = bomb

    @contextmanager
    def around_fit(self, run):
        self.bomb.pass_by("around_fit enter")
        self.bomb.deferred += 1
        try:
            yield
            self.bomb.pass_by("around_fit exit")
        finally:
            self.bomb.undone += 1

    def _undo(self):
        self.bomb.undone += 1
        self.bomb.pass_by("deferred")


def _watches(event):
    def watch(self, run):
        self.bomb.deferred += 1
        run.defer(self._undo)
        self.bomb.pass_by(event)

    return watch


def _wraps(action):
    def wrap(self, run, proceed):
        proceed()
        self.bomb.pass_by(action)

    return wrap


for name in EVENTS:
    setattr(Everywhere, name, _watches(name))
for name in ACTIONS:
    setattr(Everywhere, name, _wraps(name))


class Items:
    def __init__(self, bomb, n):
        draw = torch.Generator().manual_seed(n)
        self.bomb, self.x = bomb, torch.randn(n, 3, generator=draw)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        self.bomb.pass_by("dataset")
        return self.x[i], int(self.x[i].sum() > 0)


class Foreign:
    """Somebody else's loader."""

    def __init__(self, bomb, loader):
        self.bomb, self.loader = bomb, loader

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        for batch in self.loader:
            self.bomb.pass_by("loader")
            yield batch


class Sampler(torch.utils.data.Sampler):
    def __init__(self, bomb, n):
        self.bomb, self.n = bomb, n

    def __len__(self):
        return self.n

    def __iter__(self):
        for i in range(self.n):
            self.bomb.pass_by("sampler")
            yield i


def loaders(bomb, place):
    """Our own loader, or somebody else's where the place is in that."""
    train, valid = Items(bomb, 8), Items(Bomb(), 4)

    def collate(items):
        bomb.pass_by("collate")
        return torch.utils.data.default_collate(items)

    if place in ("sampler", "collate", "loader"):
        foreign = torch.utils.data.DataLoader(
            train, 4, sampler=Sampler(bomb, 8), collate_fn=collate
        )
        return DataBunch(Foreign(bomb, foreign), DataLoader(valid, 4), c=2)
    return DataBunch(DataLoader(train, 4), DataLoader(valid, 4), c=2)


class SGD(torch.optim.SGD):
    bomb = Bomb()

    def step(self, closure=None):
        self.bomb.pass_by("optimizer")
        return super().step(closure)


def make(folder, place):
    """A Learner that passes by a bomb at every place."""
    bomb = Bomb()
    seed_all()
    model = model_with_all_sorts()
    model.register_forward_hook(lambda *_: bomb.pass_by("forward"))
    opt = SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    opt.bomb = bomb

    def loss_func(pred, yb):
        bomb.pass_by("loss_func")
        return nn.functional.cross_entropy(pred, yb)

    def metric(pred, yb):
        bomb.pass_by("metric")
        return accuracy(pred, yb)

    def schedule(pos):
        bomb.pass_by("schedule")
        return 0.1 * (1 - pos)

    def split_batch(batch):
        bomb.pass_by("split_batch")
        return batch[0], batch[1]

    def weight(run):
        bomb.pass_by("weight")
        return len(run.xb)

    callbacks = [
        ParamScheduler("lr", schedule),
        ParamScheduler("model.2.p", sched_cos(0.2, 0.1)),
        Everywhere(bomb),
    ]
    learn = Learner(
        model,
        opt,
        loss_func,
        loaders(bomb, place),
        callbacks,
        metrics=[metric],
        split_batch=split_batch,
        weight=weight,
        progress=False,
        rehearsal=False,  # its bombs would go off there
        seed=3,
    )
    return Scene(folder, learn, callbacks), bomb


def meant(kind, place):
    """Whether this cancel has a meaning at this place, and so is no error."""
    return kind in LOOP.get(place, CANCELS)


def wrong_after(folder, place, kind, straight):
    """What is not as it should be after such an exception there."""
    it, bomb = make(folder, place)
    before, error = it.outside(), KINDS[kind]()
    once = place in ("begin_fit", "after_fit", "around_fit enter", "around_fit exit")
    bomb.set(place, error, 1 if once else 2)
    raised = None
    try:
        it.learn.fit(2)
    except BaseException as found:
        raised = found
    wrong = [] if bomb.error is None else ["the place was never reached"]
    if kind in CANCELS and meant(kind, place):
        wrong += [f"{raised!r} though it has a meaning"] if raised is not None else []
    elif kind in CANCELS:
        said = isinstance(raised, RuntimeError) and "has no meaning there" in str(raised)
        wrong += [] if said else [f"{raised!r} though it has no meaning"]
    elif raised is not error and not documented(kind, place, raised, error):
        wrong.append(f"{type(raised).__name__} instead")
    error = raised = None
    if bomb.deferred != bomb.undone:
        wrong.append(f"{bomb.undone} of {bomb.deferred} undone")
    wrong += changed(before, it.outside())
    begin_anew(it.learn)
    seed_all()
    try:
        wrong += [f"{name} of another fit" for name in changed(straight, trained(it.learn))]
    except Exception as failure:
        wrong.append(f"another fit: {type(failure).__name__}")
    return wrong


def documented(kind, place, raised, error):
    """Python makes a StopIteration in a generator, such as an iterator of items, a RuntimeError.

    For torch's loader it is the end of the data, and we warn that there were fewer than promised.
    """
    if kind != "StopIteration":
        return False
    ended = place == "collate" and isinstance(raised, UserWarning)
    return ended or (isinstance(raised, RuntimeError) and raised.__cause__ is error)


def kinds_at(place):
    """In the large tier all; at commit the cancels, and every third of the others in turn."""
    others = [kind for kind in KINDS if kind not in CANCELS]
    return list(KINDS) if NIGHTLY else [*CANCELS, *others[PLACES.index(place) % 3 :: 3]]


@pytest.mark.parametrize("places", [EVENTS, ACTIONS, PLACES[len(EVENTS) + len(ACTIONS) :]])
def test_every_kind_is_raised_in_events_in_actions_and_elsewhere(places):
    assert {kind for place in places for kind in kinds_at(place)} == set(KINDS)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_raised_anywhere_comes_out_and_leaves_nothing(tmp_path, place):
    straight = trained(make(tmp_path, place)[0].learn)
    wrong, kinds = {}, kinds_at(place)
    for kind in kinds:
        if found := wrong_after(tmp_path, place, kind, straight):
            wrong[kind] = found
    row = {"exceptions": len(kinds), "wrong": len(wrong)}
    figures.keep("faults_exceptions", place, row, PLACES)
    assert not wrong, "\n".join(f"{kind}: {what}" for kind, what in wrong.items())


class InWorkers(Items):
    def __getitem__(self, i):
        if self.bomb.error is not None and i == 5:
            raise self.bomb.error
        return super().__getitem__(i)


@pytest.mark.parametrize("kind", ["Exception", "MemoryError", "Silent"])
def test_what_a_worker_raises_comes_out_and_leaves_nothing(tmp_path, kind):
    def made():
        it, _ = make(tmp_path, "")
        bomb = Bomb()
        it.learn.data = DataBunch(
            DataLoader(InWorkers(bomb, 8), 4, num_workers=1), it.learn.data.valid_dl, c=2
        )
        return it, bomb

    straight = trained(made()[0].learn)
    it, bomb = made()
    before = it.outside()
    bomb.error = KINDS[kind]()
    with pytest.raises(type(bomb.error)):
        it.learn.fit(2)
    bomb.error = None
    kept = {"open files", "threads"}  # with the workers, until their loader goes
    assert set(changed(before, it.outside())) <= kept
    begin_anew(it.learn)
    seed_all()
    assert changed(straight, trained(it.learn)) == []


def test_an_undo_that_did_not_run_would_be_seen(tmp_path, monkeypatch):
    place = "after_loss"
    straight = trained(make(tmp_path, place)[0].learn)
    monkeypatch.setattr(Everywhere, "_undo", lambda self: None)
    wrong = wrong_after(tmp_path, place, "Exception", straight)
    assert any("undone" in what for what in wrong)
