import json
import re
from pathlib import Path

import pytest

from lehr import cli

QUICK = ("train", "digits", "--model", "linear", "--epochs", 2)


@pytest.fixture
def runs(made):
    made(*QUICK, "--seed", 0, "--out", "a")
    made(*QUICK, "--seed", 0, "--lr", 0.01, "--out", "b")


def test_train_ends_with_the_reports_path(succeed):
    lines = succeed(*QUICK, "--out", "a").splitlines()
    assert lines[-2:] == ["run folder: a", "report: a/report.html"]
    assert "<html" in Path("a/report.html").read_text(encoding="utf-8")


def test_report_writes_the_page_again_from_the_folder_alone(succeed, pictures_drawn):
    succeed(*QUICK, "--seed", 0, "--out", "a")
    page = Path("a/report.html")
    before = page.read_text(encoding="utf-8")
    page.unlink()
    assert succeed("report", "a") == "report: a/report.html\n"
    assert page.read_text(encoding="utf-8") == before


def test_compare_says_what_differs_and_where_they_part(succeed, refused, runs):
    out = succeed("compare", "a", "b")
    assert "0.005" in out
    assert "0.01" in out
    assert out.splitlines()[-1] == "comparison: b/comparison.html"
    assert "<html" in Path("b/comparison.html").read_text(encoding="utf-8")
    Path("c.html").write_text("mine")
    assert "c.html exists" in refused("compare", "a", "b", "--out", "c.html")
    assert Path("c.html").read_text() == "mine"
    succeed("compare", "a", "b", "--out", "c.html", "--overwrite")
    assert Path("c.html").is_file()


def test_compare_finds_equal_runs_equal(succeed, runs):
    succeed(*QUICK, "--seed", 0, "--out", "again")
    assert "identical" in succeed("compare", "a", "again")


@pytest.mark.parametrize("command", [("report", "x"), ("compare", "a", "x"), ("compare", "x", "a")])
def test_a_folder_that_is_no_run_is_refused(made, refused, command):
    made(*QUICK, "--seed", 0, "--out", "a")
    assert refused(*command, code=1).startswith("x is no run folder: there is no such folder")


def test_what_a_file_says_is_not_obeyed_by_the_terminal(succeed, call, runs, config):
    content = config("a")
    content["settings"] |= {"note\x1b[2J": "clear\x1b[31m\nb  fake  (finished)", "data": "x\x9b0m"}
    content["status"] = "fin\x07"
    Path("a/config.json").write_text(json.dumps(content))
    with Path("a/history.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "row", "epoch": 2, "acc\x1b]0;t\x07": 1.0}) + "\n")
    out = succeed("compare", "a", "b")
    assert not set("\x1b\x07\x9b\r") & set(out)
    assert r"note\x1b[2J" in out
    assert r"clear\x1b[31m\nb  fake" in out
    content["settings"]["epochs"] = "\x1b[2J"
    Path("a/config.json").write_text(json.dumps(content))
    result = call("evaluate", "a")
    assert result.exit_code == 1
    assert "\x1b" not in result.output
    assert r"\x1b[2J" in result.stderr


def test_every_command_prints_through_one_function():
    for path in Path(cli.__file__).parent.glob("*.py"):
        assert ("typer.echo(" in path.read_text(encoding="utf-8")) == (path.name == "app.py")
        assert not re.search(r"(?<!>>> )\bprint\(", path.read_text(encoding="utf-8"))
