"""Who hears an event first, and who wraps an action outermost."""

import importlib
import inspect
import itertools
import pkgutil
import re
from pathlib import Path

import pytest

import lehr.callbacks
from lehr import Callback
from lehr.callbacks import Checkpoint, Metrics, ParamScheduler, Progress, Recorder, Rehearsal
from lehr.callbacks.measure.predictions import Predictions
from lehr.events import ACTIONS, EVENTS, Layer, Phase
from lehr.loop.order import WATCHING, WRAPPING, check_names, in_layers, in_phases, watching
from lehr.schedules import constant
from lehr.testing import tiny_learner


def shipped():
    return [Recorder(), Metrics([]), Progress("plain"), ParamScheduler("lr", constant(0.1))]


def kinds(callbacks):
    return [type(callback).__name__ for callback in callbacks]


@pytest.mark.parametrize("order", [in_phases, in_layers])
def test_the_order_of_shipped_callbacks_does_not_depend_on_the_list(order):
    orders = {tuple(kinds(order(some))) for some in itertools.permutations(shipped())}
    assert len(orders) == 1


@pytest.mark.parametrize("order", [in_phases, in_layers])
def test_list_order_decides_among_a_users_own(order):
    own = [type(name, (Callback,), {})() for name in ("Zebra", "Ant", "Mole")]
    for some in itertools.permutations(own):
        assert order(some) == list(some)


@pytest.mark.parametrize("order", [in_phases, in_layers])
def test_a_users_own_come_after_the_shipped_ones_of_their_phase(order):
    own = [type(name, (Callback,), {})() for name in ("B", "A")]
    for some in itertools.permutations([*own, Recorder(), Metrics([])]):
        names = kinds(order(some))
        assert names[:2] == ["Metrics", "Recorder"]
        assert names[2:] == [name for name in kinds(some) if name in "AB"]


def test_a_subclass_stands_where_its_parent_does():
    mine = type("ZMine", (Metrics,), {"__module__": "mine"})([])
    own = type("Own", (Callback,), {})()
    assert in_phases([own, Recorder(), mine])[0] is mine
    assert kinds(in_phases([own, Recorder(), mine])) == ["ZMine", "Recorder", "Own"]


def test_those_that_evaluate_begin_before_those_that_look_on():
    def own(name, **attributes):
        return type(name, (Callback,), {"begin_fit": nothing, **attributes})()

    looks, takes = own("Looks"), own("Takes", evaluates=True)
    waits = own("Waits", evaluates=True, after=("Looks",))
    early = own("Early", phase=Phase.PREPARE)
    last = own("Last", evaluates=True, phase=Phase.REPORT)
    everybody = [looks, takes, waits, Rehearsal(), Recorder(), last, early]
    assert kinds(watching("begin_fit", everybody)) == [
        *("Early", "Recorder", "Takes", "Last", "Rehearsal", "Looks", "Waits")
    ]
    assert kinds(watching("after_fit", [*everybody, own("Ends", after_fit=nothing)])) == [
        *("Recorder", "Ends")
    ]


def test_before_and_after_hold_where_a_fit_begins_as_well():
    def own(name, **attributes):
        return type(name, (Callback,), {"begin_fit": nothing, **attributes})()

    first, last = own("First", before=("Recorder",)), own("Last", after=("Looks",))
    first_of_two, looks = own("FirstOfTwo", before=("First",)), own("Looks")
    takes = own("Takes", evaluates=True, after=("Recorder",))
    for some in itertools.permutations([Recorder(), Rehearsal(), first, last, first_of_two, looks]):
        assert kinds(watching("begin_fit", [*some, takes])) == [
            *("FirstOfTwo", "First", "Recorder", "Takes", "Rehearsal", "Looks", "Last")
        ]
    shown = tiny_learner().explain([first])
    assert "begin_fit               First, Recorder, Rehearsal" in shown
    assert "begin_fit               First, " not in tiny_learner().explain([own("First")])


def test_what_can_be_kept_in_all_events_but_where_a_fit_begins_is_an_error():
    evaluates = named("Evaluates", evaluates=True, begin_fit=nothing, phase=Phase.REPORT)
    looks = named("Looks", begin_fit=nothing)
    mine = named("Mine", after=("Looks",), before=("Evaluates",), begin_fit=nothing)
    assert kinds(in_phases([evaluates, mine, looks])) == ["Looks", "Mine", "Evaluates"]
    with pytest.raises(
        ValueError,
        match=r"Mine cannot stand before Evaluates and after Looks: .* way round in begin_fit\.",
    ):
        watching("begin_fit", [evaluates, mine, looks])


def nothing(self, run, *proceed):
    for go_on in proceed:
        go_on()


def named(name, **attributes):
    """A callback that hears an event and wraps an action, unless it says what it does."""
    does = {"after_batch": nothing, "step": nothing}
    return type(
        name, (Callback,), {**(does if "after_batch" not in attributes else {}), **attributes}
    )()


