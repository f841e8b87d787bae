"""From what was asked for to a Learner."""

import shlex
from pathlib import Path

import pytest
import torch
from torch import nn

from lehr.callbacks import Device, EarlyStopping, ParamScheduler, StopOnNonFinite, Timer
from lehr.cli.job import (
    check_device,
    check_interval,
    check_schedule,
    known,
    learner,
    open_job,
    prepare,
)
from lehr.cli.recipes import RECIPES
from lehr.testing import tiny_learner


def asked(source="digits", **given):
    return prepare({"source": source, "seed": 1, **given})


def test_what_is_not_given_comes_from_the_recipe():
    settings, recipe = asked(), RECIPES["digits"]
    for name in ("model", "epochs", "batch_size", "lr", "weight_decay", "label_smoothing"):
        assert settings[name] == getattr(recipe, name)
    assert settings["command"] == "lehr train digits --seed 1"
    assert settings["checkpoint_every"] == "1 epoch"


def test_what_is_given_is_taken_and_repeated_by_the_command():
    given = {"model": "mlp", "epochs": 3, "lr": "0.25", "opt": "sgd", "weight_decay": 0.5}
    settings = asked(**given, checkpoint_every="never")
    assert {name: settings[name] for name in given} == {**given, "lr": 0.25}
    assert settings["command"] == (
        "lehr train digits --model mlp --epochs 3 --lr 0.25 --opt sgd --weight-decay 0.5 --seed 1 "
        "--checkpoint-every never"
    )


def test_a_seed_is_drawn_if_none_is_given():
    torch.manual_seed(0)
    first = prepare({"source": "digits"})["seed"]
    second = prepare({"source": "digits"})["seed"]
    assert first != second
    torch.manual_seed(0)
    assert prepare({"source": "digits"})["seed"] == first


def test_a_path_is_kept_from_its_root():
    Path("photos").mkdir()
    assert asked("photos")["data"] == str(Path("photos").resolve())
    with pytest.raises(ValueError, match="there is no data 'nowhere'"):
        asked("nowhere")


def test_without_a_known_rate_one_is_to_be_found():
    assert asked("cifar10")["lr"] == "auto"
    assert asked("cifar10", schedule="sched_cos(0.1, 0)")["lr"] is None


