import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lehr
from lehr import data, models
from lehr.callbacks import ParamScheduler
from lehr.cli import job
from lehr.cli.sweep import settle_lr
from lehr.inspect.find_lr import LRCurve
from lehr.report.sweep import Sweep
from lehr.schedules import constant
from tests.tier import some

QUICK = ("train", "digits", "--model", "linear", "--epochs", "1", "--batch-size", "256")
AUTO = (
    "train",
    "digits",
    "--model",
    "linear",
    "--epochs",
    "16",
    "--batch-size",
    "256",
    "--lr",
    "auto",
)
SLOW = Sweep(LRCurve([0.1, 1.0], [2.0, 1.0], 1.0), 500.0)
PROGRAM = [sys.executable, "-c", "from lehr.cli import main; main()"]
NEEDS_MNIST = pytest.mark.skipif("LEHR_DATA" not in os.environ, reason="needs the MNIST files")


def weights(path):
    return Path(path, "model.safetensors").read_bytes()


def test_train_says_what_it_does_and_keeps_it(call, config):
    result = call(*QUICK, "--seed", 3)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert lines[:6] == [
        "data   digits, 1,438 items to train on, 359 to validate on",
        "model  linear, 650 parameters",
        "loss   cross-entropy, label_smoothing 0.1",
        "opt    adamw, weight_decay 2.0",
        "lr     one_cycle(0.005)",
        "1 epoch of 6 batches, seed 3",
    ]
    assert re.fullmatch(r"epoch +train_loss +valid_loss +accuracy +time", lines[6])
    best = "the best by valid_loss; its weights are kept"
    assert re.fullmatch(rf"accuracy: 0\.\d{{4}} in epoch 0, {best}; \d+ s", lines[8])
    folder = lines[9].removeprefix("run folder: ")
    assert re.fullmatch(r"runs/digits-\d{8}-\d{6}", folder)
    assert config(folder)["status"] == "finished"
    assert config(folder)["settings"] == {
        "data": "digits",
        "model": "linear",
        "epochs": 1,
        "batch_size": 256,
        "opt": "adamw",
        "weight_decay": 2.0,
        "label_smoothing": 0.1,
        "lr": 0.005,
        "schedule": "one_cycle(0.005)",
        "seed": 3,
        "data_options": {},
        "items": [1438, 359],
        "outputs": 10,
        "patience": None,
        "device": None,
        "checkpoint_every": "1 epoch",
        "layer_stats": False,
        "command": "lehr train digits --model linear --epochs 1 --batch-size 256 --seed 3",
    }
    assert Path(folder, "lr.png").is_file()


def test_the_seed_decides_every_byte(call):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert call(*QUICK, "--seed", seed, "--out", name).exit_code == 0
    assert weights("a") == weights("b")
    assert weights("a") != weights("c")


def test_a_drawn_seed_is_kept_and_repeats_the_run(call, config):
    assert call(*QUICK, "--out", "a").exit_code == 0
    seed = config("a")["settings"]["seed"]
    assert config("a")["seed"] == seed
    assert call(*QUICK, "--out", "b", "--seed", seed).exit_code == 0
    assert weights("a") == weights("b")
    assert call(*QUICK, "--out", "c").exit_code == 0
    assert config("c")["seed"] != seed


