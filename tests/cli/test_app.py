"""The program as a whole: help, completion, usage errors, how it is installed."""

import re
from importlib.metadata import entry_points

import pytest

import lehr
from lehr import cli
from lehr.cli.app import USAGE

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
            "export",
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
