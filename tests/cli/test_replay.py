"""``lehr replay``: a past step of a run folder, made again."""

import json
import re
from pathlib import Path

import pytest
import torch

from lehr import Callback
from lehr.cli import job
from lehr.data import Dataset
from lehr.state.disk.checkpoint_folder import CheckpointFolder

QUICK = ("train", "digits", "--model", "mlp", "--epochs", "3", "--batch-size", "256", "--seed", 3)
BATCHES = 6  # of an epoch
SAVED = ("--checkpoint-every", "4 steps")


class At(Callback):
    """Does something as the n-th training batch begins."""

    state = ()

    def __init__(self, n, do):
        self.n, self.do = n, do

    def begin_batch(self, run):
        if run.training and run.n_iter == self.n:
            self.do(run)


@pytest.fixture
def also(monkeypatch):
    """Adds callbacks to every training."""
    usual = job._callbacks

    def add(*callbacks):
        monkeypatch.setattr(job, "_callbacks", lambda settings: [*usual(settings), *callbacks])

    return add


def logged_loss(path, batch):
    """The loss that the history of a run folder has for a batch."""
    lines = [json.loads(line) for line in Path(path, "history.jsonl").read_text().splitlines()]
    return next(one["loss"] for one in lines if one["kind"] == "step" and one["batch"] == batch)


def files(path):
    return {file: file.read_bytes() for file in Path(path).rglob("*") if file.is_file()}


@pytest.mark.parametrize(("step", "begin"), [(0, 0), (9, 8), (17, 16)])
def test_a_step_is_made_again_and_nothing_in_the_folder_changes(made, succeed, step, begin):
    made(*QUICK, *SAVED, "--out", "a")
    nearest = max(s.step for s in CheckpointFolder("a/checkpoints").all() if s.step <= step)
    before = files("a")
    lines = succeed("replay", "a", "--step", step).splitlines()
    assert files("a") == before
    place = rf"step {step} \(epoch {step // BATCHES}, batch {step % BATCHES}\), made again"
    assert re.match(
        rf"{place} from the checkpoint of step {nearest}(, \d+ steps? before)?$", lines[0]
    )
    assert lines[1] == f"loss: {logged_loss('a', step):.8g}"
    assert lines[2] == "This is bit for bit as in the history."
    assert re.match(r"gradient norm: [\d.]+; the largest by parameter: \S+ [\d.]+, ", lines[3])
    assert len(lines) == 4


def test_a_history_that_says_something_else_is_told(made, succeed):
    made(*QUICK, *SAVED, "--out", "a")
    file, loss = Path("a/history.jsonl"), logged_loss("a", 17)
    file.write_text(file.read_text().replace(repr(loss), repr(loss + 1e-6)))
    out = succeed("replay", "a", "--step", 17)
    assert "This is NOT as it was: the loss of training batch 17, counted from 0, is" in out
    assert "bit for bit" not in out


def test_what_has_changed_since_is_named_where_the_step_is_another(made, succeed, monkeypatch):
    made(*QUICK, *SAVED, "--out", "a")
    file, loss = Path("a/history.jsonl"), logged_loss("a", 17)
    file.write_text(file.read_text().replace(repr(loss), repr(loss + 1e-6)))
    now = {"torch": "2.99"}
    monkeypatch.setattr("lehr.resume.environment", lambda: now)
    out = succeed("replay", "a", "--step", 17)
    assert f"What has changed since: torch {torch.__version__} → 2.99; " in out


def test_a_loss_that_was_not_finite_is_traced(also, call, succeed):
    def spoil(run):
        run.xb = run.xb.clone()
        run.xb[3] = torch.inf

    also(At(9, spoil))
    result = call(*QUICK, *SAVED, "--out", "a")
    assert result.exit_code == 1
    assert "loss is nan at step 9" in result.stderr
    lines = succeed("replay", "a", "--step", 9).splitlines()
    assert lines[0].startswith(
        "step 9 (epoch 1, batch 3), made again from the checkpoint of step 8"
    )
    assert lines[1:4] == [
        "loss: nan",
        "The history ends before it; what led to it is bit for bit as in the history.",
        "The input is not finite in item 3.",
    ]


