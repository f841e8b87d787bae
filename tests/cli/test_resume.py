"""``lehr resume``: going on with a run folder."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from lehr import Callback
from lehr.callbacks import EMA
from lehr.cli import job, resume
from lehr.state.disk.checkpoint_folder import CheckpointFolder

QUICK = (
    "train",
    "digits",
    "--model",
    "linear",
    "--epochs",
    "4",
    "--batch-size",
    "256",
    "--seed",
    3,
)


class InterruptAt(Callback):
    """Asks the run to end in the n-th training batch, as a signal does."""

    state = ()
    replays = False

    def __init__(self, n):
        self.n = n

    def after_batch(self, run):
        if run.training and run.n_iter == self.n:
            run.interrupt("test")


@pytest.fixture
def stopped(call, monkeypatch):
    """Begins a training and stops it in a batch of its second epoch."""

    def train(*arguments, at=9, code=130):
        usual = job._callbacks
        with monkeypatch.context() as patch:
            patch.setattr(job, "_callbacks", lambda settings: [*usual(settings), InterruptAt(at)])
            result = call(*arguments)
        assert result.exit_code == code, result.output
        return result

    return train


def contents(folder):
    """The files that must not depend on stops, without the seconds in them."""
    found = {"weights": Path(folder, "model.safetensors").read_bytes()}
    rows = Path(folder, "history.csv").read_text().splitlines()
    found["rows"] = [row.rpartition(",")[0] for row in rows]
    records = [json.loads(line) for line in Path(folder, "history.jsonl").read_text().splitlines()]
    found["records"] = [{k: v for k, v in one.items() if k != "seconds"} for one in records]
    return found


def test_a_run_that_was_stopped_ends_as_one_that_was_not(made, call, succeed, stopped, config):
    made(*QUICK, "--out", "straight")
    result = stopped(*QUICK, "--out", "a")
    assert result.stdout.endswith("to go on: lehr resume a\n")
    assert config("a")["status"] == "interrupted"
    assert contents("a") != contents("straight")
    out = succeed("resume", "a")
    assert "resumed at step 9 (epoch 1, batch 3)" in out
    assert contents("a") == contents("straight")
    assert config("a")["status"] == "finished"
    assert [resume["changed"] for resume in config("a")["resumes"]] == [{}]
    assert Path("a", "report.html").is_file()


def test_any_number_of_times(made, succeed, stopped, call, monkeypatch):
    made(*QUICK, "--out", "straight")
    stopped(*QUICK, "--out", "a", at=2)
    for at in (3, 6, 7, 13):
        stopped("resume", "a", at=at)
    succeed("resume", "a")
    assert contents("a") == contents("straight")


def test_a_run_that_is_complete_says_so_and_how_to_make_it_longer(made, succeed):
    made(*QUICK, "--out", "a")
    before = contents("a")
    assert succeed("resume", "a") == (
        "a is complete: 4 epochs.\nto make it longer: lehr resume a --epochs 8\n"
    )
    assert contents("a") == before


def test_a_run_can_be_made_longer_and_what_becomes_of_the_schedule_is_said(succeed, config):
    succeed(*QUICK, "--out", "a", "--schedule", "sched_lin(0.1, 0)")
    out = succeed("resume", "a", "--epochs", 8)
    assert re.match(
        r"4 epochs → 8: sched_lin\(0\.1, 0\) spans the whole run and is stretched, so "
        r"lr, which had come to 0\.00417, goes on at 0\.05\n",
        out,
    )
    assert config("a")["settings"]["epochs"] == 8
    assert config("a")["resumes"][0]["changed"]["epochs"] == [4, 8]
    assert len(Path("a", "history.csv").read_text().splitlines()) == 1 + 8


def test_a_run_cannot_be_made_shorter(made, refused):
    made(*QUICK, "--out", "a")
    message = refused("resume", "a", "--epochs", 3)
    assert message.startswith("--epochs must be more than the 4 that a has; got 3. A run cannot be")


def test_a_run_that_stopped_itself_is_not_made_longer_by_epochs(stopped, succeed, refused):
    succeed(*QUICK, "--out", "a", "--patience", 1, "--schedule", "constant(0.0)")
    message = refused("resume", "a", "--epochs", 9, code=1)
    assert "a was not ended by its number of epochs, and more of them would not" in message


def test_without_checkpoints_there_is_nothing_to_go_on_from(stopped, refused):
    stopped(*QUICK, "--out", "a", "--checkpoint-every", "never")
    message = refused("resume", "a", code=1)
    assert message.startswith("a has no checkpoints: it was trained without (--checkpoint-every ne")
    assert "Instead, train anew: lehr train digits --model linear" in message


@pytest.mark.filterwarnings("default")
def test_a_damaged_checkpoint_is_passed_over_and_if_all_are_nothing_changes(
    made, call, stopped, refused
):
    made(*QUICK, "--out", "straight")
    stopped(*QUICK, "--out", "a", at=15)
    newest = CheckpointFolder(Path("a", "checkpoints")).all()[-1].path
    shutil.copytree("a", "b")
    file = newest / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    result = call("resume", "a")
    assert result.exit_code == 0, result.output
    assert f"{newest} cannot be used" in " ".join(result.stderr.split())
    assert contents("a") == contents("straight")
    for file in Path("b").rglob("state.json"):
        file.write_text("{}")
    config = Path("b", "config.json").read_bytes()
    assert "no checkpoint in b/checkpoints can be used" in refused("resume", "b", code=1)
    assert Path("b", "config.json").read_bytes() == config


def test_two_processes_do_not_train_one_run(stopped, refused):
    stopped(*QUICK, "--out", "a")
    with CheckpointFolder(Path("a", "checkpoints")).open("other"):
        message = refused("resume", "a", code=1)
    assert message == "a is being trained by another process. Wait for it, or end it first."


TABLE = "x,y,z\n" + "".join(f"{i},{i * i % 7},{'ab'[i % 2]}\n" for i in range(40))
ON_A_TABLE = ("--target", "z", "--lr", "0.01", "--epochs", 4, "--batch-size", 8, "--out", "a")


def test_data_that_are_gone_or_others_are_refused(stopped, refused, succeed):
    Path("t.csv").write_text(TABLE)
    stopped("train", "t.csv", *ON_A_TABLE, at=5)
    Path("t.csv").write_text(TABLE.replace("3,2,b", "3,2,a"))
    assert "t.csv has changed since a was begun: its files" in refused("resume", "a", code=1)
    Path("t.csv").unlink()
    assert re.match(r"the data of a are gone: there is no .*t\.csv", refused("resume", "a", code=1))
    Path("t.csv").write_text(TABLE)
    assert "resumed at step 5" in succeed("resume", "a")


def test_ones_own_model_is_imported_only_if_it_is_named_once_more(stopped, refused, succeed):
    Path("t.csv").write_text(TABLE)
    Path("nets.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(2, 2)\n"
    )
    result = stopped("train", "t.csv", *ON_A_TABLE, "--model", "nets.py:Net", at=5)
    assert "to go on: lehr resume a --model nets.py:Net" in result.stdout
    message = refused("resume", "a", code=1)
    assert message.startswith("a was trained with a model of your own, nets.py:Net. Give --model")
    assert "resumed at step 5" in succeed("resume", "a", "--model", "nets.py:Net")


def test_it_goes_on_with_as_many_threads_as_it_began_with(stopped, succeed):
    torch.set_num_threads(1)
    stopped(*QUICK, "--out", "a")
    torch.set_num_threads(2)
    succeed("resume", "a")
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("option", [("--device", "gpu"), ("--checkpoint-every", "often")])
def test_options_are_checked_first(refused, option):
    assert refused("resume", "nowhere", *option).startswith(option[0])


def test_what_is_no_run_folder_is_refused(refused):
    Path("empty").mkdir()
    assert "config.json" in refused("resume", "empty", code=1)


def test_a_part_that_the_checkpoint_lacks_is_said_in_plain_words(refused, stopped, monkeypatch):
    stopped(*QUICK, "--out", "a")
    before = job._callbacks
    monkeypatch.setattr(job, "_callbacks", lambda settings: [*before(settings), EMA(0.9)])
    message = refused("resume", "a", code=1)
    assert message.startswith("state entry 'callbacks.ema' is missing")
    assert "--debug" not in message


def test_a_run_of_several_processes_starts_as_many(call, succeed, monkeypatch):
    started = []
    monkeypatch.setattr(resume, "launch", lambda *given: started.append(given) or 7)
    succeed(*QUICK, "--out", "several")
    path = Path("several/config.json")
    said = json.loads(path.read_text())
    said["settings"]["processes"] = 3
    path.write_text(json.dumps(said))
    given = ("resume", "several", "--epochs", 5, "--checkpoint-every", "2 epochs")
    assert call(*given, "--quiet").exit_code == 7
    words = ["resume", "several", "--epochs", "5", "--checkpoint-every", "2 epochs"]
    assert started == [(3, [*words, "--quiet"])]
    assert call(*given, "--processes", 1).exit_code == 0
    assert len(started) == 1
