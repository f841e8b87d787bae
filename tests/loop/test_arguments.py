"""Arguments are refused with what came, what is allowed and what to do."""

import numpy as np
import pytest
import torch
from torch import nn

from lehr import Callback, accuracy
from lehr.loop.arguments import (
    as_optimizers,
    check_interval,
    check_length,
    listed,
    refuse_one_batch,
    refuse_twice,
)
from lehr.testing import tiny_learner


def test_whole_numbers_of_any_kind_are_lengths():
    assert check_length(np.int64(3), None, None)["epochs"] == 3
    assert type(check_length(np.int64(3), None, None)["epochs"]) is int
    assert check_length(0, None, None)["epochs"] == 0


@pytest.mark.parametrize(
    ("length", "text"),
    [
        ((2.0, None, None), "epochs must be an int of at least 0; got 2.0. Give e.g. epochs=3"),
        ((None, 0, None), "steps must be at least 1; got 0. Give e.g. steps=3"),
        ((True, None, None), "epochs must be an int of at least 0; got True"),
    ],
)
def test_other_lengths_are_refused(length, text):
    with pytest.raises((TypeError, ValueError), match=text):
        check_length(*length)


def test_an_interval_needs_something_to_validate_on():
    with pytest.raises(ValueError, match=r"there is nothing to validate on: data.valid_dl is None"):
        check_interval("2 steps", None)
    learn = tiny_learner()
    learn.data.valid_dl = None
    with pytest.raises(ValueError, match="validate_every is '2 steps', but there is nothing to va"):
        learn.fit(1, validate_every="2 steps")


def test_one_callback_is_no_list():
    with pytest.raises(TypeError, match=r"callbacks must be a list; got .*Write callbacks=\[...\]"):
        tiny_learner().fit(1, Callback())
    with pytest.raises(TypeError, match="callbacks must be a list"):
        tiny_learner(Callback())
    assert listed(()) == []


def test_one_metric_is_no_list():
    with pytest.raises(TypeError, match=r"metrics must be a list or a dict; got <function acc"):
        tiny_learner(metrics=accuracy)


@pytest.mark.parametrize("name", ["split_batch", "weight"])
def test_functions_must_be_functions(name):
    with pytest.raises(TypeError, match=f"{name} must be a function; got 3. Pass one, or none"):
        tiny_learner(**{name: 3})


def test_a_batch_is_no_loader():
    with pytest.raises(TypeError, match=r"looks like one batch. Pass its inputs alone"):
        refuse_one_batch((torch.zeros(2, 3), torch.zeros(2)))
    with pytest.raises(TypeError, match="looks like one batch"):
        tiny_learner().predict((torch.zeros(2, 3), torch.zeros(2)))
    refuse_one_batch([(torch.zeros(2), torch.zeros(2))])


def test_what_cannot_be_read_is_named_as_it_was_given():
    learn = tiny_learner()
    for call in (learn.validate, learn.predict):
        with pytest.raises(TypeError, match=r"^data must be an iterable of batches; got int"):
            call(5)
    with pytest.raises(ValueError, match=r"^data has no batches"):
        learn.predict([])


def test_an_optimizer_or_what_makes_one():
    model = nn.Linear(2, 1)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    assert as_optimizers(sgd, model) is sgd
    assert isinstance(as_optimizers(torch.optim.Adam, model), torch.optim.Adam)
    both = {"a": sgd}
    assert as_optimizers(both, model) is both
    with pytest.raises(TypeError, match=r"a must be an optimizer, .*; got 3"):
        as_optimizers({"a": 3}, model)


TWICE = (
    r"this Callback is attached twice, in one list, or to the Learner and to the fit: it would "
    r"be called twice each time\. Take it out of one place, or make another one\."
)


def test_a_callback_is_attached_once():
    one, other = Callback(), Callback()
    refuse_twice([one, other])
    with pytest.raises(ValueError, match=TWICE):
        refuse_twice([one, other, one])


def test_a_callback_that_is_attached_twice_is_refused_wherever_it_is():
    one = Callback()
    with pytest.raises(ValueError, match=TWICE):
        tiny_learner([one, one])
    learn = tiny_learner([one])
    for ask in (
        lambda: learn.fit(1, callbacks=[one]),
        lambda: learn.explain([one]),
        lambda: learn.validate(callbacks=[Callback(), *[one] * 2]),
        lambda: learn.check_resume([one]),
    ):
        with pytest.raises(ValueError, match=TWICE):
            ask()
    one.evaluates = True
    for ask in (learn.validate, lambda **given: learn.rehearse(2, **given)):
        with pytest.raises(ValueError, match=TWICE):
            ask(callbacks=[one])
    assert learn.steps_done == 0
    one.evaluates = False
    learn.validate(callbacks=[one])  # it would not take part by itself


EMPTY = (
    r"'0\.weight' of the model is on the device meta, where tensors have no values\. Call "
    r'model\.to_empty\(device="cpu"\) and initialise it, before the optimizer is made\.'
)


def test_a_model_without_values_is_refused():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(ValueError, match=EMPTY):
        tiny_learner(model=model)
    learn = tiny_learner()
    learn.model.to("meta")
    for ask in (lambda: learn.fit(1), learn.validate, lambda: learn.predict(torch.zeros(1, 3))):
        with pytest.raises(ValueError, match=EMPTY):
            ask()


def test_nothing_is_trained_where_new_tensors_have_no_values():
    learn = tiny_learner()
    match = (
        r"torch's default device is meta, where tensors have no values: nothing could be trained "
        r'or predicted\. Leave the with torch\.device\("meta"\) block, or call '
        r"torch\.set_default_device\(None\)\."
    )
    for ask in (lambda: learn.fit(1), learn.validate, lambda: learn.predict(torch.zeros(1, 3))):
        with torch.device("meta"), pytest.raises(ValueError, match=match):
            ask()
    learn.fit(1)


def test_an_array_is_told_to_become_a_tensor():
    words = (
        r"^predict takes inputs or a loader; got a numpy\.ndarray of shape \(4, 3\)\. Convert it: "
        r"learn\.predict\(torch\.as_tensor\(inputs\)\)\.$"
    )
    with pytest.raises(TypeError, match=words):
        refuse_one_batch(np.zeros((4, 3)))
    with pytest.raises(TypeError, match="predict takes inputs"):
        tiny_learner().predict(np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("compile", "kind", "text"),
    [
        (1.5, TypeError, 'compile must be True, False, "always" or the name of a backend'),
        ("inductr", ValueError, "names no backend of torch.compile. Did you mean inductor?"),
        ("alway", ValueError, "names no backend of torch.compile. Did you mean always?"),
        ("sometimes", ValueError, "names no backend of torch.compile. Use one of: always, cudagr"),
    ],
)
def test_compile_is_a_switch_or_a_backend(compile, kind, text):
    with pytest.raises(kind, match=text):
        tiny_learner(compile=compile)
    for given, measures in (("inductor", False), ("always", False), (True, True)):
        graphs = tiny_learner(compile=given).graphs
        assert (graphs.backend, graphs.measures) == ("inductor", measures)
