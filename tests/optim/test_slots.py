"""A number is found by its name, set, and put back as it was."""

from types import SimpleNamespace

import pytest
import torch

from lehr.optim.slots import Slot, Slots, rivals, shared_name
from lehr.testing import tiny_learner


def run(**kwargs):
    return tiny_learner(**kwargs).fit(0)


class Inherits:
    rate = 3


@pytest.mark.parametrize(
    ("holder", "key"),
    [({"lr": 0.1}, "lr"), (SimpleNamespace(p=1), "p"), ({"betas": (0.9, 0.99)}, "betas")],
)
def test_it_is_set_and_the_very_value_comes_back(holder, key):
    slot = Slot(holder, key)
    old = slot.get()
    back = slot.restorer()
    slot.setter()(0.5)
    assert slot.get() == 0.5
    back()
    assert (slot.get(), type(slot.get())) == (old, type(old))


def test_the_other_betas_stay():
    group = {"betas": (0.9, 0.99)}
    Slot(group, "betas").setter()(0.5)
    assert group["betas"] == (0.5, 0.99)


def test_a_tensor_is_written_in_place():
    lr = torch.tensor(0.1)
    slot = Slot({"lr": lr}, "lr")
    back = slot.restorer()
    slot.setter()(0.5)
    assert lr.item() == 0.5
    back()
    assert slot.get() is lr
    assert lr.item() == pytest.approx(0.1)


def test_a_value_of_the_class_is_the_classes_again():
    thing = Inherits()
    slot = Slot(thing, "rate")
    back = slot.restorer()
    slot.setter()(5)
    assert vars(thing) == {"rate": 5}
    back()
    assert vars(thing) == {}
    assert thing.rate == 3


@pytest.mark.parametrize(
    ("value", "is_number"),
    [(1, True), (0.5, True), (torch.tensor(1.0), True), (torch.ones(2), False), (True, False)]
    + [(None, False), ("1", False)],
)
def test_what_is_a_number(value, is_number):
    assert Slot({"x": value}, "x").is_number is is_number


def test_two_names_of_one_place_are_the_same_place():
    state = run()
    opt = {"it": state.opt}
    (by_name,) = Slots("lr").find(state)
    (by_path,) = Slots("opt.it.lr").find(SimpleNamespace(opt=opt))
    (other,) = Slots("momentum").find(state)
    assert by_name.is_also(by_path)
    assert not by_name.is_also(other)
    assert not Slot({"lr": 1}, "lr").is_also(Slot({"lr": 1}, "lr"))


def test_rivals_are_those_who_drive_the_same_place_by_whatever_name():
    opt = torch.optim.Adam([torch.zeros(1)])
    drivers = [
        SimpleNamespace(drives=[Slots(*name)])
        for name in (("lr",), ("opt.it.lr",), ("momentum",), ("betas",), ("eps",), ("lr", -1))
    ]
    bystanders = [SimpleNamespace(drives=[])]
    state = SimpleNamespace(opt={"it": opt}, callbacks=[*drivers, *bystanders])
    lr, path, momentum, betas, eps, last = drivers
    assert rivals(state, lr) == [path, last]
    assert rivals(state, last) == [lr, path]
    assert rivals(state, momentum) == [betas]
    assert rivals(state, eps) == []
    assert shared_name(lr, [path, last]) == "'lr', which is 'opt.it.lr' too"
    assert shared_name(lr, [last]) == "'lr'"


def test_a_group_has_its_label():
    assert [Slots("lr").label, Slots("lr", -1).label] == ["lr", "lr[-1]"]


@pytest.mark.parametrize(
    ("name", "group", "text"),
    [
        (3, None, "param must be a string; got 3. Write e.g."),
        ("lr", "0", "group must be the number of a parameter group; got '0'"),
        ("lr", True, "group must be the number of a parameter group; got True"),
        ("model.1.p", 7, "group=7 has no meaning for the path 'model.1.p'. Leave it out"),
    ],
)
def test_what_cannot_be_meant_speaks(name, group, text):
    with pytest.raises((TypeError, ValueError), match=text):
        Slots(name, group).check("param")
    Slots("opt.generator.lr", 0).check("param")


@pytest.mark.parametrize(
    ("name", "group", "text"),
    [
        (
            "momentun",
            None,
            r"no hyper-parameter 'momentun' in parameter group 0, which .* Did you mean momentum\?",
        ),
        ("lr", 3, "got 3, but SGD has 1. Count from 0"),
        ("opt.gen.lr", None, "there is no optimizer named 'gen'. Write the parameter alone"),
        ("modle.x", None, r"starts with 'modle'. Did you mean model\?"),
        ("model.9.p", None, "Sequential has no '9'. Use one of: 0, 1, 2"),
        ("callbacks.x.y", None, "dict has no 'x'"),
        ("nesterov", None, "nesterov is False; only a number can be reduced. Choose another"),
    ],
)
def test_names_that_lead_nowhere_speak(name, group, text):
    with pytest.raises(ValueError, match=text):
        Slots(name, group).numbers(run(), "be reduced")


def test_callbacks_of_one_name_are_ambiguous():
    from lehr import Callback

    with pytest.raises(ValueError, match="ambiguous: 2 callbacks are named 'callback'"):
        list(Slots("callbacks.callback.n").find(run(callbacks=[Callback(), Callback()])))


def test_a_whole_number_at_the_end_of_a_path_stays_whole_where_the_value_is():
    holder = SimpleNamespace(size=64, share=0.5)
    for key, value, kind in (("size", 96.0, int), ("size", 2.5, float), ("share", 1.0, float)):
        Slot(holder, key).setter()(value)
        assert getattr(holder, key) == value
        assert type(getattr(holder, key)) is kind
        holder.size = 64


def test_a_path_of_the_data_leads_to_what_is_read():
    run = tiny_learner().fit(0)
    slots = Slots("data.train_dl.batch_size")
    assert slots.in_data
    assert [slot.get() for slot in slots.find(run)] == [8]
    with pytest.raises(ValueError, match=r"leads nowhere: DataLoader has no 'batch_sise'"):
        list(Slots("data.train_dl.batch_sise").find(run))