@pytest.mark.parametrize("order", [in_phases, in_layers])
def test_a_users_own_stand_before_and_after_whom_they_say(order):
    a, b, c = named("A", after=("B",)), named("B"), named("C", before=("B",))
    for some in itertools.permutations([a, b, c]):
        assert kinds(order(some)) == ["C", "B", "A"]
    early = named("Early", before=("Recorder",))
    assert kinds(in_phases([Recorder(), Metrics([]), early])) == ["Metrics", "Early", "Recorder"]
    late = named("Late", after=("Progress",))
    assert kinds(in_phases([late, Progress("plain"), Recorder()]))[-1] == "Late"


def test_whoever_says_nothing_stays_in_place():
    own = [named("A"), named("B", before=("A",)), named("C")]
    assert kinds(in_phases(own)) == ["B", "A", "C"]
    assert kinds(in_phases([named("A"), named("B", after=("A",)), named("C")])) == ["A", "B", "C"]


def test_a_subclass_is_meant_by_the_name_of_its_parent():
    child = type("Child", (Recorder,), {"__module__": "mine"})()
    assert kinds(in_phases([child, named("A", before=("Recorder",))])) == ["A", "Child"]


def test_a_contradiction_is_an_error():
    a, b = named("A", before=("B",)), named("B", before=("A",))
    with pytest.raises(ValueError, match="before and after of A, B contradict one another"):
        in_phases([a, b])
    between = named("Mine", before=("Metrics",), after=("Recorder",))
    with pytest.raises(
        ValueError, match=r"Mine .* Metrics and after Recorder: .* way round\. Take"
    ):
        in_phases([Recorder(), Metrics([]), between])


def test_a_name_that_is_nobodys_is_an_error():
    with pytest.raises(ValueError, match=r"Mine\.after names 'Recoder', .* Did you mean Recorder"):
        tiny_learner().fit(1, callbacks=[named("Mine", after=("Recoder",), after_batch=nothing)])
    with pytest.raises(ValueError, match="names 'Callback'"):
        check_names([named("Mine", after=("Callback",))])


def test_whoever_is_named_need_not_take_part_everywhere():
    other = named("Other", after_batch=nothing)
    mine = named("Mine", after=("Other",), evaluates=True, after_batch=nothing)
    learn = tiny_learner([other, mine])
    learn.fit(1)
    learn.validate()
    learn.find_lr(steps=10)


def test_only_the_kind_of_order_in_which_one_has_a_place_is_heeded():
    mine = named("Mine", after=("Recorder",), before=("Predictions",), after_batch=nothing)
    both = [Predictions(), Recorder(), mine]
    assert kinds(in_phases(both)) == ["Recorder", "Mine", "Predictions"]
    assert mine in in_layers(both)


def test_two_of_a_class_do_not_wait_for_one_another():
    kind = type("Child", (Recorder,), {"after": ("Recorder",), "__module__": "mine"})
    assert kinds(in_phases([kind(), kind(), Recorder()])) == ["Recorder", "Child", "Child"]


def test_a_contradiction_is_said_before_anything_has_moved():
    learn = tiny_learner([named("A", before=("B",)), named("B", before=("A",))])
    with pytest.raises(ValueError, match="contradict"):
        learn.fit(1)
    assert learn.steps_done == 0


def test_the_tables_name_every_shipped_callback_where_its_phase_and_layer_are():
    for kind in discovered():
        rows = [phase for phase, names in WATCHING.items() if kind.__name__ in names]
        watches = any(hasattr(kind, event) for event in EVENTS)
        assert rows == ([kind.phase] if watches else []), kind
        wraps = any(hasattr(kind, action) for action in ACTIONS)
        rows = [layer for layer, names in WRAPPING.items() if kind.__name__ in names]
        assert rows == ([kind.layer] if wraps else []), kind
    names = {kind.__name__ for kind in discovered()}
    assert names == {name for row in (*WATCHING.values(), *WRAPPING.values()) for name in row}


def discovered():
    found = set()
    for module in pkgutil.walk_packages(lehr.callbacks.__path__, "lehr.callbacks."):
        for kind in vars(importlib.import_module(module.name)).values():
            ours = inspect.isclass(kind) and kind.__module__ == module.name
            if ours and issubclass(kind, Callback):
                found.add(kind)
    assert Checkpoint in found
    return found


def test_phases_order_watching_and_layers_acting():
    def make(i):
        phase, layer = Phase(i), Layer(5 - i)
        return type(f"P{i}", (Callback,), {"phase": phase, "layer": layer})()

    callbacks = [make(i) for i in (3, 1, 4, 2)]
    assert kinds(in_phases(callbacks)) == ["P1", "P2", "P3", "P4"]
    assert kinds(in_layers(callbacks)) == ["P4", "P3", "P2", "P1"]


def test_a_phase_outweighs_who_wrote_the_callback():
    early = type("Early", (Callback,), {"phase": Phase.PREPARE})()
    assert in_phases([Recorder(), early])[0] is early


def test_the_page_shows_the_tables():
    page = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text(encoding="utf-8")
    lines = page.split("| events: phase |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    for table, (place, names) in ((WATCHING, (0, 1)), (WRAPPING, (2, 3))):
        shown = {row[place]: re.findall(r"`(\w+)`", row[names]) for row in cells if row[place]}
        assert shown == {key.name.lower(): list(who) for key, who in table.items()}
