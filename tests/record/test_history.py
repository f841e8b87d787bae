"""The record of a run: bounded, lazy, and the same wherever it is written."""

import csv
import json
import math
import pickle
import sys

import pandas as pd
import pytest
import torch

from lehr.record.history import History
from lehr.record.means import Mean
from lehr.record.series import Tap
from lehr.state.differences import first_difference
from lehr.state.disk.plain import flatten, unflatten
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def history():
    """Two epochs with a metric that came late, and two series."""
    history = History()
    history.meta.update(seed=7, name="first")
    history.open_row(epoch=0, train_loss=0.5)
    history.open_row(epoch=1, train_loss=torch.tensor(0.25), accuracy=0.75)
    history.close_row()
    for batch in range(3):
        history.log_step("loss", torch.tensor(batch / 4), batch=batch)
    history.log_step("grad_norm", 2.0, batch=1)
    return history


def test_logging_never_reads_a_tensor_from_its_device():
    history = History()
    for batch in range(1000):
        history.log_step("loss", torch.zeros((), device="meta"), batch=batch)  # cannot be read
    history.log_row("norm", torch.zeros((), device="meta"))
    history.log_mean("mean", torch.zeros((), device="meta"), 3)
    assert history.names == ["norm", "mean", "loss"]
    for name in history.names:
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            history[name]


@pytest.mark.slow
def test_a_million_steps_stay_within_a_fixed_size():
    history, n = History(), 10**6
    for batch in range(n):
        history.log_step("loss", batch / n, batch=batch)
    series = history.series["loss"]
    assert len(series.batches) == len(series.values) <= series.capacity == 1 << 16
    assert series.batches == list(range(0, n, 16))
    assert series.values == [batch / n for batch in series.batches]
    assert len(pickle.dumps(history)) < 16 * series.capacity + 1000  # 8 bytes each for both


# Rows -------------------------------------------------------------------------------------------


def test_what_is_logged_joins_the_open_row_and_opens_one_if_there_is_none():
    history = History()
    assert history.row_is_open is False
    history.log_row("a", 1)
    history.log_row("b", 2)
    assert history.row_is_open is True
    history.close_row()
    assert history.row_is_open is False
    history.log_row("a", 3)
    history.open_row(epoch=1)
    history.log_row("b", 4)
    assert history.rows == [{"a": 1, "b": 2}, {"a": 3}, {"epoch": 1, "b": 4}]


def test_the_last_word_in_a_row_stands():
    history = History()
    history.log_row("a", None)
    history.log_row("a", 2)
    assert history.rows == [{"a": 2}]


def test_means_in_rows_weigh_their_items_and_start_anew_with_every_row():
    history = History()
    history.log_mean("valid_x", 1.0, 3)
    history.log_mean("valid_x", torch.tensor(5.0), 1)
    history.close_row()
    history.log_mean("valid_x", 7.0, 1)
    assert history["valid_x"] == [2.0, 7.0]


def test_a_mean_without_items_is_none():
    history = History()
    history.log_mean("valid_x", NAN, 0)
    assert history.rows == [{"valid_x": None}]


def test_a_mean_that_is_still_growing_is_read_when_the_row_is():
    history, mean = History(), Mean()
    history.log_row("x", mean)
    mean.add(1.0, 1)
    mean.add(2.0, 1)
    assert history.rows == [{"x": 1.5}]


def test_rows_are_read_as_copies(history):
    history.rows[0]["epoch"] = 99
    history.rows.clear()
    assert history["epoch"] == [0, 1]


# Columns ----------------------------------------------------------------------------------------


def test_a_column_has_none_where_a_row_lacks_it(history):
    assert history["accuracy"] == [None, 0.75]
    assert history["train_loss"] == [0.5, 0.25]
    assert history["loss"] == [0.0, 0.25, 0.5]
    assert history["grad_norm"] == [2.0]


def test_names_are_the_columns_of_rows_then_the_series(history):
    names = ["epoch", "train_loss", "accuracy", "loss", "grad_norm"]
    assert history.names == names == list(history)
    assert "accuracy" in history
    assert "valid_loss" not in history
    assert len(history) == 2
    assert repr(history) == f"History(2 rows; columns: {', '.join(names)})"
    assert repr(History()) == "History(0 rows; columns: none)"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("acuracy", r"Did you mean accuracy\?"),
        ("grad_norms", r"Did you mean grad_norm\?"),
        ("xyz", r"Use one of: epoch, train_loss, accuracy, loss, grad_norm\."),
    ],
)
def test_an_unknown_column_names_the_nearest_one(history, name, hint):
    with pytest.raises(KeyError, match=rf"the history has no column '{name}'\. {hint}"):
        history[name]


