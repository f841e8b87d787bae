"""What the loop cannot call is refused when it is attached."""

import re
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from lehr import Callback
from lehr.callbacks import Recorder
from lehr.events import ACTIONS, EVENTS
from lehr.loop.check import check
from lehr.testing import EventLog, tiny_learner


def watch(self, run):
    pass


def act(self, run, proceed):
    proceed()


def with_method(name, method=watch, **attributes):
    """A callback with one method."""
    return type("Mine", (Callback,), {name: method, **attributes})()


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_may_be_watched(name):
    check(with_method(name))


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_may_be_wrapped(name):
    check(with_method(name, act))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("after_backwards", "after_backward"),
        ("after_los", "after_loss"),
        ("begin_validation", "begin_validate"),
        ("befin_fit", "begin_fit"),
        ("backwards", "backward"),
        ("compute_los", "compute_loss"),
        ("zero_grads", "zero_grad"),
        ("finish_grads", "finish_grad"),
        ("one_bacth", "one_batch"),
        ("around_fits", "around_fit"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_right_one(name, meant):
    expected = (
        f"Mine.{name} would never be called: it is no event or action. Did you mean {meant}? "
        "All of them are in lehr.events."
    )
    with pytest.raises(AttributeError, match=f"^{re.escape(expected)}$"):
        check(with_method(name))


@pytest.mark.parametrize(
    "name",
    ["on_epoch_end", "on_train_begin", "on_before_zero_grad", "on_batch_end"]
    + ["before_fit", "before_batch", "before_step", "after_create", "after_cancel_fit"],
)
def test_names_of_other_libraries_are_refused(name):
    match = rf"^Mine\.{name} would never be called: it is no event or action\. (Did|Use) .*"
    with pytest.raises(AttributeError, match=match + r" All of them are in lehr\.events\.$"):
        check(with_method(name))


def test_an_inherited_misspelling_is_refused_too():
    parent = type(with_method("after_batchs"))
    with pytest.raises(AttributeError, match=r"Child\.after_batchs .* Did you mean after_batch\?"):
        check(type("Child", (parent,), {})())


@pytest.mark.parametrize("name", ["backwards", "predictt", "update_step"])
def test_a_method_that_takes_proceed_must_be_an_action(name):
    with pytest.raises(AttributeError, match=rf"Mine.{name} would never be called.* (Did|Use) "):
        check(with_method(name, act))


@pytest.mark.parametrize(
    "name",
    ["stop", "steps", "log_batch", "show_batch", "plot_batch", "save_batch", "next_batch"]
    + ["compute_lr", "compute_norm", "predicted", "predictor"],
)
def test_helpers_that_take_the_run_are_no_misspelling(name):
    check(with_method(name))


def test_an_attribute_named_like_an_action_is_refused():
    callback = Callback()
    callback.step = 0
    with pytest.raises(TypeError, match=r"Callback.step is 0, but step is the name of an action"):
        check(callback)


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_static_and_class_methods_may_listen(kind):
    function = (lambda run: None) if kind is staticmethod else (lambda cls, run: None)
    check(with_method("after_loss", kind(function)))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("before_backward", "backward"),
        ("before_batch", "begin_batch"),
        ("on_batch_end", "after_batch"),
        ("on_fit_start", "begin_fit"),
        ("on_step", "after_step"),
    ],
)
def test_names_of_other_libraries_lead_to_ours(name, meant):
    with pytest.raises(AttributeError, match=rf"Did you mean {meant}\?"):
        check(with_method(name))


@pytest.mark.parametrize(
    "name",
    ["compute", "plot", "update", "reset", "close", "summary", "save", "load", "write", "losses"]
    + ["_after_los", "_backwards", "__len__", "plot_loss", "is_better", "predictions", "lr"],
)
def test_ordinary_methods_are_no_misspelling(name):
    check(with_method(name, lambda self: 0))


def test_attributes_that_cannot_be_called_are_no_methods():
    check(with_method("after_los", 3))
    check(with_method("on_device", "cpu"))


@pytest.mark.parametrize(
    ("name", "method", "called"),
    [
        ("after_loss", lambda self: None, r"\(self\); an event is called with (self, run)"),
        ("after_loss", act, r"(self, run, proceed); an event is called with (self, run)"),
        ("backward", watch, r"(self, run); an action is called with (self, run, proceed)"),
        ("step", lambda self, run, proceed, more: None, "called with (self, run, proceed)"),
        ("around_fit", lambda self: None, "called with (self, run)"),
    ],
)
def test_a_method_that_would_be_called_wrongly_is_refused(name, method, called):
    arguments = "self, run, proceed" if name in ACTIONS else "self, run"
    with pytest.raises(TypeError) as raised:
        check(with_method(name, method))
    text = str(raised.value)
    assert text.startswith(f"Mine.{name} has the signature (self")
    assert called.replace("\\", "") in text
    assert text.endswith(f"Write def {name}({arguments}).")
    assert isinstance(raised.value.__cause__, TypeError)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("after_loss", lambda self, run, more=None: None),
        ("after_loss", lambda self, *args, **kwargs: None),
        ("backward", lambda self, run, go_on, *, twice=False: None),
        ("around_fit", contextmanager(lambda self, run: (yield))),
    ],
)
def test_a_method_that_can_be_called_may_have_any_other_form(name, method):
    check(with_method(name, method))


