"""How the options of commands are completed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lehr import cli
from lehr.cli import options
from lehr.cli.app import COMMANDS
from lehr.cli.options import complete_data, complete_run
from lehr.cli.recipes import OPTIMIZERS
from lehr.data.published.catalog import SOURCES
from lehr.inspect.cures import CURES
from lehr.models import MODELS
from lehr.schedules.text import schedule_names


def complete(words):
    environment = {"_LEHR_COMPLETE": "complete_bash", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    result = CliRunner().invoke(cli.app, [], prog_name="lehr", env=environment)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("lehr ", set(COMMANDS)),
        ("lehr train fash", {"fashion_mnist"}),
        ("lehr train pict", {"pictures/"}),
        ("lehr train pictures/", {"pictures/one.zip"}),
        ("lehr train digits --model c", {"cnn", "cnn_norm"}),
        ("lehr train digits --opt a", {"adam", "adamw"}),
        ("lehr find-lr digits --model r", {"resnet"}),
        ("lehr train digits --schedule w", {"warmup_cosine", "warmup_linear"}),
        ("lehr schedule w", {"warmup_cosine", "warmup_linear"}),
        ("lehr report runs/", {"runs/first"}),
        ("lehr evaluate runs/first --split t", {"test", "train"}),
    ],
)
def test_completion(words, expected):
    Path("pictures").mkdir()
    Path("pictures/one.zip").touch()
    Path("runs/first").mkdir(parents=True)
    Path("runs/first/config.json").touch()
    assert complete(words) == expected


@pytest.fixture
def files():
    Path("photos/cats").mkdir(parents=True)
    Path("photos/list.csv").touch()
    Path("data.csv").touch()
    for name in ("first", "second"):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "config.json").touch()
    Path("runs/no_run").mkdir()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("d", ["digits", "data.csv"]),
        ("ph", ["photos/"]),
        ("photos/", ["photos/cats/", "photos/list.csv"]),
        ("photos/l", ["photos/list.csv"]),
        ("./da", ["data.csv"]),
        ("nowhere/", []),
        ("xyz", []),
    ],
)
def test_data_are_completed_by_name_then_by_path(typed, offered):
    assert complete_data(typed) == offered


@pytest.mark.usefixtures("files")
def test_run_folders_are_offered_once_and_before_other_folders():
    assert complete_run("runs/") == ["runs/first", "runs/second", "runs/no_run/"]
    assert complete_run("ph") == ["photos/"]  # a file is never a run
    assert complete_run("photos/") == ["photos/cats/"]


def test_the_names_that_help_tells_are_those_that_there_are():
    assert tuple(SOURCES) == options.SOURCES
    assert tuple(MODELS) == options.MODELS
    assert tuple(OPTIMIZERS) == options.OPTIMIZERS
    assert list(options.SCHEDULES) == schedule_names()
    assert options.CURES == CURES
