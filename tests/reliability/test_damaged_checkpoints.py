"""A damaged checkpoint is refused with the reason, the one before is used, and nothing changes."""

import json
import random
import shutil
import warnings

import pytest
import torch
from torch import nn

from lehr import Callback
from lehr.base import strict_json
from lehr.callbacks import Checkpoint, EarlyStopping, ParamScheduler
from lehr.schedules import sched_cos
from lehr.state.differences import first_difference
from lehr.state.disk import manifest_text
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner
from tests.tier import count

from ..faults.figures import Tally

TALLY = Tally("damaged_checkpoints", "mutations", "accepted", of=count(30))


class InterruptAt(Callback):
    """Asks the run to end in the n-th training batch."""

    replays = False

    def after_batch(self, run):
        if run.training and run.n_iter == 10:
            run.interrupt("test")


def learner(folder=None, *callbacks, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 2))
    usual = [ParamScheduler("lr", sched_cos(0.1, 0.0)), EarlyStopping(patience=9)]
    saver = [Checkpoint(folder, every="3 steps", keep=3)] if folder else []
    return tiny_learner([*usual, *saver, *callbacks], model=model, opt=torch.optim.AdamW, seed=seed)


def end(run):
    """What a run of three epochs ends in."""
    entries = capture({"model": run.model, "opt": run.opt})
    return {**entries, "loss": run.history["loss"], "rows": len(run.history.rows)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run that was left in its second epoch, another one, and another such run."""
    folder = tmp_path_factory.mktemp("saved")
    for seed, name in enumerate(("one", "another")):
        learner(folder / name, InterruptAt(), seed=seed).fit(3)
    return folder


@pytest.fixture(scope="module")
def straight():
    return end(learner().fit(3))


def some_file(draw, newest):
    return draw.choice(sorted(path for path in newest.iterdir() if path.is_file()))


def flip_a_bit(draw, newest, other):
    path = some_file(draw, newest)
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(draw, newest, other):
    path = some_file(draw, newest)
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])


def put_zeros(draw, newest, other):
    path = some_file(draw, newest)
    data = path.read_bytes()
    begin = draw.randrange(len(data))
    path.write_bytes(data[:begin] + bytes(len(data) - begin))


def lengthen(draw, newest, other):
    path = some_file(draw, newest)
    path.write_bytes(path.read_bytes() + draw.randbytes(draw.randint(1, 50)))


def empty(draw, newest, other):
    some_file(draw, newest).write_bytes(b"")


def remove(draw, newest, other):
    some_file(draw, newest).unlink()


def take_one_of_another_run(draw, newest, other):
    path = draw.choice(["model.safetensors", "state.json", "manifest.json"])
    shutil.copy(other / path, newest / path)
    if path == "manifest.json":  # it is whole, and vouches for other files
        assert (newest / path).read_bytes() == (other / path).read_bytes()


def double_a_key(draw, newest, other):
    path = newest / draw.choice(["state.json", "manifest.json"])
    text = path.read_bytes()
    path.write_bytes(b'{"format": 1,' + text.lstrip()[1:])


def resealed(draw, newest, other):
    """A manifest that says something else, with the right checksum."""
    said = json.loads((newest / "manifest.json").read_text())
    del said["checksum"]
    change = draw.choice(["version", "format", "files", "step"])
    said[change] = {"version": 99, "format": "other", "files": {}, "step": -3}[change]
    body = strict_json.dump(said, indent=1)
    (newest / "manifest.json").write_bytes(manifest_text.sealed(body))


def be_a_folder(draw, newest, other):
    path = some_file(draw, newest)
    path.unlink()
    path.mkdir()


DAMAGES = (
    *(flip_a_bit, cut, put_zeros, lengthen, empty, remove, take_one_of_another_run),
    *(double_a_key, resealed, be_a_folder),
)


def everything(learn):
    """All that a refused file must leave: the state, and each attribute."""
    states = {"model": learn.model, "opt": learn.opt}
    return {
        "state": capture(states),
        "attributes": {name: id(value) for name, value in vars(learn).items()},
        "callbacks": [{k: repr(v) for k, v in vars(cb).items()} for cb in learn.callbacks],
        "modes": [module.training for module in learn.model.modules()],
        "random": torch.get_rng_state(),
    }


def accepted(number, saved, folder, straight):
    """What is wrong after a mutation; empty if it was refused as it should be."""
    draw = random.Random(number)
    shutil.copytree(saved / "one", folder)
    newest = CheckpointFolder(folder).all()[-1].path
    other = CheckpointFolder(saved / "another").all()[-1].path
    damage = DAMAGES[number % len(DAMAGES)]
    files = {path.name: path.read_bytes() for path in newest.iterdir()}
    damage(draw, newest, other)
    if files == {path.name: path.read_bytes() for path in newest.iterdir() if path.is_file()}:
        return []  # zeros where zeros were
    learn = learner()
    before = everything(learn)
    try:
        learn.fit(3, resume=newest)
    except (ValueError, FileNotFoundError) as error:  # without a manifest it is none
        wrong = [] if newest.name in str(error) else [f"it does not name the folder: {error}"]
        wrong += [f"it gives no reason: {error}"] * (str(error)[-1] not in ".?")
    else:
        return [f"{damage.__name__}: accepted"]
    if (change := first_difference(before, everything(learn))) is not None:
        wrong.append(f"{damage.__name__}: changed {change}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = learner(folder).fit(3, resume="auto")
    told = " ".join(str(warning.message) for warning in caught)
    if "is used" not in told or newest.name not in told:
        wrong.append(f"{damage.__name__}: no warning names it: {told!r}")
    if (change := first_difference(straight, end(run))) is not None:
        wrong.append(f"{damage.__name__}: another end: {change}")
    return wrong


@pytest.mark.parametrize("part", range(5))
def test_it_is_refused_and_the_one_before_is_used(tmp_path, saved, straight, part):
    wrong = {}
    for number in range(part, TALLY.of, 5):
        found = accepted(number, saved, tmp_path / str(number), straight)
        TALLY.add(good=not found)
        if found:
            wrong[number] = found
    assert not wrong


def test_one_that_is_whole_is_used(tmp_path, saved, straight):
    shutil.copytree(saved / "one", tmp_path / "one")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = learner(tmp_path / "one").fit(3, resume="auto")
    assert not [warning for warning in caught if "is used" in str(warning.message)]
    assert first_difference(straight, end(run)) is None


def test_one_that_is_taken_in_spite_of_it_would_be_seen(tmp_path, saved, straight, monkeypatch):
    def be_the_one_before(draw, newest, other):
        before = CheckpointFolder(newest.parent).all()[-2].path
        for path in before.iterdir():
            shutil.copy(path, newest / path.name)

    monkeypatch.setitem(globals(), "DAMAGES", (be_the_one_before,))
    assert accepted(0, saved, tmp_path / "a", straight) == ["be_the_one_before: accepted"]
