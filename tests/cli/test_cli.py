"""The program as a whole: help, completion, usage errors, how it is installed."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lehr
from lehr import cli, models
from lehr.cli.app import USAGE
from lehr.cli.recipes import ARRAY, IMAGES, OPTIMIZERS, RECIPES, TABLE, recipe_for
from lehr.data.published.catalog import SOURCES

COMMANDS = sorted(
    command.name or command.callback.__name__ for command in cli.app.registered_commands
)


def test_all_commands_are_there():
    assert [
        *(
            "audit",
            "compare",
            "evaluate",
            "explain",
            "find-lr",
            "predict",
            "replay",
            "report",
            "resume",
            "schedule",
            "train",
        )
    ] == COMMANDS


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_has_an_example(succeed, command):
    text = succeed(*([] if command is None else [command]), "--help")
    assert f"Example: lehr {command or 'train'}" in " ".join(text.split())


def test_without_a_command_there_is_help(succeed):
    assert succeed() == succeed("--help")


def test_version(succeed):
    assert succeed("--version") == f"lehr {lehr.__version__}\n"


def test_the_program_is_installed_under_its_name():
    (script,) = entry_points(group="console_scripts", name="lehr")
    assert script.load() is cli.main


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], r"No such command 'trian'\..*"),
        (["train"], r"Missing argument 'DATA'\."),
        (["compare", "a"], r"Missing argument 'RUN'\."),
        (["predict", "a"], r"Missing argument 'FILES\.\.\.'\."),
        (["train", "digits", "more"], r".*unexpected extra argument.*more.*"),
        (["report", "a", "--pdf"], r"No such option:? .*--pdf.*"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_errors_are_one_line(refused, arguments, message):
    assert re.fullmatch(message, refused(*arguments, code=USAGE))


def test_debug_shows_where(call):
    result = call("train", "digits", "--lr", 0, "--debug")
    assert isinstance(result.exception, ValueError)  # typer makes the traceback of it
    assert "lr must be" in str(result.exception)


def test_recipes_name_what_exists():
    assert RECIPES.keys() == SOURCES.keys()
    for recipe in (*RECIPES.values(), IMAGES, TABLE, ARRAY):
        assert recipe.model is None or recipe.model in models.MODELS
    assert "adamw" in OPTIMIZERS
    assert recipe_for("somewhere/Archive.ZIP") is IMAGES
    assert recipe_for("t.TSV") is TABLE
    assert recipe_for("x.npz") is ARRAY
