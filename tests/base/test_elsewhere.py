"""Who types a name of another library is told how the same is written here."""

import copy
import inspect
import re
import subprocess
import sys

import pytest
import torch

import lehr
from lehr import callbacks, distributed, schedules
from lehr.base.elsewhere import (
    OF_A_FIT,
    OF_A_LEARNER,
    OF_MAKING_A_LEARNER,
    OF_THE_CALLBACKS,
    OF_THE_PACKAGE,
    missing,
    refusing_others,
)
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


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [("lehr", *item) for item in OF_THE_PACKAGE.items()]
    + [("lehr.callbacks", *item) for item in OF_THE_CALLBACKS.items()],
)
def test_an_import_says_what_to_write(module, name, said):
    with pytest.raises(
        ImportError, match=rf"^module '{module}' has no {name}\. Write {re.escape(said)}\.$"
    ):
        exec(f"from {module} import {name}")


@pytest.mark.parametrize("name", OF_MAKING_A_LEARNER)
def test_a_learner_says_which_argument_is_meant(name):
    said = re.escape(OF_MAKING_A_LEARNER[name])
    with pytest.raises(TypeError, match=rf"^Learner has no argument {name}\. Write {said}\.$"):
        lehr.Learner(torch.nn.Linear(1, 1), **{name: 3})


@pytest.mark.parametrize("name", OF_A_FIT)
def test_a_fit_says_which_argument_is_meant(name):
    said = re.escape(OF_A_FIT[name])
    learn = tiny_learner()
    with pytest.raises(TypeError, match=rf"^Learner\.fit has no argument {name}\. Write {said}\.$"):
        learn.fit(**{name: 3})
    assert learn.run is None


TOLD = [OF_A_LEARNER, OF_THE_PACKAGE, OF_THE_CALLBACKS, OF_MAKING_A_LEARNER, OF_A_FIT]
PLACES = (callbacks, lehr, distributed, torch.nn, torch.optim, torch.utils.data)


@pytest.mark.parametrize("said", sorted({said for table in TOLD for said in table.values()}))
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
    for name in re.findall(r"(?<![.\w])[A-Z]\w+(?=\()|ParamScheduler|Freeze", said):
        assert any(hasattr(place, name) for place in PLACES), name
    assert "one_cycle" not in said or schedules.one_cycle
    for whole, call in ((lehr.Learner, r"^Learner\((.+?)\)"), (learn.fit, r"^learn\.fit\((.+)\)")):
        for name in re.findall(r"(\w+)=(?!=)", "".join(re.findall(call, said))[:20]):
            assert name in inspect.signature(whole).parameters
    if argument := re.match(r"(\w+)=", said):
        known = [inspect.signature(call).parameters for call in (lehr.Learner, learn.fit)]
        assert any(argument[1] in parameters for parameters in known)


def test_what_is_to_be_written_instead_is_no_name_of_the_table():
    assert not set(OF_THE_CALLBACKS) & set(callbacks.__all__)
    assert not set(OF_THE_PACKAGE) & set(lehr.__all__)
    assert not set(OF_MAKING_A_LEARNER) & set(inspect.signature(lehr.Learner).parameters)
    assert not set(OF_A_FIT) & set(inspect.signature(lehr.Learner.fit).parameters)


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


def test_a_misspelt_import_is_guessed():
    with pytest.raises(ImportError, match=r"has no Lerner\. Did you mean Learner\?"):
        exec("from lehr import Lerner")
    with pytest.raises(ImportError, match=r"has no EarlyStoping\. Did you mean EarlyStopping\?"):
        exec("from lehr.callbacks import EarlyStoping")


def test_parts_that_are_not_imported_yet_can_be():
    script = """
import lehr, sys
assert not hasattr(lehr, "passes")
try:
    lehr.passes
except AttributeError as error:
    print(error)
from lehr import passes
from lehr.callbacks import drive
assert not hasattr(lehr, "__wrapped__")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "module 'lehr' has no passes. Write import lehr.passes.\n"


def test_a_misspelt_argument_is_guessed():
    learn = tiny_learner()
    with pytest.raises(
        TypeError, match=r"Learner\.fit has no argument epoch\. Did you mean epochs"
    ):
        learn.fit(epoch=3)
    with pytest.raises(TypeError, match=r"Learner has no argument metric\. Did you mean metrics\?"):
        lehr.Learner(metric=[])


def test_what_is_decorated_is_called_as_it_is_written():
    class Oven:
        @refusing_others({"temp": "Oven(heat)"})
        def __init__(self, heat, *, door="shut"):
            self.all = heat, door

    assert Oven(3, door="open").all == (3, "open")
    assert [*inspect.signature(Oven).parameters] == ["heat", "door"]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'heat'"):
        Oven()
    with pytest.raises(TypeError, match=r"^Oven has no argument temp\. Write Oven\(heat\)\.$"):
        Oven(temp=3)