def test_a_script_with_the_same_seed_gets_the_same_weights(call):
    assert call(*QUICK, "--schedule", "constant(0.02)", "--seed", 7, "--out", "a").exit_code == 0
    torch.set_num_threads(1)
    lehr.seed(7)
    model = models.build("linear", (1, 8, 8), 10)
    learn = lehr.Learner(
        model,
        torch.optim.AdamW(model.parameters(), weight_decay=2.0),
        torch.nn.CrossEntropyLoss(label_smoothing=0.1),
        data.digits(256),
        progress=False,
    )
    learn.fit(1, [ParamScheduler("lr", constant(0.02))])
    saved = load_file("a/model.safetensors")
    assert all(torch.equal(saved[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "schedule", "lrs"),
    [
        (("--schedule", "constant", "--lr", "0.125"), "constant(0.125)", {0.125}),
        (("--schedule", "constant(0.25)"), "constant(0.25)", {0.25}),
        (("--lr", "0.5"), "one_cycle(0.5)", None),
        (("--schedule", "warmup_cosine"), "warmup_cosine(0.005)", None),
        (
            ("--schedule", "combine_scheds([0.3, 0.7], [sched_cos(0.3, 0.6), sched_cos(0.6, 0)])"),
            "combine_scheds([0.3, 0.7], [sched_cos(0.3, 0.6), sched_cos(0.6, 0)])",
            None,
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_schedules(call, config, options, schedule, lrs):
    result = call(*QUICK, *options, "--out", "a")
    assert result.exit_code == 0, result.output
    assert config("a")["settings"]["schedule"] == schedule
    assert f"lr     {schedule} " in " ".join(result.stdout.replace("\n       ", "").split("\n"))
    history = Path("a/history.jsonl").read_text(encoding="utf-8").splitlines()
    seen = {step["lr"] for step in map(json.loads, history) if step["kind"] == "step"}
    assert seen == lrs if lrs else len(seen) > 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "digit"],
            r"there is no data 'digit'\. Did you mean digits\? Or give a path: .*",
        ),
        (["train", "faces"], r"there is no data 'faces'\. Use one of: digits, mnist, .*"),
        (["train"], r"Missing argument 'DATA'\."),
        (["trian"], r"No such command 'trian'\..*"),
        (["train", "digits", "more"], r".*unexpected extra argument.*more.*"),
        (["train", "digits", "--epoch", "1"], r"No such option:? .*--epoch.*"),
        (["train", "digits", "--model", "cn"], r"there is no model 'cn'\. Did you mean cnn\?"),
        (["train", "digits", "--model", "vit"], r"there is no model 'vit'\. Use one of: linear.*"),
        (["train", "digits", "--epochs", "0"], r"Invalid value for '--epochs': .*\b0\b.*"),
        (["train", "digits", "--epochs", "x"], r"Invalid value for '--epochs': .*'x'.*"),
        (["train", "digits", "--batch-size", "-1"], r"Invalid value for '--batch-size': .*-1.*"),
        (["train", "digits", "--seed", "1.5"], r"Invalid value for '--seed': .*'1\.5'.*"),
        (["train", "digits", "--lr", "fast"], r"--lr must be a number or auto; got 'fast'\. .*"),
        (
            ["train", "digits", "--lr", "0"],
            r"--lr must be .* above 0; got 0\.0\. Give e\.g\. --lr .*",
        ),
        (["train", "digits", "--lr", "nan"], r"--lr must be a number above 0; got nan\. .*"),
        (["train", "digits", "--lr", "inf"], r"--lr must be a number above 0; got inf\. .*"),
        (["train", "digits", "--schedule", "one_cycl"], r".*'one_cycl'\. Did you mean one_cycle\?"),
        (["train", "digits", "--schedule", ""], r"--schedule must be an expression .*"),
        (["train", "digits", "--schedule", "sched_cos"], r".*takes \(start, end\)\. Write.*"),
        (["train", "digits", "--schedule", "sched_cos(1)"], r"sched_cos: missing a required .*"),
        (["train", "digits", "--schedule", "one_cycle(0.5"], r".* '\(' was never closed\."),
        (["train", "digits", "--schedule", "__import__('os')"], r"there is no .*'__import__'.*"),
        (["train", "digits", "--schedule", "().__class__"], r".*no other code .*got '\(\)\.__.*"),
        (
            ["train", "digits", "--schedule", "constant(-1)"],
            r"--schedule must not go below 0; constant\(-1\) falls to -1\. Change it\.",
        ),
        (
            ["train", "digits", "--schedule", "constant(1)", "--lr", "2"],
            r"lr 2 has no place beside constant\(1\), which says all\. Give one\.",
        ),
    ],
    ids=lambda value: " ".join(value)[-30:] if isinstance(value, list) else "",
)
def test_usage_errors(refused, arguments, message):
    assert re.fullmatch(message, refused(*arguments))
    assert not list(Path().iterdir())  # nothing was made


