"""Ctrl-C anywhere in any operation: what is left is as before or as after, never in between.

One press: no place may leave anything wrong. Two presses: the second may come while the first is
being heeded.
"""

import gc
import shutil
import signal
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

import lehr.init
from lehr.base import interrupts
from lehr.report import RunFolder, RunRecord
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from tests.tier import NIGHTLY

from . import figures
from .ctrl_c import Place, Press, Survey
from .world import (
    Scene,
    World,
    begin_anew,
    changed,
    files_in,
    scene,
    seed_all,
    surroundings,
    trained,
)

pytestmark = pytest.mark.usefixtures("drawn_once")


@dataclass(frozen=True)
class Operation:
    """Something that a user calls.

    Attributes:
        call: what is interrupted.
        trains: whether it may move what a training moves.
        saves: whether checkpoints are attached.
        every: at commit, so many places apart; in the large tier, each.
        long: whether, in the large tier, only each line is tried, where it is reached first and
            where last; with each place it would take a night.
        one, two: of the places tried at commit, so many lines may be broken by one press, and by
            two. They may only go down.
    """

    call: Callable[[Scene], object]
    trains: bool = False
    saves: bool = False
    every: int = 7
    long: bool = False
    one: int = 0
    two: int = 0


def change_all_in_a_probe(it):
    with it.learn.probe():
        with torch.no_grad():
            for p in it.learn.model.parameters():
                p.zero_()
        it.learn.model.eval()
        it.learn.opt.param_groups[0]["lr"] = 9.0
        it.learn.epochs_done = 7
        torch.rand(())


def save_a_checkpoint(it):
    with CheckpointFolder(it.folder / "saved").open("one") as folder:
        for step in range(4):
            folder.save({"model": dict(it.learn.model.state_dict())}, {"step": step, "epoch": 0})
        folder.prune(2, run="one")


def keep_a_run_folder(it):
    with RunFolder.create(it.folder / "run").keep(it.learn, {"epochs": 2}):
        it.learn.fit(2)


def check_resume(it):
    it.learn.check_resume(epochs=1, batches=2)


def save(it):
    it.learn.save(it.folder / "weights.safetensors")


def load(it):
    it.learn.load(it.folder / "old.safetensors")


def initialise(it):
    lehr.init.initialise(it.learn.model, generator=torch.Generator().manual_seed(0))


def lsuv(it):
    draws = torch.Generator().manual_seed(0)
    lehr.init.lsuv(it.learn.model, torch.randn(8, 3, generator=draws), generator=draws)


def resume(it):
    it.learn.fit(2, resume="auto")


OPERATIONS = {
    "fit": Operation(lambda it: it.learn.fit(2), trains=True, every=347),
    "fit with checkpoints": Operation(resume, trains=True, saves=True, every=1499, long=True),
    "validate": Operation(lambda it: it.learn.validate(), every=131),
    "predict": Operation(lambda it: it.learn.predict(torch.zeros(5, 3)), every=131),
    "find_lr": Operation(lambda it: it.learn.find_lr(steps=10), every=293),
    "rehearse": Operation(lambda it: it.learn.rehearse(2), every=271),
    "summary": Operation(lambda it: it.learn.summary(), every=293),
    "audit": Operation(lambda it: it.learn.audit(), every=227),
    "probe": Operation(change_all_in_a_probe, every=83),
    "check_resume": Operation(check_resume, every=9973, long=True),
    "save": Operation(save, trains=True, every=13),
    "load": Operation(load, trains=True, every=37),
    "checkpoint": Operation(save_a_checkpoint, trains=True, every=149),
    "lsuv": Operation(lsuv, trains=True, every=37),
    "initialise": Operation(initialise, trains=True, every=13),
    "run folder": Operation(keep_a_run_folder, trains=True, every=7919, long=True),
}
ROWS = [f"{name}, {presses}" for name in OPERATIONS for presses in (1, 2)]
LATER = (0, 1, 2, 4, 8, 16, 32)  # places from the first press to the second


@pytest.fixture(autouse=True)
def _python_s_own_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


SURVEYED: dict[Operation, tuple[World, list[Place]]] = {}
"""What a training ends in that nothing disturbs, and the places to press at."""


