from pathlib import Path

import pytest

from lehr.report import RunRecord
from lehr.report.outcome import Score, main_score, scores, shown, timing, verdict
from lehr.report.record import Points


def record(rows=(), *, batches=0, **config):
    series = {"loss": Points(list(range(batches)), [0.5] * batches)} if batches else {}
    return RunRecord(
        path=Path("x"),
        config={"status": "finished", **config},
        environment={},
        rows=list(rows),
        series=series,
        evaluation=None,
        weights=None,
    )


ROWS = [
    {"epoch": 0, "train_loss": 2.0, "valid_loss": 1.0, "size": 3, "accuracy": 0.5, "seconds": 1.0},
    {"epoch": 1, "train_loss": 1.0, "valid_loss": 0.5, "size": 4, "accuracy": 0.9, "seconds": 2.0},
    {"epoch": 2, "train_loss": 0.5, "valid_loss": 0.7, "size": 5, "accuracy": 0.8, "seconds": 3.0},
]


def test_scores():
    assert scores(record(ROWS)) == [
        Score("train_loss", 0.5, 0.5, 2),
        Score("valid_loss", 0.7, 0.5, 1),
        Score("size", 5.0, None, None),
        Score("accuracy", 0.8, 0.9, 1),
    ]
    assert scores(record([{"epoch": 0, "valid_loss": None}])) == []


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"accuracy": 1, "f1": 1, "valid_loss": 1}, "accuracy"),
        ({"size": 1, "f1": 1, "valid_loss": 1}, "f1"),
        ({"size": 1, "train_f1": 1, "clean/valid_loss": 1, "train_loss": 1}, "clean/valid_loss"),
        ({"train_loss": 1}, "train_loss"),
        ({"size": 1}, "size"),
    ],
)
def test_what_a_run_is_judged_by(row, name):
    assert main_score(record([{"epoch": 0, **row}])).name == name


def test_timing():
    rows = [*ROWS, {"epoch": 3, "seconds": 1.0}, {"epoch": 3, "seconds": 5.0}, {"epoch": 4}]
    took = timing(
        record(
            rows, batches=22, started="2024-01-01T00:00:00+00:00", ended="2024-01-01T00:01:00+00:00"
        )
    )
    assert took == (60.0, [1.0, 2.0, 3.0, 5.0], 22)
    assert took.batches_per_second == 2.0
    assert timing(record()) == (None, [], 0)
    assert timing(record()).batches_per_second is None
    mixed = record(started="2024-01-01T00:00:00", ended="2024-01-01T00:01:00+00:00")
    assert timing(mixed).wall is None


@pytest.mark.parametrize(
    ("rows", "batches", "config", "told"),
    [
        (
            ROWS,
            30,
            {},
            "Finished after 3 epochs and 6.00 s. "
            "Accuracy at the end: 80.0 % (best: 90.0 %, in epoch 1).",
        ),
        (
            ROWS[:2],
            20,
            {},
            "Finished after 2 epochs and 3.00 s. Accuracy at the end: 90.0 %, its best.",
        ),
        (ROWS[:1], 10, {}, "Finished after 1 epoch and 1.00 s. Accuracy at the end: 50.0 %."),
        (
            [*ROWS, {"epoch": 3, "accuracy": None}],
            35,
            {"status": "failed", "settings": {"epochs": 20}},
            "Failed in epoch 3 (of 20), after 35 batches and 6.00 s. "
            "Accuracy last measured: 80.0 % (best: 90.0 %, in epoch 1).",
        ),
        (
            [{"epoch": 0}],
            3,
            {"status": "running"},
            "Still running, or killed, in epoch 0, after 3 batches; no finite number was measured.",
        ),
        ([], 0, {"status": "interrupted"}, "Interrupted before anything was recorded."),
        (
            [{"valid_f1": 0.5}, {"valid_f1": 0.4}],
            3,
            {},
            "Finished after 3 batches. Valid f1 at the end: 0.4000 (best: 0.5000).",
        ),
    ],
)
def test_verdict(rows, batches, config, told):
    assert verdict(record(rows, batches=batches, **config)) == told


def test_shown():
    assert shown("clean/accuracy", 0.25) == shown("train_accuracy", 0.25) == "25.0 %"
    assert shown("accuracy", 25.0) == "25.0000"
    assert shown("accuracy", None) == "–"
