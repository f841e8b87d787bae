import math
from pathlib import Path

import pytest
import torch

from lehr import accuracy
from lehr.report import Evaluation, RunFolder, RunRecord, compare
from lehr.report.compare import ABSENT, Agreement, Difference, agreement_words, where_they_part
from lehr.report.outcome import Score
from lehr.report.record import Points
from lehr.testing import tiny_learner


def record(name="x", *, config=None, series=None, rows=(), evaluation=None, environment=None):
    return RunRecord(
        path=Path(name),
        config=config or {},
        environment=environment or {},
        rows=list(rows),
        series={key: Points(*points) for key, points in (series or {}).items()},
        evaluation=evaluation,
        weights=None,
    )


def kept(path, epochs=2, seed=0, lr=0.1):
    def opt(parameters):
        return torch.optim.SGD(parameters, lr=lr)

    learn = tiny_learner(metrics=[accuracy], seed=seed, opt=opt)
    with RunFolder.create(path).keep(learn, {"seed": seed, "lr": lr}):
        learn.fit(epochs)
    return path


def test_settings_come_apart_by_key():
    a = {"seed": 1, "lehr": "0.1.0", "settings": {"opt": {"lr": 0.1, "wd": 0}, "x": 1}}
    b = {"seed": 2, "lehr": "0.1.0", "settings": {"opt": {"lr": 0.2, "wd": 0}}}
    b |= {"preparation": {"mean": [0.5]}, "status": "failed"}
    found = compare(record(config=a), record(config=b, environment={"torch": "2"}))
    assert found.settings == (
        Difference("opt.lr", 0.1, 0.2),
        Difference("x", 1, ABSENT),
        Difference("seed", 1, 2),
        Difference("preparation.mean", ABSENT, [0.5]),
    )
    assert found.environment == (Difference("torch", ABSENT, "2"),)


def test_nan_and_types_of_settings():
    settings = {"a": math.nan, "b": 1, "c": True}
    other = {"a": math.nan, "b": 1.0, "c": 1}
    found = compare(record(config={"settings": settings}), record(config={"settings": other}))
    assert [difference.name for difference in found.settings] == ["b", "c"]


def test_the_command_that_repeats_the_settings_is_no_difference():
    a, b = ({"settings": {"lr": lr, "command": f"lehr train x --lr {lr}"}} for lr in (1, 2))
    assert compare(record(config=a), record(config=b)).settings == (Difference("lr", 1, 2),)


def test_the_first_batch_at_which_anything_differs():
    a = record(series={"loss": ([0, 1, 2], [3.0, 2.0, 1.0]), "lr": ([0, 1, 2], [0.1, 0.1, 0.1])})
    b = record(series={"loss": ([0, 1, 2], [3.0, 2.0, 9.0]), "lr": ([0, 1, 2], [0.1, 0.2, 0.3])})
    found = compare(a, b)
    assert found.parting == (1, {"lr": (0.1, 0.2)})
    assert found.shared == 3
    assert where_they_part(found) == "They part at training batch 1: lr 0.1 against 0.2."
    smallest = record(series={"loss": ([0], [math.nextafter(3.0, 4)])})
    assert compare(a, smallest).parting.batch == 0
    assert where_they_part(compare(a, smallest)).startswith("They part from the first batch on")


def test_identical_as_far_as_both_go():
    a = record(series={"loss": ([0, 1], [math.nan, 1.0]), "only": ([0], [1.0])})
    b = record(series={"loss": ([0, 1, 2], [math.nan, 1.0, 5.0])})
    found = compare(a, b)
    assert found.parting is None
    assert (found.only_a, found.only_b) == (("only",), ())
    assert where_they_part(found) == (
        "They are identical in all 2 batches that both recorded. "
        "The first recorded 2 batches, the second 3."
    )
    nothing = compare(record(series={"lr": ([0], [1.0])}), b)
    assert where_they_part(nothing).startswith("No training batch was recorded by both.")


def test_thinned_series_meet_where_they_can():
    a = record(series={"loss": ([0, 2, 4], [1.0, 2.0, 3.0])})
    b = record(series={"loss": ([0, 1, 2, 3, 4], [1.0, 9.0, 2.0, 9.0, 4.0])})
    found = compare(a, b)
    assert (found.shared, found.parting.batch) == (3, 4)


def evaluation(predicted, truth=(0, 0, 1, 1), classes=("a", "b")):
    return Evaluation(
        loss=None,
        confusion=torch.zeros(2, 2, dtype=torch.int64),
        classes=classes,
        truth=None if truth is None else torch.tensor(truth, dtype=torch.int32),
        predicted=torch.tensor(predicted, dtype=torch.int32),
    )


