"""Whatever becomes of standard output, a training ends well, and what only prints says so."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ..forked import CLOSED

PROGRAM = [sys.executable, "-c", "from lehr.cli import main; main()"]
QUICK = ["train", "digits", "--model", "linear", "--epochs", "3", "--batch-size", "256"]
WHOLE = {"model.safetensors", "report.html", "evaluation.json", "history.csv", "loss.png"}
WHOLE |= {"history.jsonl", "config.json"}
posix = pytest.mark.skipif(os.name != "posix", reason="file descriptors of POSIX")
pytestmark = [posix, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def _known(nursery):
    global _nursery
    _nursery = nursery


def run(*arguments, **options):
    """In a new interpreter where that takes no torch, and so no time; forked else."""
    if arguments[0] != "schedule" and "--help" not in arguments:
        return _nursery.run(*arguments, **options)
    environment = {**os.environ, **options.pop("env", {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    if options["stdout"] == CLOSED:
        options |= {"stdout": None, "preexec_fn": lambda: os.close(1)}
    return subprocess.run([*PROGRAM, *arguments], timeout=100, env=environment, **options)


def run_full(*arguments, **options):
    with Path("/dev/full").open("wb") as full:
        return run(*arguments, stdout=full, **options)


def run_closed(*arguments):
    return run(*arguments, stdout=CLOSED)


def run_unread(*arguments):
    """As before ``| head`` that has gone already."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return run(*arguments, stdout=writer)
    finally:
        os.close(writer)


LOST = [
    pytest.param(run_full, "no space left on device", id="full"),
    pytest.param(run_closed, "it is closed", id="closed"),
    pytest.param(run_unread, "broken pipe", id="unread"),
]


@pytest.mark.parametrize(("lost", "why"), LOST)
def test_a_training_goes_on_without_its_output(tmp_path, config, lost, why):
    done = lost(*QUICK, "--out", "a")
    told = f"warning: standard output could not be written to any more: {why}. The training went "
    assert done.stderr.decode() == f"{told}on without it.\n"
    assert done.returncode == 0
    assert config("a")["status"] == "finished"
    assert {path.name for path in (tmp_path / "a").iterdir()} >= WHOLE


def test_a_training_whose_reader_has_enough_goes_on(tmp_path, config):
    process = _nursery.start(*QUICK, "--out", "a")
    for _ in range(7):
        process.stdout.readline()
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0
    assert told.count(b"\n") == 1
    assert b"broken pipe. The training went on" in told
    assert config("a")["status"] == "finished"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_training_needs_no_letters(tmp_path, config, encoding):
    done = run(*QUICK, "--out", "größe", env={"PYTHONIOENCODING": encoding})
    assert done.stderr == b""
    assert done.returncode == 0
    assert "epoch" in done.stdout.decode(encoding)
    name = "größe" if encoding == "latin-1" else "grosse"
    assert f"run folder: {name}" in done.stdout.decode(encoding)
    assert config("größe")["status"] == "finished"


PRINTS = [
    pytest.param(["train", "--help"], id="help"),
    pytest.param(["schedule", "one_cycle(0.5)"], id="schedule"),
    pytest.param(["explain", "digits", "--model", "linear"], id="explain"),
    pytest.param(
        ["find-lr", "digits", "--model", "linear", "--steps", "40", "--seed", "0"], id="find-lr"
    ),
]


@pytest.mark.parametrize("arguments", PRINTS)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_is_printed_needs_no_letters(arguments, encoding):
    done = run(*arguments, env={"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding)


@pytest.mark.parametrize("arguments", PRINTS[:-1])
@pytest.mark.parametrize(("lost", "why"), LOST)
def test_what_only_prints_says_that_it_cannot(arguments, lost, why):
    done = lost(*arguments)
    told = f"error: standard output cannot be written to: {why}. Send it somewhere else.\n"
    assert done.stderr.decode() == ("" if why == "broken pipe" else told)
    assert done.returncode == 1


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "a"
    assert run(*QUICK, "--out", str(folder)).returncode == 0
    return folder


@pytest.fixture
def trained(once):
    shutil.copytree(once, "a")


@pytest.mark.parametrize(
    "arguments", [["report", "a"], ["evaluate", "a"], ["compare", "a", "a"]], ids=lambda a: a[0]
)
def test_what_tells_of_a_run_says_that_it_cannot(trained, arguments):
    done = run_full(*arguments)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("error: standard output cannot be written to: no space")
    assert done.stderr.count(b"\n") == 1
    assert run(*arguments, env={"PYTHONIOENCODING": "ascii"}).returncode == 0  # the control


def test_errors_that_nobody_can_read_change_nothing():
    with Path("/dev/full").open("wb") as full:
        done = run("train", "nothing", stderr=full)
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_home_that_cannot_be_written_to_is_no_news(tmp_path):
    (tmp_path / "home").touch()  # a file, so that no folder can be made in it
    home = {name: str(tmp_path / "home") for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    done = run("schedule", "one_cycle(0.5)", "--out", "s.svg", env=home)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "s.svg").is_file()
    code = "import matplotlib.font_manager"
    loud = subprocess.run([sys.executable, "-c", code], env={**os.environ, **home}, stderr=-1)
    assert b"temporary" in loud.stderr  # the control: matplotlib by itself


def test_predictions_are_exact_or_an_error(trained, tmp_path):
    digits = tmp_path / "größe.png"
    Image.new("L", (8, 8)).save(digits)
    done = run("predict", "a", str(digits), env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    told = done.stderr.decode()
    assert "standard output is ASCII, which has no '\\xf6'. Write to a file instead, or set" in told
    assert run("predict", "a", str(digits), "--out", "b.csv").returncode == 0
    assert "größe" in (tmp_path / "b.csv").read_text(encoding="utf-8")
