"""Who types a name of another library is told how the same is written here."""

import copy
import re

import pytest

import lehr
from lehr import callbacks, schedules
from lehr.base.elsewhere import OF_A_LEARNER, OF_THE_PACKAGE, missing
from lehr.testing import tiny_learner

KNOWN = {"learn": tiny_learner(), "lehr": lehr}


@pytest.mark.parametrize("name", OF_A_LEARNER)
def test_a_learner_says_what_to_write(name):
    with pytest.raises(
        AttributeError,
        match=rf"^a Learner has no {name}\. Write {re.escape(OF_A_LEARNER[name])}\.$",
    ):
        getattr(KNOWN["learn"], name)


@pytest.mark.parametrize("name", OF_THE_PACKAGE)
def test_the_package_says_what_to_write(name):
    with pytest.raises(
        AttributeError,
        match=rf"^module 'lehr' has no {name}\. Write {re.escape(OF_THE_PACKAGE[name])}\.$",
    ):
        getattr(lehr, name)


@pytest.mark.parametrize("said", [*OF_A_LEARNER.values(), *OF_THE_PACKAGE.values()])
def test_what_is_to_be_written_is_there(said):
    learn = tiny_learner()
    learn.fit(1)
    for path in re.findall(r"\b(?:learn|lehr)(?:\.[a-z_A-Z]+)+", said):
        first, *rest = path.split(".")
        thing = {"learn": learn, "lehr": lehr}[first]
        for part in rest:
            if part == "suggestion":  # of a curve, which takes a sweep
                break
            thing = getattr(thing, part)() if part == "find_lr" else getattr(thing, part)
    for name in re.findall(r"ParamScheduler|one_cycle|Freeze|Checkpoint", said):
        assert hasattr(callbacks, name) or hasattr(schedules, name)


def test_a_misspelt_name_is_guessed():
    with pytest.raises(AttributeError, match=r"a Learner has no fitt\. Did you mean fit\?"):
        KNOWN["learn"].fitt
    assert missing("it", "x", {}, ["a"]).name == "x"


def test_what_is_not_there_is_still_not_there():
    learn = KNOWN["learn"]
    assert not hasattr(learn, "lr_find")
    assert not hasattr(learn, "__array__")
    assert getattr(learn, "compile", 3) == 3
    assert type(copy.copy(learn)) is type(learn)
    with pytest.raises(AttributeError, match=r"a Learner has no _private\."):
        learn._private