def test_an_existing_folder_is_refused_before_training(refused):
    Path("taken").mkdir()
    message = refused(*QUICK, "--out", "taken")
    assert message == "taken exists, and --out must be new. Choose another name."
    assert not list(Path("taken").iterdir())


def test_a_folder_that_cannot_be_made_is_refused_before_training(call):
    Path("file").write_text("")
    result = call(*QUICK, "--out", "file/run")
    assert result.exit_code == 1
    assert "epoch" not in result.stdout
    assert result.stderr == (
        "error: the run folder file/run cannot be made: Not a directory. Choose a place that can "
        "be written to.\n"
    )


def test_mnist_without_its_files(refused, monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr("pooch.retrieve", unreachable)
    monkeypatch.setenv("LEHR_DATA", str(tmp_path))
    message = refused("train", "mnist", code=1)
    assert re.match(r"train-images\S+ of mnist cannot be had from http\S+: .*no network", message)
    assert "put the file into mnist/" in message
    assert "LEHR_DATA" in message
    assert not list(Path().iterdir())


def test_damaged_mnist_files_are_named(refused, monkeypatch, tmp_path):
    Path("mnist").mkdir()
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        Path("mnist", name).write_bytes(b"\x1f\x8bno gzip")
    monkeypatch.setenv("LEHR_DATA", str(tmp_path))
    assert re.match(
        r".+mnist/train-images-idx3-ubyte\.gz must be a whole gzip file",
        refused("train", "mnist", code=1),
    )


def test_a_loss_that_is_nan_ends_the_training_with_one_line(refused, config):
    message = refused(*QUICK, "--lr", 1e30, "--schedule", "constant", "--out", "a", code=1)
    assert re.match(r"loss is (nan|inf) at step \d+ \(epoch 0, batch \d+\)\. .* Lower lr", message)
    assert config("a")["status"] == "failed"
    assert Path("a/report.html").is_file()


def test_patience_stops_early_and_keeps_the_best(call):
    result = call(*QUICK[:4], "--epochs", 30, "--patience", 1, "--lr", 0.2, "--seed", 0)
    assert result.exit_code == 0, result.output
    assert re.search(r"stopped: .*patience", result.stdout)
    (folder,) = Path("runs").iterdir()
    kept = re.search(r"accuracy: (\S+) in epoch \d+, the best by valid_loss", result.stdout)[1]
    assert f"accuracy: {kept}" in call("evaluate", folder).stdout
    assert "29 " not in result.stdout.split("stopped")[0].splitlines()[-1]


def test_lr_auto_finds_one_and_says_so(call, config):
    result = call(*AUTO, "--seed", 1, "--out", "a")
    found = config("a")["settings"]["lr_found"]
    assert 1e-3 < found < 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("data ")  # what is going to be done is said before the sweep
    assert lines[4] == "looking for a learning rate: 32 batches"
    assert lines[5] == f"lr     one_cycle({found}) (found by a sweep)"


def test_the_sweep_is_kept_with_the_run_and_shown_in_its_report(call, config):
    assert call(*AUTO, "--seed", 1, "--out", "a").exit_code == 0
    sweep = Sweep.load("a")
    assert f"{sweep.curve.suggestion:.3g}" == f"{config('a')['settings']['lr_found']:.3g}"
    page = Path("a/report.html").read_text(encoding="utf-8")
    assert "search for a learning rate" in page
    assert call(*QUICK, "--out", "b").exit_code == 0
    assert Sweep.load("b") is None
    assert "search for a learning rate" not in Path("b/report.html").read_text(encoding="utf-8")


def test_the_time_of_the_sweep_is_counted(call, monkeypatch):
    monkeypatch.setattr("lehr.cli.sweep.settle_lr", lambda job: settle_lr(job) and SLOW)
    assert re.search(r"accuracy: .*; 5\d\d s\n", call(*AUTO, "--out", "a").stdout)
    page = Path("a/report.html").read_text(encoding="utf-8")
    assert re.search(r"search for a learning rate, before.*?8 min 20 s", page, re.S)


def test_the_best_epoch_is_what_is_kept_and_reported(call, config, succeed):
    lines = ["a,y", *(f"{i % 7},{'no' if i % 7 > 3 else 'yes'}" for i in range(70))]
    Path("t.csv").write_text("\n".join(lines))
    quick = ("--lr", 3, "--schedule", "constant", "--epochs", 6, "--seed", 1)  # far too high
    out = succeed("train", "t.csv", "--target", "y", *quick, "--out", "a")
    with Path("a/history.csv").open() as file:
        losses = [float(row["valid_loss"]) for row in csv.DictReader(file)]
    best = losses.index(min(losses))
    assert best != len(losses) - 1
    assert f" in epoch {best}, the best by valid_loss; its weights are kept; " in out
    assert config("a")["kept"] == {"epoch": best, "monitor": "valid_loss"}
    page = Path("a/report.html").read_text(encoding="utf-8")
    assert f"The weights of epoch {best} were kept, the best by valid_loss." in page
    assert f"loss: {min(losses):.4f}" in succeed("evaluate", "a")


def test_a_number_to_predict_is_told_at_the_end_too(succeed):
    Path("t.csv").write_text("\n".join(["a,y", *(f"{i},{i / 7}" for i in range(40))]))
    out = succeed("train", "t.csv", "--target", "y", "--epochs", 2, "--out", "a")
    assert re.search(r"\nvalid_loss: \d\.\d{4} in epoch [01], the best by valid_loss; its", out)


@pytest.mark.parametrize("opt", ["adamw", "adam", "nadam", "rmsprop", "sgd"])
def test_optimizers_by_name(call, config, opt):
    assert call(*QUICK, "--opt", opt, "--weight-decay", 0.01, "--out", "a").exit_code == 0
    assert config("a")["settings"]["opt"] == opt
    assert config("a")["settings"]["weight_decay"] == 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--opt", "adm"), r"there is no optimizer 'adm'\. Did you mean adam\?"),
        (("--weight-decay", -1), r"--weight-decay must be at least 0; got -1"),
        (("--label-smoothing", "nan"), r"--label-smoothing must be finite"),
        (("--lr", "auto", "--schedule", "constant(1)"), r"lr auto has no place beside"),
        (("--label-smoothing", 2), r"--label-smoothing must be from 0 to 1; got 2\."),
        (("--target", "x"), r"--target is not for digits\. Leave it out; it takes --size, --aug"),
        (("--workers", 2), r"--workers is not for digits\."),
        (
            ("--checkpoint-every", "often"),
            r"--checkpoint-every must be a whole number and a unit \(steps or epochs or minutes",
        ),
    ],
)
def test_settings_that_cannot_be(refused, options, message):
    assert re.match(message, refused("train", "digits", *options))


