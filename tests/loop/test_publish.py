"""Where a published number goes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lehr.loop.publish import publish
from lehr.record.history import History
from lehr.types import RECORDED


def run(**fields):
    """A run in the third batch of an epoch that began at batch 8."""
    usual = {"replaying": False, "in_batch": True, "training": True, "loop": object()}
    usual |= {"epoch_start": 8, "batch_index": 2, "valid_name": "", "weight": 4.0}
    usual |= {"scopes": SimpleNamespace(depth=2), "epoch": 3, "n_steps": 9}
    return SimpleNamespace(history=History(), plan=None, **{**usual, **fields})


def test_in_a_training_batch_it_is_a_number_of_that_batch():
    it = run()
    publish(it, "grad_norm", 0.5)
    assert list(it.history.steps()) == [{"batch": 10, "grad_norm": 0.5}]
    assert it.history.rows == []


def test_in_a_validation_batch_it_is_averaged_by_weight():
    it = run(training=False)
    publish(it, "seen", torch.tensor(1.0))
    it.weight = 12.0
    publish(it, "seen", 5.0)
    publish(it, "seen", np.float32(5.0))
    it.valid_name = "other"
    publish(it, "seen", 7.0)
    assert not list(it.history.steps())
    assert it.history.rows[-1]["valid_seen"] == (1.0 * 4 + 5.0 * 12 + 5.0 * 12) / 28
    assert it.history.rows[-1]["other/valid_seen"] == 7.0


def test_before_the_weight_of_a_validation_batch_is_known_it_is_counted():
    it = run(training=False, weight=None)
    it.plan = SimpleNamespace(weight=lambda run: 3)
    publish(it, "seen", 1.0)
    it.weight = 1
    publish(it, "seen", 5.0)
    assert it.history.rows[-1]["valid_seen"] == 2.0


def test_elsewhere_it_goes_into_the_row():
    it = run(in_batch=False)
    publish(it, "note", 3)
    assert it.history.rows[-1]["note"] == 3


def test_while_a_gradient_is_computed_again_nothing_is_counted():
    it = run(replaying=True)
    publish(it, "grad_norm", 0.5)
    assert not list(it.history.steps())


@pytest.mark.parametrize("name", RECORDED)
def test_the_names_of_the_recorder_are_its_own(name):
    match = rf"^run\.log cannot write '{name}': the recorder does\. Choose another name\.$"
    with pytest.raises(ValueError, match=match):
        publish(run(), name, 0.5)


@pytest.mark.parametrize("value", [torch.zeros(2), "0.5", None, [1.0], 1j])
def test_what_is_not_one_number_is_refused(value):
    with pytest.raises(TypeError, match=r"^run\.log\('it', …\) takes one number; got .*\. Reduce"):
        publish(run(), "it", value)


def test_a_run_that_is_not_under_way_has_no_row():
    with pytest.raises(RuntimeError, match=r"^run\.log\('it', …\) was called when the run was not"):
        publish(run(in_batch=False, loop=None), "it", 0.5)


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [(3, TypeError, r"name must be a text; got 3"), ("", ValueError, r"name must not be empty")],
)
def test_a_number_needs_a_name_in_words(name, kind, text):
    it = run()
    with pytest.raises(kind, match=text):
        publish(it, name, 0.5)
    assert not list(it.history.steps())


def test_a_row_of_an_epoch_says_of_which_and_one_outside_of_them_has_none():
    it = run(in_batch=False)
    publish(it, "seen", 0.5)
    publish(it, "again", 0.25)
    assert it.history.rows == [{"epoch": 3, "step": 9, "seen": 0.5, "again": 0.25}]
    it = run(in_batch=False, scopes=SimpleNamespace(depth=1))
    publish(it, "seen", 0.5)
    assert it.history.rows == [{"seen": 0.5}]
