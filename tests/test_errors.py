"""The words of the messages: the nearest right name, or all of them."""

import math

import numpy as np
import pytest
import torch

from lehr.errors import (
    add_note,
    did_you_mean,
    item_weight,
    nearest,
    notes_of,
    one_line,
    positive_int,
    said,
)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("momentun", "momentum"),
        ("momentum", "momentum"),
        ("weight_deacy", "weight_decay"),
        ("x", None),
        ("", None),
    ],
)
def test_nearest_is_the_name_that_was_meant_or_nothing(name, meant):
    assert nearest(name, ["lr", "momentum", "weight_decay"]) == meant


def test_nearest_of_two_that_are_near_is_the_nearer():
    assert nearest("valid_los", ["train_loss", "valid_loss"]) == "valid_loss"
    assert nearest("train_los", ["train_loss", "valid_loss"]) == "train_loss"


def test_names_may_come_from_an_iterator_that_is_read_once():
    assert nearest("momentun", iter(["lr", "momentum"])) == "momentum"
    assert did_you_mean("momentun", iter(["lr", "momentum"])) == "Did you mean momentum?"
    assert did_you_mean("zzz", iter(["lr", "momentum"])) == "Use one of: lr, momentum."


@pytest.mark.parametrize("value", [1, 64, 10**12])
def test_a_positive_int_comes_back_as_it_is(value):
    assert positive_int("batch_size", value) is value


@pytest.mark.parametrize("value", [1.0, "64", True, None])
def test_what_is_no_int_is_refused_with_its_value(value):
    with pytest.raises(TypeError, match=rf"batch_size must be an int of at least 1; got {value!r}"):
        positive_int("batch_size", value)


@pytest.mark.parametrize("value", [0, -3])
def test_an_int_below_one_is_refused_with_its_value(value):
    match = rf"^batch_size must be at least 1; got {value}\. Give e\.g\. batch_size=64\.$"
    with pytest.raises(ValueError, match=match):
        positive_int("batch_size", value)


def test_an_error_that_takes_no_note_stays_without_and_one_that_cannot_be_shown_is_named():
    class Odd(Exception):
        __notes__ = ()

        def add_note(self, note):
            raise RuntimeError

        def __repr__(self):
            raise SystemExit

    error = Odd()
    add_note(error, "lost")
    assert error.__notes__ == ()
    assert one_line(error) == "Odd, which cannot be shown"
    add_note(plain := ValueError(1), "kept")
    assert plain.__notes__ == ["kept"]
    assert one_line(plain) == "ValueError(1)"


def test_what_an_error_says_and_its_notes_are_read_as_far_as_they_can_be():
    class Odd(Exception):
        def __str__(self):
            raise SystemExit

        @property
        def __notes__(self):
            raise SystemExit

    assert said(Odd()) == "what it says cannot be shown"
    assert notes_of(Odd()) == []
    plain = ValueError("plain")
    assert (said(plain), notes_of(plain)) == ("plain", [])
    plain.__notes__ = (1, "a note")
    assert notes_of(plain) == ["a note"]


@pytest.mark.parametrize("weight", [0, 7, 0.5, True, np.int8(3), np.float16(2048), np.array(4)])
def test_the_weight_of_a_batch_becomes_a_plain_number(weight):
    plain = item_weight(weight)
    assert plain == weight
    assert type(plain) in (int, float)
    assert item_weight(torch.as_tensor(weight)[None]) == weight


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        (None, "None"),
        ("8", "'8'"),
        (torch.ones(2), r"Tensor of shape \(2,\)"),
        (np.ones((2, 3)), r"ndarray of shape \(2, 3\)"),
        (torch.tensor(1j), r"Tensor of shape \(\)"),
    ],
)
def test_what_is_no_number_is_no_weight(weight, told):
    match = (
        rf"^run\.weight must be a number of items; got {told}\. Let the Learner's weight= return "
        r"one, e\.g\. float\(mask\.sum\(\)\)\.$"
    )
    with pytest.raises(TypeError, match=match):
        item_weight(weight)


@pytest.mark.parametrize(
    "weight",
    [
        -1,
        math.inf,
        math.nan,
        torch.tensor(-0.5),
        1e39,
        1e-46,
        -1e-320,
        pytest.param(10**400, id="a huge int"),
    ],
)
def test_a_number_that_cannot_count_items_is_no_weight(weight):
    match = (
        r"^run\.weight must be a number of items: 0, or from 1e-30 to 1e30; got .*\. "
        r"Correct the Learner's weight=, or the callback that sets run\.weight\.$"
    )
    with pytest.raises(ValueError, match=match):
        item_weight(weight)