class Stage:
    """New scenes for one operation, each in a folder of its own."""

    def __init__(self, operation: Operation, folder) -> None:
        self.operation, self.folder, self.number = operation, folder, 0
        if operation not in SURVEYED:  # once for one press and for two
            SURVEYED[operation] = trained(self.scene().learn), self.surveyed()
        self.straight, self.places = SURVEYED[operation]

    def surveyed(self) -> list[Place]:
        survey, it = Survey(), self.scene()
        with survey:
            self.operation.call(it)
        long = self.operation.long and NIGHTLY
        return survey.first_and_last() if long else survey.places()

    def scene(self) -> Scene:
        self.number += 1
        it = scene(self.folder / str(self.number), saves=self.operation.saves)
        it.learn.save(it.folder / "old.safetensors")
        return it

    def broken_by(self, place: Place, later: int | None = None) -> list[str] | None:
        """What is wrong after a press there; None if none was heeded."""
        it, lost = self.scene(), []
        before = it.outside() if self.operation.trains else it.everything()
        files = files_in(it.folder)
        press, wrong, raised = Press(place, later), [], False
        hook, sys.unraisablehook = sys.unraisablehook, lambda args: lost.append(args.exc_type)
        try:
            with press:
                self.operation.call(it)
        except KeyboardInterrupt:
            raised = True
        except BaseException as error:
            wrong.append(f"{type(error).__name__} instead: {error}")
        finally:
            sys.unraisablehook = hook
        lost = KeyboardInterrupt in lost  # a finaliser's errors are
        if press.presses < (1 if later is None else 2) or lost:
            restore_surroundings()
            return None
        if not raised and not wrong:
            wrong.append("the press was swallowed")
        if interrupts._waiting and not raised:
            wrong.append("a press waits for ever")
        look = it.outside if self.operation.trains else it.everything
        if changed(before, look()):
            gc.collect()  # what only a circle keeps open is no harm
        wrong += changed(before, look())
        restore_surroundings()
        wrong += wrong_files(files, it)
        if not wrong and self.operation.trains:
            begin_anew(it.learn)
            try:
                wrong += [f"{n} of another fit" for n in changed(self.straight, trained(it.learn))]
            except Exception as error:
                wrong.append(f"another fit: {error!r}")
        shutil.rmtree(it.folder)
        return wrong


def restore_surroundings() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    interrupts._waiting.clear()
    torch.set_grad_enabled(True)
    seed_all()


def wrong_files(before, it: Scene) -> list[str]:
    """What of the files is neither as before nor as after."""
    now = files_in(it.folder)
    wrong = [f"{name} is left" for name in now if "/." in f"/{name}" and ".lock" not in name]
    wrong += [f"{name} has changed" for name, data in before.items() if now.get(name, 0) != data]
    wrong += CheckpointFolder(it.folder / "saved").newest()[1]
    if (it.folder / "run" / "config.json").exists():
        RunRecord.read(it.folder / "run")
    if "weights.safetensors" in now and now["weights.safetensors"] != now["old.safetensors"]:
        wrong.append("weights.safetensors is half written")
    return wrong


def sample(places: list[Place], every: int) -> list[Place]:
    return places if NIGHTLY else places[::every]


def tried(stage: Stage, *, twice: bool) -> tuple[int, dict[str, set[str]]]:
    """How many presses were heeded, and what was wrong after them, by line."""
    trials, broken = 0, defaultdict(set)
    places = sample(stage.places, stage.operation.every)
    for number, place in enumerate(places):
        wrong = stage.broken_by(place, LATER[number % len(LATER)] if twice else None)
        trials += wrong is not None
        if wrong:
            broken[place.line] |= set(wrong)
    return trials, dict(broken)


@pytest.mark.parametrize("presses", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_ctrl_c_anywhere_leaves_nothing_in_between(tmp_path, name, presses):
    operation = OPERATIONS[name]
    stage = Stage(operation, tmp_path)
    trials, broken = tried(stage, twice=presses == 2)
    row = {
        "presses": trials,
        "lines": len({place.line for place in stage.places}),
        "broken lines": len(broken),
        "broken": {line: sorted(what) for line, what in sorted(broken.items())},
    }
    figures.keep("faults_ctrl_c", f"{name}, {presses}", row, ROWS)
    assert trials or presses == 2  # where nothing is put back there is no place for a second
    bound = operation.one if presses == 1 else operation.two
    assert len(broken) <= bound * (operation.every if NIGHTLY else 1), broken


def test_what_is_left_in_between_would_be_seen(tmp_path):
    def careless(it):
        it.learn.model[3].train()
        it.learn.validate()
        it.learn.model[3].eval()

    stage = Stage(Operation(careless), tmp_path)
    wrong = (stage.broken_by(place) or [] for place in stage.places[::97])
    assert any("mode 3" in what for what in wrong)  # one will do


def test_the_surroundings_are_seen():
    before = surroundings()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.rand(())
    assert changed(before, surroundings()) == ["handlers", "torch"]
