"""What a run was asked to do, in words and numbers."""

import json

import pytest
import torch

from lehr import Callback, DataBunch
from lehr.callbacks import Checkpoint, CSVLog, EarlyStopping
from lehr.loop.rests import Rest
from lehr.loop.settings import manifest, settings
from lehr.state.disk.manifest import About
from lehr.testing import tiny_learner


class Holds(Callback):
    """Has an object without a name of its own in its description."""

    state = ()

    def __init__(self):
        self.thing = object()

    def __repr__(self):
        return f"Holds({self.thing!r})"


def test_they_tell_all_that_the_course_depends_on():
    run = tiny_learner([EarlyStopping(patience=3)], seed=7).fit(2)
    assert settings(run) == {
        "seed": 7,
        "processes": 1,
        "epochs": 2,
        "steps": None,
        "batches": 4,
        "items": 32,
        "optimizer": "SGD",
        "callbacks": ["Recorder()", repr(EarlyStopping(patience=3))],
        "data": "the Learner's",
    }
    assert settings(tiny_learner().fit(steps=3))["steps"] == 3


def test_onlookers_are_left_out_and_addresses_too(tmp_path):
    run = tiny_learner([CSVLog(tmp_path / "a.csv"), Holds()]).fit(1)
    assert settings(run)["callbacks"] == ["Recorder()", "Holds(<object object>)"]


def test_the_order_of_the_list_does_not_matter_where_the_order_is_published():
    one, two = EarlyStopping(patience=3), Holds()
    assert settings(tiny_learner([one, two]).fit(1)) == settings(tiny_learner([two, one]).fit(1))


@pytest.mark.parametrize("within", [False, True])
def test_within_an_epoch_the_size_is_that_of_its_beginning(within):
    class Grows(Callback):
        def after_epoch(self, run):
            ds = run.data.train_ds
            ds.x, ds.y = torch.randn(40, 3), torch.zeros(40, dtype=torch.int64)

    run = tiny_learner([Grows()]).fit(1)
    assert settings(run, within=within)["items"] == (32 if within else 40)
    assert settings(run, within=within)["batches"] == (4 if within else 5)


def test_what_has_no_length_has_no_size():
    data = DataBunch(lambda: iter([(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))]))
    found = settings(tiny_learner(data=data).fit(1))
    assert (found["batches"], found["items"]) == (None, None)


def test_a_manifest_tells_where_the_run_rests(tmp_path):
    learn = tiny_learner([Checkpoint(tmp_path), EarlyStopping(patience=3)])
    learn.fit(1)
    run = learn.fit(steps=3)
    said = manifest(run, Rest("batch", 0))
    assert {name: said[name] for name in ("step", "epoch", "batch", "stage", "at_epoch")} == {
        "step": 3,
        "epoch": 0,
        "batch": 2,
        "stage": "batch",
        "at_epoch": 0,
    }
    assert (said["began_at"], said["rewinds"], said["seed"]) == (4 + 3, 0, run.seed)
    assert said["onlookers"] == ["callbacks.checkpoint"]
    assert said["settings"] == settings(run, within=True)
    again = json.loads(json.dumps(said))
    About.read_among({**again, "serial": 1, "run": "a"}, "manifest.json")
    del again["stage"]
    with pytest.raises(ValueError, match="stage"):
        About.read_among({**again, "serial": 1, "run": "a"}, "manifest.json")
