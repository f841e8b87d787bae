"""Which callbacks have a part in the graph of a step, and what is left for them afterwards."""

import pytest
import torch

from lehr import Callback, Changes, GraphPart
from lehr.callbacks import EMA, ClipGradients, LabelSmoothing, Lookahead, MixedPrecision, MixUp
from lehr.loop.step.graphs import BACKWARD, FINISH, LOSS, PREDICT, STEPPED
from lehr.loop.step.inside import Inside, included, offers
from lehr.loop.step.scalars import Numbers


def nothing(values, tensors, numbers):
    return Changes()


class Mine(Callback):
    in_graph = (FINISH, STEPPED)

    def __init__(self, name):
        self.name, self.heard = name, []

    def finish_grad(self, run, proceed): ...

    def after_step(self, run):
        self.heard.append("eager")

    def graph_part(self, method, run):
        return GraphPart(nothing, numbers={"at": run}, done=lambda: self.heard.append(method))


class Changed(Mine):
    def after_step(self, run): ...


class Both(Changed):
    def graph_part(self, method, run):
        return super().graph_part(method, run)


class Undone(Callback):
    in_graph = (STEPPED,)

    def after_step(self, run): ...


def test_a_subclass_that_changes_a_method_must_change_the_function():
    assert offers(Mine("a"), STEPPED)
    assert not offers(Changed("a"), STEPPED)
    assert offers(Changed("a"), FINISH)
    assert offers(Both("a"), STEPPED)
    assert not offers(Callback(), STEPPED)
    bound = EMA(0.9)
    bound.after_step = print
    assert not offers(bound, STEPPED)


def test_one_that_is_named_and_not_written_is_an_error():
    assert not offers(Undone(), STEPPED)  # so nobody asks it
    with pytest.raises(NotImplementedError, match="Undone has 'after_step' in in_graph; write its"):
        Undone().graph_part(STEPPED, None)


def test_after_a_step_they_end_where_one_is_not_in_the_graph():
    clip, ema, ahead = ClipGradients(1.0), EMA(0.9), Lookahead()
    assert included([ema, clip]) == [(FINISH, clip), (STEPPED, ema)]
    assert included([ema, clip, ahead]) == [(FINISH, clip)]  # Lookahead comes first


def test_those_of_every_batch_come_first_and_the_outermost_of_them_first():
    mix, smooth, half = MixUp(), LabelSmoothing(), MixedPrecision("bf16")
    clip = ClipGradients(1.0)
    assert included([clip, mix, smooth, half]) == [
        *((PREDICT, half), (PREDICT, mix), (LOSS, mix), (LOSS, smooth)),
        *((BACKWARD, half), (FINISH, half), (FINISH, clip)),
    ]


def test_a_batch_that_makes_no_step_has_the_functions_of_every_batch_alone():
    class Every(Mine):
        in_graph = (LOSS, FINISH)

        def compute_loss(self, run, proceed): ...

        def graph_part(self, method, run):
            return super().graph_part(method, run)

    one = Every("one")
    inside = Inside([one])
    shape = inside.ask(0.5, "gather")
    assert [function.method for function in inside.functions()] == [LOSS]
    assert len(inside.given(Numbers())) == 1
    assert inside.ask(0.5, "close") == shape * 2
    assert [function.method for function in inside.functions()] == [LOSS, FINISH]
    assert inside.names() == ["Every.compute_loss", "Every.finish_grad"]
    inside.ask(0.5, "gather")
    inside.end(LOSS, None)
    assert one.heard == [LOSS]


class Log:
    def __init__(self):
        self.said = []

    def log(self, name, value):
        self.said.append((name, value))


def test_numbers_are_tensors_that_stay_and_each_ends_where_its_method_would_be():
    one, two = Mine("one"), Mine("two")
    inside = Inside([one, two])
    shape = inside.ask(0.5)
    kept = Numbers()
    before = [numbers["at"] for _, numbers in inside.given(kept)]
    assert inside.ask(0.25) == shape
    assert [numbers["at"] for _, numbers in inside.given(kept)] == before
    assert torch.equal(before[0], torch.tensor(0.25, dtype=torch.float64))
    assert [function.method for function in inside.functions()] == [FINISH, FINISH] + [STEPPED] * 2
    run, made = Log(), True
    inside.made({0: {"a": 1}, 2: {"b": 2}})
    inside.end(FINISH, run)
    assert (run.said, one.heard, two.heard) == ([("a", 1)], [FINISH], [FINISH])
    listeners = [inside.listener(cb.after_step, lambda: made) for cb in (one, two)]
    listeners[0](run)
    made = False
    listeners[1](run)
    assert run.said == [("a", 1), ("b", 2)]
    assert (one.heard, two.heard) == ([FINISH, STEPPED], [FINISH, "eager"])
    other = Mine("three").after_step
    assert inside.listener(other, lambda: made) == other
