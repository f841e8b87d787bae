"""docs/promises.md: made from its data, with tests that exist, and open where there are none."""

import ast
from functools import cache
from pathlib import Path

import pytest

from .programs import program

ROOT = Path(__file__).parents[1]
CODES = [*(f"G{n}" for n in range(1, 33)), *(f"D{n}" for n in range(1, 15))]
CODES += [f"S{n}" for n in range(1, 5)]


@pytest.fixture(scope="module")
def page():
    return program("docs/promises.py")


@pytest.fixture
def promises(page):
    return [promise for group in page.groups() for promise in group["promise"]]


@cache
def functions_of(name):
    tree = ast.parse((ROOT / "tests" / name).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_page_is_what_its_data_say(page):
    assert page.PAGE.read_text(encoding="utf-8") == page.render()


def test_every_promise_is_there_once(promises):
    assert sorted(promise["code"] for promise in promises) == sorted(CODES)


def test_every_named_test_exists(promises):
    named = [test for promise in promises for test in promise["tests"]]
    for test in named:
        file, _, name = test.partition("::")
        assert name in functions_of(file), test
    assert len(named) > 40
    assert "test_of_nothing" not in functions_of("test_promises.py")


def test_a_promise_without_a_test_is_said_to_be_open(page, promises):
    assert any(not promise["tests"] for promise in promises)
    for promise in promises:
        assert ("**Open:" in page.entry(promise)) is (not promise["tests"])


def test_figures_are_the_newest_and_sum_over_rows_and_a_missing_row_is_open(
    page, tmp_path, monkeypatch
):
    monkeypatch.setattr(page, "ROOT", tmp_path)
    folder = tmp_path / "bench" / "results"
    folder.mkdir(parents=True)
    for date, number in (("2026-01-02", 3), ("2026-01-10", 4)):
        text = (
            f'{{"date": "{date}", "rows": {{"a": {{"deaths": {number}}}, "b": {{"deaths": 1}}}}}}'
        )
        (folder / f"faults_x86_64-1threads_{date}.json").write_text(text)
    promise = {"code": "G5", "text": "x", "tests": ["a::b"], "figures": [["faults", "deaths"]]}
    assert "Last figure: 5 deaths; 2026-01-10." in page.entry(promise)
    (folder / "faults_x86_64-1threads_2026-01-11.json").write_text(
        '{"date": "2026-01-11", "options": {"rows": ["a", "b", "c", "d"]}, "rows": {'
        '"a": {"date": "2026-01-03", "deaths": 2}, "b": {"date": "2026-01-11", "deaths": 1}}}'
    )
    assert "Last figure: 3 deaths; 2026-01-03 to 2026-01-11." in page.entry(promise)
    assert "Still open: not tried in the large tier: c; d." in page.entry(promise)
    promise["figures"] = [["other", "deaths"]]
    assert page.entry(promise).endswith("  - No figure of the large tier is there yet.")
    del promise["figures"]
    assert "igure" not in page.entry(promise)
