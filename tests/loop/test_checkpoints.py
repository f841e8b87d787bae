"""Which checkpoint a past step is reached from."""

import pytest

from lehr.loop.checkpoints import nearest_kept
from lehr.state.disk.checkpoint_folder import CheckpointFolder


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of steps 0, 10, 20 and, after going back from 20 to 10, of 15; and a stranger."""
    with CheckpointFolder(tmp_path).open("ours") as store:
        for step, rewinds in ((0, 0), (10, 0), (20, 0), (15, 1)):
            about = {"step": step, "epoch": 0, "stage": "batch", "at_epoch": 0}
            store.save({}, {**about, "rewinds": rewinds, "onlookers": ["callbacks.log"]})
    with CheckpointFolder(tmp_path).open("theirs") as store:
        about = {"step": 3, "epoch": 0, "stage": "batch", "at_epoch": 0}
        store.save({}, {**about, "rewinds": 0, "onlookers": []})
    return tmp_path


@pytest.mark.parametrize(("step", "at"), [(0, 0), (5, 0), (10, 10), (14, 10), (15, 15), (99, 15)])
def test_it_is_the_last_one_of_this_run_that_is_not_later(folder, step, at):
    kept = nearest_kept(folder, "ours", [(20, 10)], step)
    assert (kept.step, kept.stage, kept.onlookers) == (at, "batch", ["callbacks.log"])


def test_what_the_run_went_back_from_is_no_past_of_its(folder):
    assert nearest_kept(folder, "ours", [(20, 10)], 14).step == 10
    assert nearest_kept(folder, "ours", [(20, 10), (15, 5)], 99).step == 0


def test_there_may_be_none(folder, tmp_path):
    assert nearest_kept(folder, "another", [], 99) is None
    assert nearest_kept(tmp_path / "nowhere", "ours", [], 99) is None