def generator(self, run, *proceed):
    yield


@pytest.mark.parametrize(
    ("name", "do"),
    [
        ("around_fit", "@contextlib.contextmanager above it"),
        ("after_loss", "it without yield"),
        ("step", "it without yield"),
    ],
)
def test_a_generator_of_which_no_line_would_run_is_refused(name, do):
    match = rf"^Mine\.{name} is a generator: to call it runs none of its lines\. Write {do}\.$"
    with pytest.raises(TypeError, match=match):
        check(with_method(name, generator))


def test_a_class_instead_of_an_instance_is_refused():
    match = r"^callbacks must be instances of lehr\.Callback; got <class .*EventLog'>\. Write "
    with pytest.raises(TypeError, match=match + r"EventLog\(\), or take it out\.$"):
        check(EventLog)


@pytest.mark.parametrize("thing", [None, "recorder", 3, watch])
def test_what_is_no_callback_is_refused(thing):
    match = rf"^callbacks must be .*; got {re.escape(repr(thing))}\. Inherit from it, or take it "
    with pytest.raises(TypeError, match=match):
        check(thing)


def test_the_learner_checks_what_is_attached_to_it_and_to_a_fit():
    with pytest.raises(AttributeError, match="after_los would never be called"):
        tiny_learner([with_method("after_los")])
    with pytest.raises(AttributeError, match="after_los would never be called"):
        tiny_learner().fit(1, callbacks=[with_method("after_los")])


@pytest.mark.parametrize(
    ("declared", "error", "text"),
    [
        ({"before": "Recorder"}, TypeError, r"Mine\.before must be a tuple of names; got 'Recor"),
        ({"after": (Recorder,)}, TypeError, r"Mine\.after must be a tuple of names"),
        (
            {"state": "steps"},
            TypeError,
            r"Mine\.state must be .*; got 'steps'",
        ),
        ({"moves": "batches"}, TypeError, r"Mine\.moves must be a tuple of names"),
        ({"moves": ("batch",)}, ValueError, r"Mine\.moves names 'batch'\. Did you mean batches"),
        ({"phase": "prepare"}, TypeError, r"Mine\.phase must be one of lehr\.Phase; got 'prepare'"),
        ({"layer": 9}, TypeError, r"Mine\.layer must be one of lehr\.Layer; got 9"),
        (
            {"evaluates": "yes"},
            TypeError,
            r"Mine\.evaluates must be True, .*; got 'yes'",
        ),
        ({"drives": "lr"}, TypeError, r"Mine\.drives must be a tuple of names; got 'lr'\. Write"),
        ({"drives": (3,)}, TypeError, r"Mine\.drives must be a tuple of names; got \(3,\)"),
        (
            {"freezes": ("body",)},
            TypeError,
            r"Mine\.freezes must be a dict of parts .*; got \('body',",
        ),
        ({"modules": nn.Linear(1, 1)}, TypeError, r"Mine\.modules must be a list of modules; got"),
        ({"modules": [3]}, TypeError, r"Mine\.modules must be a list of modules; got \[3\]"),
        ({"replays": "no"}, TypeError, r"Mine\.replays must be True or False; got 'no'"),
        ({"plans": "no"}, TypeError, r"Mine\.plans must be True or False; got 'no'"),
        ({"by_length": "no"}, TypeError, r"Mine\.by_length must be True or False; got 'no'"),
        ({"everywhere": None}, TypeError, r"Mine\.everywhere must be True or False; got None"),
        (
            {"checkpoint_folder": 3},
            TypeError,
            r"Mine\.checkpoint_folder must be a path or None; got",
        ),
        ({"regrads": "yes"}, TypeError, r"Mine\.regrads must be True or False; got 'yes'\. Say wh"),
        ({"regrads": None}, TypeError, r"Mine\.regrads must be True or False; got None"),
        (
            {"before": ("Mine",)},
            ValueError,
            r"Mine\.before names 'Mine', its own class: .* Take it out",
        ),
        ({"after": ["Recorder", "Mine"]}, ValueError, r"Mine\.after names 'Mine', its own class"),
        (
            {"monitors": "valid_loss"},
            TypeError,
            r"Mine\.monitors must be a tuple of names; got 'va",
        ),
        ({"batches_per_step": 0}, ValueError, r"Mine\.batches_per_step must be at least 1; got 0"),
        ({"batches_per_step": 2.5}, TypeError, r"Mine\.batches_per_step must be an int"),
    ],
)
def test_what_a_callback_says_of_itself_is_checked(declared, error, text):
    with pytest.raises(error, match=text):
        tiny_learner([with_method("after_loss", **declared)])
    fine = {"batches_per_step": None, "moves": ["batches"], "regrads": True, "before": ("Metrics",)}
    tiny_learner([with_method("after_loss", **fine)])


def test_a_scheduler_of_torchs_is_no_callback_and_the_error_says_what_to_write():
    opt = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    match = r"StepLR object .*Write TorchScheduler\(lambda opt: StepLR\(opt, …"
    with pytest.raises(TypeError, match=match):
        check(torch.optim.lr_scheduler.StepLR(opt, 1))


def test_what_was_suited_once_is_refused_where_it_is_called_otherwise():
    check(with_method("after_batch"))
    check(with_method("after_batch"))
    for _ in range(2):
        with pytest.raises(TypeError, match=r"step has the signature \(self, run\)"):
            check(with_method("step"))
