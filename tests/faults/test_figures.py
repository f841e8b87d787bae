"""Figures: one row for each part, so that one part can be run alone."""

import json

from ..programs import program
from . import figures


def file_of(folder):
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


def test_a_row_is_written_and_the_others_stay(tmp_path, monkeypatch):
    (tmp_path / "results.py").write_text(figures.RESULTS.read_text())
    monkeypatch.setattr(figures, "RESULTS", tmp_path / "results.py")
    monkeypatch.setattr(figures, "NIGHTLY", True)
    for name, deaths in (("a", 1), ("b", 2), ("gone", 3)):
        figures.keep("deaths", name, {"deaths": deaths}, ["a", "b", "c", "gone"])
    figures.keep("deaths", "a", {"deaths": 4}, ["a", "b", "c"])
    found = file_of(tmp_path / "results")
    assert {name: row["deaths"] for name, row in found["rows"].items()} == {"a": 4, "b": 2}
    assert found["options"]["rows"] == ["a", "b", "c"]


def test_a_row_keeps_its_date_when_another_is_written_later(tmp_path, monkeypatch):
    results = program(figures.RESULTS)
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    old = {"date": "2020-01-01", "rows": {"a": {"n": 1}, "b": {"n": 2, "date": "2019-01-01"}}}
    (tmp_path / f"x_{results.hardware()}_2020-01-01.json").write_text(json.dumps(old))
    (tmp_path / f"x_y_{results.hardware()}_2021-01-01.json").write_text(json.dumps(old))
    rows = results.newest_rows("x")
    assert rows == {"a": {"n": 1, "date": "2020-01-01"}, "b": {"n": 2, "date": "2019-01-01"}}
    assert results.newest_rows("nothing") == {}


def test_at_commit_nothing_is_written(tmp_path, monkeypatch):
    (tmp_path / "results.py").write_text(figures.RESULTS.read_text())
    monkeypatch.setattr(figures, "RESULTS", tmp_path / "results.py")
    monkeypatch.setattr(figures, "NIGHTLY", False)
    figures.keep("deaths", "a", {}, ["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["results.py"]
