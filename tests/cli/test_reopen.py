"""A training, built again from its run folder."""

import json
from pathlib import Path

import pytest
import torch

from lehr.cli.reopen import anew, reopen, require_checkpoints

QUICK = ("--model", "linear", "--epochs", "2", "--batch-size", "16", "--lr", "0.01", "--seed", "3")


@pytest.fixture
def run(made):
    made("train", "t.csv", "--target", "y", *QUICK, "--out", "run", before=table)
    return Path("run")


def table():
    Path("t.csv").write_text(
        "\n".join(["a,y", *(f"{i},{'no' if i % 2 else 'yes'}" for i in range(40))])
    )


def read(run):
    return json.loads((run / "config.json").read_text())


def test_it_is_the_training_that_it_was(run):
    config = read(run)
    job = reopen(run, config)
    kept = {name: value for name, value in config["settings"].items() if name != "data_sum"}
    settings = json.loads(json.dumps(job.settings, default=repr))
    assert {name: settings[name] for name in kept} == kept
    assert job.learn.seed == 3
    assert job.learn.epochs_done == 0  # its state is yet to be loaded


def test_settings_may_be_changed(run):
    job = reopen(run, read(run), epochs=9, checkpoint_every=None)
    assert (job.settings["epochs"], job.settings["checkpoint_every"]) == (9, "1 epoch")


def test_it_has_as_many_threads_as_it_began_with(run):
    environment = json.loads((run / "environment.json").read_text())
    for said, threads in ((2, 2), (0, 1), (10**6, 1), ("3", 1)):
        torch.set_num_threads(1)
        (run / "environment.json").write_text(json.dumps({**environment, "threads": said}))
        reopen(run, read(run))
        assert torch.get_num_threads() == threads


def test_data_that_are_gone_or_others_are_refused(run):
    table = Path("t.csv").read_text()
    Path("t.csv").write_text(table + "\n40,yes")
    with pytest.raises(
        ValueError, match=r"t\.csv has changed since run was begun: its files are o"
    ):
        reopen(run, read(run))
    config = read(run)
    del config["settings"]["data_sum"]  # a run that was begun before there were sums
    with pytest.raises(
        ValueError, match=r"it had \[32, 8\] items to train and validate on, now \["
    ):
        reopen(run, config)
    Path("t.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"the data of run are gone: there is no .*t\.csv"):
        reopen(run, read(run))
    Path("t.csv").write_text(table)
    reopen(run, read(run))


def test_another_preparation_of_the_same_data_is_told_of(run):
    config = read(run)
    config["preparation"]["target"] = "z"
    with pytest.warns(
        UserWarning, match=r"not bit for bit exact: .* when run was begun \(target\)"
    ):
        reopen(run, config)


def test_ones_own_model_is_built_only_if_it_is_named(run):
    config = read(run)
    config["settings"]["model"] = "nets.py:net"
    with pytest.raises(ValueError, match=r"run was trained with a model of your own, nets\.py:net"):
        reopen(run, config)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"settings": {"checkpoint_every": "never"}}, "it was trained without (--checkpoint-every"),
        ({"settings": {}}, "it was trained without (--checkpoint-every"),
        ({"settings": {"checkpoint_every": "1 epoch"}}, "it was stopped before its first"),
        (
            {
                "settings": {"checkpoint_every": "1 epoch"},
                "status": "failed",
                "error": "Bad\nworse",
            },
            "it failed before its first, with Bad. Instead, train anew",
        ),
    ],
)
def test_why_there_is_no_checkpoint(tmp_path, config, why):
    with pytest.raises(ValueError) as caught:
        require_checkpoints(tmp_path, config)
    assert str(caught.value).startswith(f"{tmp_path} has no checkpoints: {why}")
    (tmp_path / "checkpoints" / "step-00000000").mkdir(parents=True)
    require_checkpoints(tmp_path, config)


def test_the_command_to_train_anew_is_told_if_it_is_known():
    assert anew({}) == "train anew"
    assert anew({"command": "lehr train digits"}) == "train anew: lehr train digits"