def test_an_optimizer_may_have_a_decay_of_its_own():
    assert asked(opt="adamw")["weight_decay"] == RECIPES["digits"].weight_decay
    assert asked(opt="adam")["weight_decay"] == 0.0
    assert asked(opt="sgd")["weight_decay"] == 5e-4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"opt": "adm"}, r"there is no optimizer 'adm'\. Did you mean adam\?"),
        ({"model": "cn"}, r"there is no model 'cn'\. Did you mean cnn\?"),
        ({"lr": "fast"}, r"lr must be a number or auto; got 'fast'\. Give e\.g\. 0\.01\."),
        ({"lr": "-1"}, r"lr must be a number above 0; got -1\.0\. Give e\.g\. --lr 0\.01\."),
        (
            {"lr": "1", "schedule": "sched_cos(1, 0)"},
            r"lr 1 has no place beside sched_cos\(1, 0\), which says all\. Give one\.",
        ),
        (
            {"weight_decay": -1.0},
            r"weight_decay must be at least 0; got -1\. Give e\.g\. 0\.05\.",
        ),
        (
            {"label_smoothing": 2.0},
            r"label_smoothing must be from 0 to 1; got 2\. Give e\.g\. 0\.05\.",
        ),
        ({"target": "y"}, r"--target is not for .*\. Leave it out; it takes .*\."),
        ({"source": "t.csv"}, r".* needs --target, the name of the column to predict\. Give it\."),
        ({"checkpoint_every": "often"}, r"checkpoint_every must be .*; got 'often'.*"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be_are_refused(given, message):
    Path("t.csv").touch()
    with pytest.raises(ValueError, match=f"^{message}$"):
        asked(**given)


def test_the_options_for_data_are_completed():
    assert asked("mnist")["data_options"] == {"normalize": True, "augment": "shift"}
    assert asked("mnist", augment="none")["data_options"]["augment"] is None
    Path("t.csv").touch()
    settings = asked("t.csv", target="y", columns="a, b")
    assert settings["data_options"] == {"target": "y", "columns": ["a", "b"]}


def test_a_job_is_a_learner_with_its_callbacks():
    job = open_job(asked(model=None, patience=3, device="cpu"))
    assert job.settings["items"] == [1438, 359]
    assert job.settings["outputs"] == 10
    kinds = [ParamScheduler, StopOnNonFinite, EarlyStopping, Timer]
    assert [type(cb) for cb in job.callbacks] == kinds
    assert job.callbacks[1].every == 1
    assert [type(cb) for cb in job.learn.callbacks] == [Device]
    assert job.learn.seed == 1
    assert "cnn_norm" in job.settings["model"]


def test_the_seed_decides_the_weights():
    def weights(seed):
        job = open_job(asked(model="linear", seed=seed))
        return torch.cat([p.flatten() for p in job.learn.model.parameters()])

    assert weights(1).equal(weights(1))
    assert not weights(1).equal(weights(2))


def test_numbers_to_predict_have_another_loss_and_no_smoothing():
    lines = ["a,y", *(f"{i},{i / 7}" for i in range(40))]
    Path("t.csv").write_text("\n".join(lines))
    job = open_job(asked("t.csv", target="y", lr="0.01"))
    assert isinstance(job.learn.loss_func, nn.MSELoss)
    assert (job.learn.metrics, job.settings["label_smoothing"]) == ([], None)
    assert job.settings["model"] == "mlp"
    with pytest.raises(ValueError, match=r"label_smoothing is for classes, but the target of .*t"):
        open_job(asked("t.csv", target="y", lr="0.01", label_smoothing=0.3))


def test_a_rate_that_is_to_be_found_is_not_looked_for_yet():
    assert open_job(asked(model="linear", lr="auto")).settings["lr"] == "auto"


def test_a_learner_has_what_the_settings_name():
    tiny = tiny_learner()
    settings = {"opt": "sgd", "lr": 0.5, "weight_decay": 0.25, "label_smoothing": 0.1}
    learn = learner({**settings, "device": None, "seed": 9}, tiny.model, tiny.data)
    assert learn.opt.defaults["lr"] == 0.5
    assert learn.opt.defaults["momentum"] == 0.9
    assert learn.opt.defaults["weight_decay"] == 0.25
    assert learn.loss_func.label_smoothing == 0.1
    settings = {**settings, "lr": "auto", "label_smoothing": None, "device": None, "seed": 9}
    learn = learner(settings, tiny.model, tiny.data)
    assert learn.opt.defaults["lr"] == 1e-3
    assert isinstance(learn.loss_func, nn.MSELoss)


@pytest.mark.parametrize(
    ("text", "lr", "message"),
    [
        ("one_cycle", 0.0, r"lr must be a number above 0; got 0\.0"),
        ("one_cycle", float("inf"), r"lr must be a number above 0; got inf"),
        ("sched_lin(0.1, -0.1)", None, r"schedule must not go below 0; .* falls to -0\.1\. Change"),
    ],
)
def test_a_schedule_that_no_training_can_follow_is_refused(text, lr, message):
    with pytest.raises(ValueError, match=message):
        check_schedule(text, lr)
    assert check_schedule("one_cycle", 0.1)(0.3) <= 0.1


def test_a_device_that_is_not_here_is_refused():
    assert check_device(None) is None
    assert check_device("cpu") == "cpu"
    with pytest.raises(ValueError, match=r"device must be one that is here; got 'cpux'\. Use --de"):
        check_device("cpux")


def test_how_often_to_save():
    assert check_interval("never") == "never"
    assert check_interval("10 minutes") == "10 minutes"
    with pytest.raises(ValueError, match=r"checkpoint_every must be .*; got '10 days'"):
        check_interval("10 days")


def test_a_known_name():
    assert known("colour", "red", {"red": 1}) == "red"
    with pytest.raises(ValueError, match=r"^there is no colour 'gren'\. Did you mean green\?$"):
        known("colour", "gren", {"green": 1, "blue": 2})


def test_the_command_that_repeats_a_training_works_from_everywhere():
    Path("t.csv").write_text("a,y\n1,2\n")
    Path("nets.py").write_text("")
    given = {"target": "y", "exclude": "a, b", "regression": False, "model": "nets.py:Net"}
    command = asked("t.csv", **given)["command"]
    assert shlex.split(command)[:3] == ["lehr", "train", str(Path("t.csv").resolve())]
    assert f"--model {Path('nets.py').resolve()}:Net" in command
    assert "--exclude 'a, b' --classification" in command
    assert "--regression" in asked("t.csv", **{**given, "regression": True})["command"]
    assert asked("t.csv", **given)["data_options"]["exclude"] == ["a", "b"]