def test_options_that_do_not_suit_the_data(refused):
    assert re.match(r".*flop.*flip", refused("train", "digits", "--augment", "flop"))
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_here_is_refused_before_anything_is_made(refused, name):
    message = refused("train", "digits", "--device", name)
    assert re.fullmatch(
        rf"--device must be one that is here; got '{name}'\. Use --device cpu( or \w+)?\.", message
    )
    assert not list(Path().iterdir())


def test_an_error_of_the_training_is_said_and_kept(call, config, monkeypatch):
    def break_down(pred, target):
        if torch.is_grad_enabled():
            raise RuntimeError("the loss\nbroke down")
        return pred.sum()

    monkeypatch.setattr(job.nn, "CrossEntropyLoss", lambda label_smoothing: break_down)
    result = call(*QUICK, "--out", "a")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: RuntimeError: the loss broke down In compute_loss, ep")
    assert result.stderr.endswith("Add --debug to see where.\n")
    assert result.stderr.count("\n") == 1
    told = "run folder: a\nreport: a/report.html\nto see that step again: lehr replay a\n"
    assert result.stdout.endswith(told)
    assert config("a")["status"] == "failed"
    assert config("a")["error"].startswith("RuntimeError: the loss\nbroke down")


@pytest.mark.slow
def test_a_real_process(call):
    done = subprocess.run([*PROGRAM, *QUICK, "--seed", "1", "--out", "a"], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"run folder: a\nreport: a/report.html\n")
    assert call(*QUICK, "--seed", 1, "--out", "b").exit_code == 0
    assert weights("a") == weights("b")  # another process, the same bytes
    done = subprocess.run([*PROGRAM, "train", "digit"], capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: there is no data 'digit'. Did you mean digits? Or give")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (signal.SIGINT, 130, "interrupted by Ctrl-C"),
        (signal.SIGTERM, 143, "asked to end by SIGTERM"),
        (signal.SIGHUP, 129, "asked to end by SIGHUP"),
    ],
)
def test_a_signal_finishes_the_step_and_writes_the_folder(nursery, config, number, code, reason):
    arguments = ["train", "digits", "--epochs", "100000", "--out", "a"]
    process = nursery.start(*arguments)
    for line in process.stdout:
        if line.startswith(b"epoch"):
            break
    os.kill(process.pid, number)
    rest, errors = (said.decode() for said in process.communicate())
    assert process.wait() == code
    assert errors == ""
    assert f"stopped: {reason}" in rest
    assert rest.endswith("run folder: a\nreport: a/report.html\nto go on: lehr resume a\n")
    assert config("a")["status"] == "interrupted"
    assert config("a")["stop_reason"] == reason
    assert len(load_file("a/model.safetensors")) > 10
    names = {"history.jsonl", "history.csv", "loss.png", "lr.png"}
    assert names <= {file.name for file in Path("a").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", some({0}, range(3)))
def test_the_defaults_learn_digits(call, seed):
    result = call("train", "digits", "--seed", seed)
    assert float(re.search(r"accuracy: ([\d.]+) in", result.stdout)[1]) >= 0.985


@pytest.mark.slow
@NEEDS_MNIST
def test_mnist(call):
    result = call(
        *("train", "mnist", "--model", "linear", "--epochs", 1, "--batch-size", 500, "--out", "a")
    )
    assert result.exit_code == 0, result.output
    assert "mnist, 50,000 items to train on, 10,000 to validate on" in result.stdout


def test_the_kept_command_repeats_the_run(call, config):
    options = ("--schedule", "sched_lin(0.01, 0)", "--augment", "shift")
    assert call(*QUICK, *options, "--out", "a").exit_code == 0
    command = shlex.split(config("a")["settings"]["command"])
    assert command[0] == "lehr"
    assert call(*command[1:], "--out", "b").exit_code == 0
    assert weights("a") == weights("b")
    assert config("b")["settings"]["command"] == shlex.join(command)


def test_the_run_folder_is_named_after_the_data_wherever_one_stands(call, monkeypatch):
    Path("numbers").mkdir()
    Path("numbers/points.csv").write_text("a,y\n" + "1,x\n2,z\n" * 20)
    monkeypatch.chdir("numbers")
    options = ("--target", "y", "--epochs", 1, "--lr", 0.01)
    assert call("train", "./points.csv", *options).exit_code == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("points-")


@pytest.mark.slow
def test_a_reader_that_has_enough_hears_no_complaint():
    lines = [*PROGRAM, "schedule", "one_cycle", "--steps", "200000"]
    with subprocess.Popen(lines, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b"0\t")
        process.stdout.close()
        assert process.stderr.read() == b""


def test_quiet_says_what_came_of_it_and_nothing_before(succeed):
    first, *rest = succeed(*AUTO, "-q", "--out", "a").splitlines()
    assert first.startswith("accuracy: ")
    assert rest == ["run folder: a", "report: a/report.html"]
