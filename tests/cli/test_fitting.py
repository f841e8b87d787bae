"""What training and going on have in common."""

from pathlib import Path

import pytest

from lehr import Callback
from lehr.cli import fitting
from lehr.cli.fitting import (
    carry_out,
    checkpoints_of,
    has_checkpoints,
    resume_command,
    say_plan,
)
from lehr.cli.job import open_job, prepare
from lehr.report import RunFolder


def test_the_command_to_go_on_names_ones_own_model():
    assert resume_command(Path("a"), {"model": "linear"}) == "lehr resume a"
    command = resume_command(Path("a b"), {"model": "nets.py:Net"})
    assert command == "lehr resume 'a b' --model nets.py:Net"


def test_a_damaged_checkpoint_counts_as_one(tmp_path):
    assert not has_checkpoints(tmp_path)
    (checkpoints_of(tmp_path) / ".staging-1").mkdir(parents=True)
    assert not has_checkpoints(tmp_path)
    (checkpoints_of(tmp_path) / "step-00000000").mkdir()
    assert has_checkpoints(tmp_path)


def job(**given):
    quick = {"source": "digits", "model": "linear", "epochs": 2, "batch_size": 720, "seed": 3}
    opened = open_job(prepare({**quick, **given}))
    opened.learn.progress = False
    return opened


def folder(name="run"):
    return RunFolder.create(name)


def lines(capsys):
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("every", "kept"), [("1 epoch", True), ("1 steps", True), ("never", False)]
)
def test_checkpoints_are_kept_as_often_as_asked(every, kept, capsys):
    carry_out(job(checkpoint_every=every), folder())
    assert has_checkpoints(Path("run")) is kept
    said = lines(capsys)
    assert said[-2:] == ["run folder: run", "report: run/report.html"]
    assert said[-3].startswith("accuracy: 0.")


class Ends(Callback):
    """Ends the fit in its third batch, by an interruption or an error."""

    state = ()

    def __init__(self, how):
        self.how = how

    def after_backward(self, run):
        if run.n_iter == 2:
            if self.how == "interrupt":
                run.interrupt("enough")
            else:
                raise ZeroDivisionError(self.how)


@pytest.mark.parametrize(
    ("how", "error", "last"),
    [
        ("interrupt", KeyboardInterrupt, "to go on: lehr resume run"),
        ("error", ZeroDivisionError, "to see that step again: lehr replay run"),
    ],
)
def test_a_training_that_ends_early_says_what_can_be_done(how, error, last, capsys):
    asked = job()
    asked.callbacks.append(Ends(how))
    with pytest.raises(error):
        carry_out(asked, folder())
    assert lines(capsys)[-1] == last


@pytest.mark.parametrize("how", ["interrupt", "error"])
def test_without_checkpoints_there_is_nothing_to_be_done(how, capsys):
    asked = job(checkpoint_every="never")
    asked.callbacks.append(Ends(how))
    with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
        carry_out(asked, folder())
    assert not any(line.startswith("to ") for line in lines(capsys))


def test_the_plan_is_said_before_the_training(capsys):
    planned = job(lr="0.25", opt="sgd")
    planned.learn.progress = True
    say_plan(planned)
    carry_out(planned, folder())
    assert lines(capsys)[:5] == [
        "data   digits, 1,438 items to train on, 359 to validate on",
        "model  linear, 650 parameters",
        "loss   cross-entropy, label_smoothing 0.1",
        "opt    sgd, weight_decay 0.0005",
        "lr     one_cycle(0.25)",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_is_told_once_how_to_look_on(terminal, capsys, monkeypatch):
    monkeypatch.setattr(fitting, "is_terminal", lambda file: terminal)
    planned = job(epochs=1)
    planned.learn.progress = True
    carry_out(planned, folder("a b"))
    told = [line for line in lines(capsys) if "watch" in line]
    assert told == ["run    a b (from another terminal: lehr watch 'a b')"] * terminal