def test_an_unknown_column_of_an_empty_history():
    with pytest.raises(KeyError, match=r"no column 'loss'\. Nothing was recorded yet\."):
        History()["loss"]


# Written ----------------------------------------------------------------------------------------

ROWS = [
    {"epoch": 0, "train_loss": 0.5},
    {"epoch": 1, "train_loss": 0.25, "accuracy": 0.75},
]


def test_everything_as_plain_containers(history):
    assert history.to_dict() == {
        "meta": {"seed": 7, "name": "first"},
        "rows": ROWS,
        "series": {
            "loss": {"batch": [0, 1, 2], "value": [0.0, 0.25, 0.5]},
            "grad_norm": {"batch": [1], "value": [2.0]},
        },
    }


def test_json_round_trips(history, tmp_path):
    text = history.to_json(tmp_path / "history.json")
    assert json.loads(text) == history.to_dict()
    assert (tmp_path / "history.json").read_text(encoding="utf-8") == text + "\n"
    assert history.to_json() == text


def strict(text):
    """JSON as the standard has it: without NaN and Infinity."""

    def refuse(constant):
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("odd", [NAN, INF, -INF])
def test_numbers_that_json_has_no_word_for_become_null_everywhere(odd, tmp_path):
    with pytest.raises(ValueError, match=r"NaN|Infinity"):
        strict(json.dumps(odd))
    history = History()
    history.meta["deep"] = {"list": [1.5, odd], "pair": (odd, 2)}
    history.log_row("loss", torch.tensor(odd))
    history.log_step("lr", odd, batch=0)
    whole = strict(history.to_json())
    assert whole["meta"] == {"deep": {"list": [1.5, None], "pair": [None, 2]}}
    assert whole["rows"] == [{"loss": None}]
    assert whole["series"]["lr"] == {"batch": [0], "value": [None]}
    history.to_jsonl(tmp_path / "h.jsonl")
    lines = [strict(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert lines[1:] == [{"kind": "row", "loss": None}, {"kind": "step", "batch": 0, "lr": None}]
    assert history.rows[0]["loss"] is not None  # only in the file


def test_jsonl_has_the_meta_data_the_rows_and_a_line_for_every_batch(history, tmp_path):
    history.to_jsonl(tmp_path / "h.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert lines == [
        {"kind": "meta", "seed": 7, "name": "first"},
        *({"kind": "row", **row} for row in ROWS),
        {"kind": "step", "batch": 0, "loss": 0.0},
        {"kind": "step", "batch": 1, "loss": 0.25, "grad_norm": 2.0},
        {"kind": "step", "batch": 2, "loss": 0.5},
    ]


def test_jsonl_is_in_the_order_of_the_batches(tmp_path):
    history = History()
    for name, batch in [("late", 5), ("late", 7), ("early", 0), ("early", 6)]:
        history.log_step(name, 1.0, batch=batch)
    history.to_jsonl(tmp_path / "h.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert [line["batch"] for line in lines[1:]] == [0, 5, 6, 7]


def test_csv_round_trips_with_an_empty_cell_where_a_value_is_missing(history, tmp_path):
    history.to_csv(tmp_path / "h.csv")
    with (tmp_path / "h.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert rows == [
        {"epoch": "0", "train_loss": "0.5", "accuracy": ""},
        {"epoch": "1", "train_loss": "0.25", "accuracy": "0.75"},
    ]


def test_csv_quotes_what_needs_it(tmp_path):
    history = History()
    history.log_row('note, "odd"', "a,b\nc")
    history.to_csv(tmp_path / "h.csv")
    with (tmp_path / "h.csv").open(newline="") as file:
        assert [*csv.DictReader(file)] == [{'note, "odd"': "a,b\nc"}]


def test_pandas_has_the_same_table(history):
    frame = history.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["epoch", "train_loss", "accuracy"]
    assert frame["train_loss"].tolist() == [0.5, 0.25]
    assert math.isnan(frame["accuracy"][0])
    assert frame["accuracy"][1] == 0.75


def test_without_pandas_the_message_says_what_to_use(history, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    match = (
        r"^a table of pandas needs pandas, which is not installed\. Use to_csv, or install "
        r"pandas\.$"
    )
    with pytest.raises(ImportError, match=match):
        history.to_pandas()


def test_an_empty_history_can_be_written(tmp_path):
    history = History()
    assert json.loads(history.to_json()) == {"meta": {}, "rows": [], "series": {}}
    history.to_jsonl(tmp_path / "h.jsonl")
    assert (tmp_path / "h.jsonl").read_text() == '{"kind": "meta"}\n'
    history.to_csv(tmp_path / "h.csv")
    assert (tmp_path / "h.csv").read_text().strip() == ""
    assert history.to_pandas().empty


def test_a_notebook_shows_the_rows_as_a_table(history):
    assert history._repr_html_().count("<tr>") == 3
    assert "0.7500" in history._repr_html_()


def test_numpy_numbers_and_meta_are_plain_in_files():
    import numpy as np

    history = History()
    history.meta["seed"] = 1
    history.log_row("a", np.float32(1.5))
    assert json.loads(history.to_json())["rows"] == [{"a": 1.5}]
    history.to_dict()["meta"]["seed"] = 2
    assert history.meta["seed"] == 1


@pytest.mark.parametrize("name", ["kind", "batch"])
def test_names_that_the_files_use_are_reserved(name):
    history = History()
    with pytest.raises(ValueError, match=rf"'{name}' cannot be logged.*Choose another name"):
        history.log_row(name, 1)
    with pytest.raises(ValueError, match="cannot be logged"):
        history.log_step(name, 1, batch=0)


def test_reading_rows_in_the_middle_of_a_mean_changes_nothing():
    history = History()
    history.log_mean("a", 1.0, 1)
    assert history.rows == [{"a": 1.0}]
    history.log_mean("a", 3.0, 1)
    assert history.rows == [{"a": 2.0}]


# Finished rows and steps, piece by piece ----------------------------------------------------------


def test_a_row_is_finished_with_its_seconds_or_when_another_begins():
    history = History()
    assert history.finished() == []
    history.log_row("x", 1)
    assert history.finished() == []
    history.open_row(epoch=0)
    assert history.finished() == [{"x": 1}]
    history.log_row("seconds", torch.tensor(2.0))
    assert history.finished(1) == [{"epoch": 0, "seconds": 2.0}]
    history.open_row(epoch=1)
    history.close_row()
    assert history.finished(2) == [{"epoch": 1}]
    assert history.finished(3) == history.finished(99) == []


def test_steps_come_from_a_batch_on(history):
    assert history.steps() == [
        {"batch": 0, "loss": 0.0},
        {"batch": 1, "loss": 0.25, "grad_norm": 2.0},
        {"batch": 2, "loss": 0.5},
    ]
    assert history.steps(since=1) == history.steps()[1:]
    assert history.steps(since=3) == []


# State ------------------------------------------------------------------------------------------


def kept(history):
    return capture({"it": history})["it"]


def grown(seed, n):
    """A history in the middle of a row, with numbers of every kind."""
    history = History()
    history.meta.update(seed=seed, note="text")
    for batch in range(n):
        history.log_step("loss", torch.tensor(batch / 3), batch=batch)
        history.log_step("lr", batch / 7, batch=batch)
        history.log_mean("valid_x", torch.tensor(batch / 3, dtype=torch.float64), 1 + batch % 300)
        if batch % 100 == 99:
            history.log_row("seconds", 1.5)
            history.log_row("norm", torch.tensor(0.1))
            history.log_row("cut", None)
            history.close_row()
            history.open_row(epoch=batch // 100)
    return history


def grow_on(history):
    for batch in range(1000, 1400):
        history.log_step("loss", torch.tensor(batch / 3), batch=batch)
        history.log_mean("valid_x", torch.tensor(batch / 3, dtype=torch.float64), 7)
    history.log_row("late", 2)


@pytest.mark.parametrize("n", [0, 1, 99, 100, 350])
def test_a_history_goes_on_as_if_it_had_never_been_kept(n):
    first, second = grown(1, n), grown(2, 250)
    second.log_step("gone", 1.0, batch=0)
    state = kept(first)
    second.load_state_dict(state)
    assert first_difference(state, kept(second)) is None
    assert second.to_dict() == first.to_dict()
    for history in (first, second):
        grow_on(history)
    assert first_difference(kept(first), kept(second)) is None
    assert second.to_dict() == first.to_dict()
    assert second.names == first.names
    second.log_mean("valid_x", 1e-9, 7)
    assert first_difference(kept(first), kept(second)) is not None  # the control


def test_loading_keeps_the_objects_that_others_hold():
    history = grown(1, 20)
    meta, series, rows = history.meta, history.series["loss"], history._rows
    state = kept(history)
    grow_on(history)
    history.load_state_dict(state)
    assert history.meta is meta
    assert history.series["loss"] is series
    assert history._rows is rows
    assert (len(series.batches), len(history), "late" in history) == (20, 1, False)


def test_to_keep_a_history_neither_gathers_nor_changes_anything():
    history = grown(1, 150)
    history.before_read.append(lambda: pytest.fail("gathered"))
    assert first_difference(kept(history), kept(history)) is None
    untouched = grown(1, 150)
    history.before_read.clear()
    grow_on(history)
    grow_on(untouched)
    assert history["valid_x"] == untouched["valid_x"]


def test_a_state_can_be_written_without_pickle():
    import numpy as np

    history = grown(1, 120)
    history.log_row("numpy", np.float32(0.5))
    assert first_difference(unflatten(*flatten(kept(history))), kept(history)) is None


def test_taps_are_handed_every_point():
    history, tap = History(), Tap()
    history.taps.append(tap)
    history.log_step("norm", 2.0, batch=0)
    history.log_steps("loss", [0, 1], torch.tensor([0.5, 0.25]))
    assert tap.take() == history.steps()
    assert tap.take() == []


def test_readers_have_others_write_down_what_they_hold():
    history = History()
    history.before_read.append(lambda: history.log_row("x", 1))
    history.gather()
    assert history._rows == [{"x": 1}]


@pytest.mark.slow
def test_the_state_of_a_million_steps_stays_under_a_fixed_size():
    history = History()
    for start in range(0, 10**6, 250):
        batches = range(start, start + 250)
        history.log_steps("loss", batches, torch.full((250,), 0.5))
    tensors = flatten(kept(history))[1]
    assert sum(t.nbytes for t in tensors.values()) <= 16 * (1 << 16)
    assert history.series["loss"].stride == 16


@pytest.mark.parametrize("name", ["json", "jsonl", "csv"])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch, name):
    history = History()
    history.log_row("valid_loss", 0.25)
    path = tmp_path / f"history.{name}"
    write = getattr(history, f"to_{name}")
    write(path)
    before = path.read_bytes()
    assert b"0.25" in before
    history.log_row("late", 1.0)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    write(path)
    assert path.read_bytes() != before
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*gone\. Make it first"):
        write(tmp_path / "gone" / "history")


def test_a_csv_for_a_spreadsheet_has_no_formulas(tmp_path):
    history = History()
    history.open_row(epoch=0, valid_loss=-1.5, seconds=1.0)
    history.log_row("=1+1", "@SUM(A1)")
    history.to_csv(tmp_path / "safe.csv", safe=True)
    assert (tmp_path / "safe.csv").read_text().splitlines() == [
        "epoch,valid_loss,seconds,'=1+1",
        "0,-1.5,1.0,'@SUM(A1)",
    ]
    history.to_csv(tmp_path / "plain.csv")
    assert (tmp_path / "plain.csv").read_text() == (tmp_path / "safe.csv").read_text().replace(
        "'", ""
    )


def test_a_column_can_be_taken_out_of_the_current_row_only():
    history = History()
    history.log_row("a", 1)
    history.close_row()
    history.drop("a")
    assert history.rows == [{"a": 1}]
    history.open_row(a=2, b=3)
    history.drop("a")
    history.drop("nothing")
    assert history.rows == [{"a": 1}, {"b": 3}]


def test_a_table_of_pandas_has_the_rows_or_a_row_for_each_batch():
    run = tiny_learner().fit(2)
    rows = run.history.to_frame()
    assert rows["valid_loss"].tolist() == run.history["valid_loss"]
    assert rows.equals(run.history.to_pandas())
    batches = run.history.to_frame(by_batch=True)
    assert batches["loss"].tolist() == run.history["loss"]
    assert batches["batch"].tolist() == list(range(8))
    assert isinstance(batches, pd.DataFrame)
