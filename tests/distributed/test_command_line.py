"""``lehr train`` and ``lehr resume`` in two processes."""

import json
from pathlib import Path

import pytest

from . import jobs


@pytest.fixture(scope="module")
def ends(values, tmp_path_factory):
    folder = tmp_path_factory.mktemp("line")
    return values(2, "at_the_command_line", folder=str(folder)), folder / "run"


def rows(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "row"]


def test_a_run_of_two_is_gone_on_with_by_two(ends, tmp_path):
    (first, second), run = ends
    for name in ("trained", "longer"):
        assert first[name][0] == second[name][0] == 0, first[name]
        assert second[name][1] == ""
    assert "2 processes, batches of 256 = 2 × 128" in first["trained"][1]
    words = ["train", "digits", *jobs.DIGITS, "--seed", "3", "--epochs", "2"]
    assert jobs.called(*words, "--out", str(tmp_path / "run"))[0] == 0
    for one, expected in zip(rows(run), rows(tmp_path / "run"), strict=True):
        for name in ("step", "train_loss", "valid_loss", "accuracy"):
            assert one[name] == pytest.approx(expected[name], abs=1e-5)
    config = json.loads((run / "config.json").read_text())
    assert (config["status"], config["settings"]["processes"]) == ("finished", 2)


def test_a_run_that_is_complete_is_so_in_all(ends):
    (first, second), _ = ends
    assert first["again"][0] == second["again"][0] == 0
    assert "is complete: 2 epochs" in first["again"][1]
    assert second["again"][1] == ""


def test_an_error_of_the_first_process_is_named_in_all(ends):
    (first, second), run = ends
    assert first["refused"][0] == second["refused"][0] == 1
    assert f"error: the run folder must be new; {run} exists" in first["refused"][2]
    assert "rank 0 failed in lehr train: FileExistsError" in second["refused"][2]
    assert f"{run} exists" in second["refused"][2]