def test_a_step_that_raised_an_error_raises_it_again_in_words(also, call, succeed):
    def fail(run):
        raise ZeroDivisionError("nine")

    also(At(9, fail))
    result = call(*QUICK, *SAVED, "--out", "a")
    assert result.exit_code == 1
    assert result.stdout.endswith("to see that step again: lehr replay a\n")
    lines = succeed("replay", "a", "--step", 9).splitlines()
    assert lines[-1] == "it raises ZeroDivisionError: nine"
    named = ["the training ended here: ZeroDivisionError: nine", *lines]
    assert succeed("replay", "a").splitlines() == named


class InValidation(Callback):
    """Raises as a batch of the second validation is begun."""

    state = ()

    def begin_batch(self, run):
        if not run.training and run.epoch == 1:
            raise ZeroDivisionError("not today")


def test_a_validation_that_raised_raises_again(also, call, succeed):
    also(failing := InValidation())
    result = call(*QUICK, *SAVED, "--out", "a")
    assert result.exit_code == 1
    assert result.stdout.endswith("to see that step again: lehr replay a\n")
    assert succeed("replay", "a").splitlines() == [
        "the training ended here: ZeroDivisionError: not today",
        "validation batch 0 of epoch 1, with 12 steps done, made again from the checkpoint of step "
        "12",
        "This is bit for bit as in the history.",
        "it raises ZeroDivisionError: not today",
    ]
    del type(failing).begin_batch
    *_, last = succeed("replay", "a").splitlines()
    assert last == "Nothing is raised this time."


def test_a_batch_that_could_not_be_read_is_told(call, succeed, monkeypatch):
    read = Dataset.gather

    def torn(self, indices):
        if len(indices) < 256:  # the last batch of an epoch
            raise OSError("torn")
        return read(self, indices)

    monkeypatch.setattr(Dataset, "gather", torn)
    result = call(*QUICK, *SAVED, "--out", "a")
    assert result.exit_code == 1, result.output
    lines = succeed("replay", "a").splitlines()
    assert lines[0] == "the training ended here: OSError: torn"
    assert lines[1].startswith(
        "reading batch 5 of epoch 0, with 5 steps done, made again from the checkpoint of step 4"
    )
    assert lines[-1] == "it raises OSError: torn"


def test_a_run_that_was_made_longer_is_replayed_with_the_length_that_it_had(made, succeed):
    made(*QUICK, *SAVED, "--out", "a")
    succeed("resume", "a", "--epochs", 5)
    for step in (13, 21):
        out = succeed("replay", "a", "--step", step)
        assert "This is bit for bit as in the history." in out


@pytest.mark.filterwarnings("default")
def test_a_damaged_checkpoint_is_passed_over(made, call, refused):
    made(*QUICK, *SAVED, "--out", "a")
    *_, last = CheckpointFolder("a/checkpoints").all()
    (last.path / "state.json").write_text("{}")
    result = call("replay", "a", "--step", 17)
    assert result.exit_code == 0, result.output
    assert "This is bit for bit as in the history." in result.stdout
    for file in Path("a/checkpoints").rglob("state.json"):
        file.write_text("{}")
    message = refused("replay", "a", "--step", 17, code=1)
    assert message.startswith("no checkpoint of a from before step 17 can be used. ")


def test_what_cannot_be_replayed_is_refused(made, succeed, refused):
    made(*QUICK, "--out", "a")
    message = refused("replay", "a", "--step", 18, code=1)
    assert message == "step must be at most 17, the last of a; got 18. The first is 0."
    message = refused("replay", "a", code=1)
    assert message == "no step of a has failed. Say which one is meant: --step 0."
    assert "step" in refused("replay", "a", "--step", -1)
    assert "no run folder" in refused("replay", "nowhere", "--step", 1, code=1)
    assert "device must be" in refused("replay", "a", "--step", 1, "--device", "gpu")
    succeed(*QUICK, "--checkpoint-every", "never", "--out", "b")
    assert "b has no checkpoints: it was trained without" in refused(
        "replay", "b", "--step", 1, code=1
    )


def test_a_manifest_without_a_place_is_refused(made, refused, monkeypatch):
    made(*QUICK, "--out", "a")
    monkeypatch.setattr("lehr.state.disk.manifest.About.read_among", _refuse)
    message = refused("replay", "a", "--step", 3, code=1)
    assert "cannot be gone on from: it says nothing." in message


def _refuse(*_):
    raise ValueError("it says nothing")
