"""Callback: its name, and the attributes that survive a stop."""

import pytest

from lehr import Callback
from lehr.events import Layer, Phase


class Best(Callback):
    state = ("best", "epoch")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("CountSteps", "count_steps"),
        ("RecorderCallback", "recorder"),
        ("LRFinder", "lr_finder"),
        ("UseCUDA", "use_cuda"),
        ("EMA", "ema"),
        ("Adam2Sgd", "adam2_sgd"),
        ("Callback", "callback"),
        ("plain", "plain"),
    ],
)
def test_the_name_is_the_class_in_snake_case(kind, name):
    assert type(kind, (Callback,), {})().name == name


def test_what_a_callback_is_unless_it_says_otherwise():
    callback = Callback()
    assert (callback.phase, callback.layer) == (Phase.MEASURE, Layer.TRANSFORM)
    assert (callback.state, callback.regrads) == ((), False)
    assert repr(Best()) == "Best()"


def test_state_is_what_is_declared_and_set():
    callback = Best()
    assert callback.state_dict() == {}
    callback.best, callback.other = 0.5, "not declared"
    assert callback.state_dict() == {"best": 0.5}


def test_state_round_trips_and_what_was_left_out_is_unset():
    source, target = Best(), Best()
    source.best = 0.5
    target.best, target.epoch, target.other = 0.9, 3, "kept"
    assert target.state_dict() != source.state_dict()
    target.load_state_dict(source.state_dict())
    assert target.state_dict() == source.state_dict()
    assert target.other == "kept"
    assert not hasattr(target, "epoch")


def test_an_attribute_of_the_class_is_what_an_unset_one_falls_back_to():
    class Patient(Callback):
        state = ("best",)
        best = float("inf")

    callback = Patient()
    assert callback.state_dict() == {"best": float("inf")}
    callback.best = 1.0
    callback.load_state_dict({})
    assert callback.best == float("inf")


def test_a_state_that_was_never_declared_is_refused_and_nothing_changes():
    callback = Best()
    callback.best = 0.5
    match = r"Best has no state named 'bset'; it declares \('best', 'epoch'\)\. Was it saved by "
    with pytest.raises(KeyError, match=match):
        callback.load_state_dict({"best": 0.1, "bset": 0.1})
    assert callback.best == 0.5
