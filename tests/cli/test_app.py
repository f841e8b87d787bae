"""The program as a whole: help, completion, usage errors, how it is installed."""

import re
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import lehr
from lehr import cli
from lehr.cli.app import COMMANDS, USAGE, _imported, say


def test_all_commands_are_there():
    assert next(iter(COMMANDS)) == "train"  # what is used first is listed first
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
            "watch",
        )
    ] == sorted(COMMANDS)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_has_an_example(succeed, command):
    text = succeed(*([] if command is None else [command]), "--help")
    assert f"Example: lehr {command or 'train'}" in " ".join(text.split())


def test_without_a_command_there_is_help(succeed):
    assert succeed() == succeed("--help")


@pytest.mark.parametrize("command", [[], ["train"]])
def test_help_has_a_short_name(succeed, command):
    assert succeed(*command, "-h") == succeed(*command, "--help")


def test_the_list_tells_what_a_command_is_in_words_of_its_own_help(succeed):
    listed = succeed("--help")
    for name, command in COMMANDS.items():
        assert re.search(rf" {name} +{command.does.split()[0]} ", listed)
        assert command.does.split()[0] in _imported(name).help.split()


@pytest.mark.parametrize("command", ["train", "find-lr", "explain"])
def test_help_says_where_published_sets_are_looked_for(succeed, command):
    assert "LEHR_DATA" in succeed(command, "--help")


AT_ONCE = """
import sys
from lehr.cli.app import COMMANDS, _imported, app
for name in COMMANDS:
    _imported(name)
for words in (["--version"], ["--help"], ["train", "--help"]):
    sys.argv[1:] = words
    try:
        app()
    except SystemExit:
        pass
print("torch" in sys.modules)
"""


def test_help_and_completion_load_no_torch():
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("\nFalse\n")
    assert "Usage" in done.stdout


def test_help_names_every_option_in_a_narrow_terminal(succeed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = succeed("train", "--help")
    for words in ("--regression / --classification", "--checkpoint-every", "path/to/file.py:Name"):
        assert words in said
    assert "…" not in said.replace("cuda:1, mps …", "")
    assert max(map(len, said.splitlines())) <= 80


def test_version(succeed):
    assert succeed("--version") == f"lehr {lehr.__version__}\n"


def test_the_program_is_installed_under_its_name():
    (script,) = entry_points(group="console_scripts", name="lehr")
    assert script.load() is cli.main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], r"No such command 'trian'\. Did you mean train\?"),
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


@pytest.mark.parametrize("width", [60, 200])
def test_a_long_line_is_broken_between_words_in_a_terminal(width, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["lehr.cli.app"], "is_terminal", lambda file: True)
    monkeypatch.setenv("COLUMNS", str(width))
    text = " ".join(["wörter"] * 20) + "\nrun"
    say(f"/a/path/{text}")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines[-1]) == 3
    assert max(map(len, lines)) <= width
    assert " ".join(" ".join(lines).split()) == f"/a/path/{' '.join(text.split())}"
    assert (len(lines) == 2) is (width == 200)


@pytest.mark.parametrize(
    ("line", "second"),
    [
        ("  begin_fit   Progress, Recorder", " " * 14 + "Recorder"),  # where its column begins
        ("    - an item of several words", " " * 8 + "words"),
        ("a  b  several columns are no list", "    list"),
        ("a name of nearly a line  its value", "    value"),
    ],
)
def test_the_rest_of_a_broken_line_is_indented(line, second, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["lehr.cli.app"], "is_terminal", lambda file: True)
    monkeypatch.setenv("COLUMNS", "28")
    say(line)
    assert capsys.readouterr().out.splitlines()[1:] == [second]


def test_a_line_in_a_file_is_never_broken(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    say("word " * 20)
    assert capsys.readouterr().out.count("\n") == 1
