import json
import math
import os
from pathlib import Path

import pytest

from lehr import accuracy
from lehr.report import RunFolder, RunRecord
from lehr.testing import tiny_learner


def kept(path, settings=None, epochs=2):
    learn = tiny_learner(metrics=[accuracy])
    folder = RunFolder.create(path)
    with folder.keep(learn, settings or {}):
        run = learn.fit(epochs)
    return learn, run


def test_what_was_written_is_read(tmp_path):
    learn, run = kept(tmp_path / "x", {"data": "digits", "model": "cnn"})
    record = RunRecord.read(tmp_path / "x")
    assert record.rows == run.history.rows
    assert record.series.keys() == {"loss", "lr"}
    assert record.series["loss"].values == run.history["loss"]
    assert record.series["loss"].batches == list(range(8))
    assert record.column("valid_loss") == run.history["valid_loss"]
    assert record.evaluation.accuracy == run.history["accuracy"][-1]
    assert record.weights == tmp_path / "x" / "model.safetensors"
    assert record.environment["cpu_count"] >= 1
    assert (record.status, record.title, record.name) == ("finished", "digits · cnn", "x")
    assert (record.metrics, record.batches) == (["accuracy"], 8)
    assert learn.seed == record.config["seed"]


def test_a_run_that_only_began(tmp_path):
    (tmp_path / "config.json").write_text('{"status": "running", "settings": 3}')
    record = RunRecord.read(tmp_path)
    assert (record.rows, record.series, record.environment, record.settings) == ([], {}, {}, {})
    assert (record.evaluation, record.weights, record.batches, record.metrics) == (
        None,
        None,
        0,
        [],
    )
    assert record.title == tmp_path.name
    assert record.column("valid_loss") == []