def test_agreement():
    a, b = evaluation([0, 1, 1, 0]), evaluation([0, 0, 0, 0])
    assert compare(record(evaluation=a), record(evaluation=b)).agreement == (1, 1, 1, 1)
    for other in (
        None,
        evaluation([0, 0, 0, 0], truth=(1, 1, 1, 1)),
        evaluation([0, 0, 0, 0], truth=None),
        evaluation([0, 0, 0, 0], classes=("a", "c")),
        evaluation([0, 0], truth=(0, 0)),
    ):
        assert compare(record(evaluation=a), record(evaluation=other)).agreement is None


@pytest.mark.parametrize(
    ("only_a", "only_b", "chance"),
    [(0, 0, 1.0), (1, 0, 1.0), (3, 3, 1.0), (0, 5, 2 / 32), (1, 9, 22 / 1024), (9, 1, 22 / 1024)],
)
def test_the_sign_test(only_a, only_b, chance):
    found = Agreement(both=1, only_a=only_a, only_b=only_b, neither=1)
    assert found.chance == pytest.approx(chance, abs=1e-11)


def test_the_sign_test_of_many():
    assert Agreement(0, 100_000, 100_100, 0).chance == pytest.approx(0.8248, abs=1e-3)
    assert "less than 0.1 % of the time" in agreement_words(Agreement(0, 0, 100, 0))
    assert "coin" not in agreement_words(Agreement(5, 0, 0, 5))


@pytest.mark.slow
def test_two_folders(tmp_path):
    a, same = kept(tmp_path / "a"), kept(tmp_path / "same")
    found = compare(a, str(same))
    assert (found.settings, found.environment, found.parting) == ((), (), None)
    assert found.agreement.only_a == found.agreement.only_b == 0
    assert "They are identical in all 8 batches" in found.text()
    assert "settings: no difference" in found.text()

    other = compare(a, kept(tmp_path / "other", epochs=3, seed=1, lr=0.2))
    assert [difference.name for difference in other.settings] == ["seed", "lr"]
    assert other.parting.batch == 0
    assert other.parting.values["lr"] == (0.1, 0.2)
    names = [(x or y).name for x, y in other.scores]
    assert names == ["train_loss", "valid_loss", "accuracy"]
    assert len(other.times[1].epochs) == 3


def test_text():
    a = record("runs/a", config={"status": "finished", "settings": {"lr": 0.1, "x": "y" * 99}})
    rows = [{"epoch": 0, "accuracy": 0.25, "seconds": 2.0}]
    b = record("runs/b", config={"status": "failed", "settings": {"lr": None, "x": "z"}}, rows=rows)
    assert compare(a, b).text().splitlines() == [
        "a  runs/a  (finished)",
        "b  runs/b  (failed)",
        "",
        "settings that differ",
        f"      {'a':60}  b",
        f"  lr  {'0.1':60}  none",
        f"  x   {'y' * 58} …  z",
        "",
        "environment: no difference",
        "",
        "No training batch was recorded by both.",
        "",
        "            a  b       best of a  best of b",
        "  accuracy  –  25.0 %  –          25.0 %",
        "",
        "time of all epochs: – against 2.00 s",
    ]


def test_no_run_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no run folder"):
        compare(tmp_path, tmp_path)


def test_the_weights_that_were_kept_have_a_score_where_they_are_not_the_last():
    confusion = torch.tensor([[9, 1], [0, 0]])
    evaluation = Evaluation(loss=None, confusion=confusion, classes=("a", "b"))
    a = record(rows=[{"epoch": 0, "accuracy": 0.8}], evaluation=evaluation)
    b = record(rows=[{"epoch": 0, "accuracy": 0.9}], evaluation=evaluation)
    name = "accuracy, weights that were kept"
    kept = Score(name, 0.9, None, None)
    assert (kept, kept) in compare(a, b).scores
    line = next(line for line in compare(a, b).text().splitlines() if name in line)
    assert line.count("90.0 %") == 2
    assert name not in compare(b, b).text()


@pytest.mark.parametrize(
    ("changes", "other"),
    [({"data": "b.csv"}, True), ({"data_sum": "1"}, True), ({"lr": 1.0}, False), ({}, False)],
)
def test_runs_on_different_data_are_said_to_be_that(changes, other):
    settings = {"data": "a.csv", "data_sum": "0", "lr": 0.1}
    a, b = (record(config={"settings": s}) for s in (settings, {**settings, **changes}))
    found = compare(a, b)
    assert found.other_data is other
    assert ("The runs had different data" in found.text()) is other


def test_the_comparison_fits_into_a_narrow_terminal():
    a, b = (record(config={"settings": {"data": f"{c * 100}.csv", "lr": 0.1}}) for c in "ab")
    lines = compare(a, b).text(60).splitlines()
    assert any("aaa" in line and "bbb" in line for line in lines)
    assert max(len(line) for line in lines if "aaa" in line) <= 60
    assert max(map(len, compare(a, b).text().splitlines())) > 100
