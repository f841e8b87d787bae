from pathlib import Path

import pytest

QUICK = ("train", "digits", "--model", "linear", "--epochs", 2)


@pytest.fixture
def runs(succeed):
    succeed(*QUICK, "--seed", 0, "--out", "a")
    succeed(*QUICK, "--seed", 0, "--lr", 0.01, "--out", "b")


def test_train_ends_with_the_reports_path(succeed):
    lines = succeed(*QUICK, "--out", "a").splitlines()
    assert lines[-2:] == ["run folder: a", "report: a/report.html"]
    assert "<html" in Path("a/report.html").read_text(encoding="utf-8")


def test_report_writes_the_page_again_from_the_folder_alone(succeed, runs):
    page = Path("a/report.html")
    before = page.read_text(encoding="utf-8")
    page.unlink()
    assert succeed("report", "a") == "report: a/report.html\n"
    assert page.read_text(encoding="utf-8") == before


def test_compare_says_what_differs_and_where_they_part(succeed, runs):
    out = succeed("compare", "a", "b")
    assert "0.005" in out
    assert "0.01" in out
    assert out.splitlines()[-1] == "comparison: b/comparison.html"
    assert "<html" in Path("b/comparison.html").read_text(encoding="utf-8")
    succeed("compare", "a", "b", "--out", "c.html")
    assert Path("c.html").is_file()


def test_compare_finds_equal_runs_equal(succeed, runs):
    succeed(*QUICK, "--seed", 0, "--out", "again")
    assert "identical" in succeed("compare", "a", "again")


@pytest.mark.parametrize("command", [("report", "x"), ("compare", "a", "x"), ("compare", "x", "a")])
def test_a_folder_that_is_no_run_is_refused(succeed, refused, command):
    succeed(*QUICK, "--out", "a")
    assert refused(*command, code=1).startswith("x is no run folder: there is no such folder")