def test_null_is_nan_in_a_series_and_none_in_a_row(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    lines = [
        {"kind": "meta", "seed": 0},
        {"kind": "row", "epoch": 0, "valid_loss": None, "size": "big", "ok": True, "a/f1": 0.5},
        {"kind": "step", "batch": 0, "loss": None},
        {"kind": "step", "batch": 4, "loss": 2, "lr": 0.1},
        {"kind": "something new"},
    ]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = RunRecord.read(tmp_path)
    assert record.status == "unknown"
    assert record.column("valid_loss") == record.column("size") == record.column("ok") == [None]
    assert math.isnan(record.series["loss"].values[0])
    assert record.series["loss"].values[1] == 2.0
    assert record.series["lr"] == ([4], [0.1])
    assert (record.batches, record.metrics) == (5, ["a/f1"])


def test_the_last_line_of_a_run_that_goes_on_may_be_half_written(tmp_path):
    (tmp_path / "config.json").write_text('{"status": "running"}')
    log = tmp_path / "history.jsonl"
    log.write_text('{"kind": "row", "epoch": 0}\n{"kind": "row", "epo')
    assert RunRecord.read(tmp_path).rows == [{"epoch": 0}]
    log.write_text('{"ki\n{"kind": "row", "epoch": 0}\n')  # the control: any other line
    with pytest.warns(UserWarning, match="1 line of the history left out: .*line 1, is damaged"):
        assert RunRecord.read(tmp_path).rows == [{"epoch": 0}]


def test_titles_of_paths(tmp_path):
    config = {"settings": {"data": "some/where/train.zip", "model": "", "epochs": 3}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert RunRecord.read(tmp_path).title == "train.zip"


def test_no_run_folder(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"is no run folder: it has no config\.json\. Give a folder that lehr train made\.",
    ):
        RunRecord.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere is no run folder: there is no such"):
        RunRecord.read(tmp_path / "nowhere")


def test_a_number_beyond_all_reason_is_none(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    history = tmp_path / "history.jsonl"
    lines = [f'{{"kind": "row", "epoch": 0, "loss": {n}}}\n' for n in ("1.7e308", "-2")]
    history.write_text("".join(lines))
    assert RunRecord.read(tmp_path).column("loss") == [None, -2]
    for number, told in (("1e400", "holds 1e400"), ("1" * 10_000, "a number of 10000 digits")):
        history.write_text(f'{lines[0]}{{"kind": "row", "epoch": 0, "loss": {number}}}\n')
        with pytest.warns(UserWarning, match=rf"history\.jsonl, line 2, is damaged: .* {told}"):
            assert RunRecord.read(tmp_path).column("loss") == [None]


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "name", ["config.json", "environment.json", "history.jsonl", "evaluation.json"]
)
def test_a_pipe_is_not_waited_for(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    text = f"{name} must be a plain file; it is a named pipe"
    if name == "config.json":
        with pytest.raises(ValueError, match=text):
            RunRecord.read(tmp_path)
    else:
        with pytest.warns(UserWarning, match=f"is left out: .*{text}"):
            RunRecord.read(tmp_path)


def test_files_have_a_largest_size(tmp_path, monkeypatch):
    kept(tmp_path / "x", epochs=1)
    monkeypatch.setattr("lehr.report.record._LARGEST", 10)
    with pytest.raises(ValueError, match=r"config\.json is damaged: it holds more than 10 bytes"):
        RunRecord.read(tmp_path / "x")
    monkeypatch.undo()
    monkeypatch.setattr("lehr.report.evaluation._LARGEST", 10)
    with pytest.warns(UserWarning, match=r"evaluation\.json cannot be read: it holds more than 10"):
        assert RunRecord.read(tmp_path / "x").evaluation is None


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("config.json", "{", r"config\.json is damaged: .*Restore the file, or train again"),
        ("config.json", "[]", r"config\.json is damaged: it must hold a JSON object"),
        ("environment.json", "3", r"environment\.json is damaged"),
        ("history.jsonl", '{"kind": "meta"}\n{"kin', r"history\.jsonl, line 2, is damaged"),
        (
            "history.jsonl",
            "[1]",
            r"history\.jsonl, line 1, is damaged: it is no part of a history\. Rest",
        ),
        (
            "history.jsonl",
            '{"kind": "step"}',
            r"line 1, is damaged: batch must be a whole number .*; got None",
        ),
        (
            "history.jsonl",
            '{"kind": "step", "batch": -1}',
            r"batch must be a whole number .*; got -1",
        ),
        (
            "history.jsonl",
            '{"kind": "step", "batch": 0, "loss": "x"}',
            "'loss' must be .*; got 'x'",
        ),
        ("history.jsonl", '{"kind": "row", "seconds": []}', r"damaged: seconds must .*; got \[\]"),
        ("history.jsonl", '{"kind": "row", "epoch": NaN}', r"line 1, is damaged: .* holds NaN"),
        (
            "config.json",
            "[" * 100_000,
            r"config\.json is damaged: its JSON text is nested too deep",
        ),
        (
            "config.json",
            '{"seed": 1, "seed": 2}',
            r"config\.json is damaged: .* names 'seed' twice",
        ),
        ("evaluation.json", "{", r"evaluation\.json cannot be read: it is no JSON"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, told):
    kept(tmp_path / "x", epochs=1)
    (tmp_path / "x" / name).write_text(content)
    if name == "config.json":
        with pytest.raises(ValueError, match=told):
            RunRecord.read(tmp_path / "x")
    else:
        with pytest.warns(UserWarning, match=rf"left out: .*{told}") as caught:
            record = RunRecord.read(tmp_path / "x")
        assert len(caught) == 1
        assert record.status == "finished"
        assert record.weights is not None
        assert (record.evaluation is None) == (name == "evaluation.json")
        assert (record.environment == {}) == (name == "environment.json")


@pytest.mark.parametrize("name", ["evaluation.json", "environment.json", "history.jsonl"])
def test_what_may_not_be_read_is_left_out(tmp_path, monkeypatch, name):
    kept(tmp_path / "x", epochs=1)
    real = os.open

    def refuse(path, *args, **kwargs):
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.warns(UserWarning, match=rf"is left out: .*denied.*{name}"):
        assert RunRecord.read(tmp_path / "x").weights is not None
