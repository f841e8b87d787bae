from pathlib import Path

import pytest
import torch

from lehr import accuracy
from lehr.callbacks import EarlyStopping
from lehr.report import Evaluation, RunFolder, RunRecord
from lehr.report.outcome import Score, kept_accuracy, main_score, scores, shown, timing, verdict
from lehr.report.record import Points
from lehr.testing import tiny_learner


def record(rows=(), *, batches=0, evaluation=None, **config):
    series = {"loss": Points(list(range(batches)), [0.5] * batches)} if batches else {}
    return RunRecord(
        path=Path("x"),
        config={"status": "finished", **config},
        environment={},
        rows=list(rows),
        series=series,
        evaluation=evaluation,
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
        (
            ROWS[:2],
            8,
            {"status": "running", "settings": {"epochs": 3}},
            "Still running, or killed, in epoch 1 (of 3), after 8 batches and 3.00 s. "
            "Accuracy so far: 90.0 %, its best.",
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


def evaluated(right, wrong):
    confusion = torch.tensor([[right, wrong], [0, 0]])
    return Evaluation(loss=None, confusion=confusion, classes=("a", "b"))


@pytest.mark.parametrize(
    ("rows", "right", "told"),
    [
        (
            ROWS,
            9,
            "Accuracy at the end: 80.0 % (best: 90.0 %, in epoch 1); "
            "of the weights that were kept: 90.0 %.",
        ),
        (ROWS, 8, "Accuracy at the end: 80.0 % (best: 90.0 %, in epoch 1)."),  # the same weights
        (
            [{"epoch": 0, "valid_loss": 0.5}],
            9,
            "Valid loss at the end: 0.5000. Accuracy of the weights that were kept: 90.0 %.",
        ),
    ],
)
def test_the_verdict_tells_the_weights_that_were_kept_from_the_last_row(rows, right, told):
    assert verdict(record(rows, evaluation=evaluated(right, 10 - right))).endswith(told)


def test_no_accuracy_of_kept_weights_where_nothing_was_evaluated():
    assert kept_accuracy(record(ROWS)) is None
    assert kept_accuracy(record(ROWS, evaluation=evaluated(0, 0))) is None
    assert (
        kept_accuracy(record([{"epoch": 0, "accuracy": None}], evaluation=evaluated(1, 1))) == 0.5
    )


@pytest.mark.parametrize("restore_best", [False, True])
def test_early_stopping_that_puts_the_best_weights_back(tmp_path, restore_best):
    learn = tiny_learner(items=200, metrics=[accuracy], opt=lambda p: torch.optim.SGD(p, lr=5.0))
    stopping = EarlyStopping("accuracy", patience=3, restore_best=restore_best)
    with RunFolder.create(tmp_path / "x").keep(learn, {}):
        run = learn.fit(30, [stopping])
    assert run.stop_reason is not None
    assert run.history["accuracy"][-1] < stopping.best - 0.01
    kept = kept_accuracy(RunRecord.read(tmp_path / "x"))
    assert kept == (pytest.approx(stopping.best) if restore_best else None)
    page = (tmp_path / "x" / "report.html").read_text(encoding="utf-8")
    assert ("of the weights that were kept" in page) is restore_best
    told = f"The weights of epoch {stopping.best_epoch} were kept, the best by accuracy."
    assert (told in page) is restore_best


@pytest.mark.parametrize("kept", ["3", {"epoch": "3"}, {}])
def test_what_is_kept_is_not_believed_blindly(kept):
    assert "were kept" not in verdict(record(ROWS, kept=kept))
