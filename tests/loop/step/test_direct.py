"""A compiled function is called directly where its guards hold, and by torch where they do not."""

import gc
from itertools import count

import pytest
import torch
from torch import nn

from lehr.loop.step import direct
from lehr.loop.step.direct import Direct

numbers = count()


class Counted:
    """A model whose step is compiled; it counts how often torch was asked for it."""

    def __init__(self):
        self.model, self.asked = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)), 0
        model = self.model

        def step(x, more):
            return model(x) + more[0]

        step.__code__ = step.__code__.replace(co_name=f"step_{next(numbers)}")  # of its own
        compiled = torch.compile(step, backend="eager", fullgraph=True)

        def asked(*given):
            self.asked += 1
            return compiled(*given)

        self.step, self.direct = step, Direct(step, asked)

    def call(self, *given):
        with torch.no_grad():
            returned, before = self.direct(*given), torch.get_rng_state()
            assert torch.equal(returned, self.step(*given))
            torch.set_rng_state(before)
        return self.asked


ONE = torch.ones(1)


def test_torch_is_asked_once_and_again_where_a_guard_fails():
    counted = Counted()
    assert [counted.call(torch.ones(3, 2), [ONE]) for _ in range(3)] == [1, 1, 1]
    assert counted.call(torch.zeros(3, 2), [-ONE]) == 1  # other values
    assert counted.call(torch.ones(4, 2), [ONE]) == 2  # another shape
    assert [counted.call(torch.ones(5, 2), [ONE]) for _ in range(2)][-1] == 2  # by now, any length
    assert counted.call(torch.ones(4, 2).double().float(), [ONE, ONE]) == 3  # a longer list
    counted.model[1].p = 1.0
    assert counted.call(torch.ones(4, 2), [ONE, ONE]) == 4
    counted.model.eval()
    assert [counted.call(torch.ones(4, 2), [ONE, ONE]) for _ in range(2)] == [5, 5]


def test_what_is_switched_in_torch_is_heeded():
    counted = Counted()
    counted.call(torch.ones(3, 2), [ONE])
    with torch.autocast("cpu", torch.bfloat16):
        assert counted.call(torch.ones(3, 2), [ONE]) == 2
    assert counted.call(torch.ones(3, 2), [ONE]) == 3  # what ran last is what is tried first
    with torch.enable_grad():
        counted.direct(torch.ones(3, 2), [ONE])
    assert counted.asked == 4
    counted.call(torch.ones(3, 2), [ONE])
    with torch.compiler.set_stance("force_eager"):
        asked = counted.asked
        assert counted.call(torch.ones(3, 2), [ONE]) == asked + 1


def test_who_shows_no_code_is_asked_in_every_call(monkeypatch):
    monkeypatch.setattr(direct, "entries_of", lambda code: [])
    counted = Counted()
    assert [counted.call(torch.ones(3, 2), [ONE]) for _ in range(3)] == [1, 2, 3]


def test_an_error_within_is_the_functions_own():
    def fail(x):
        return x + torch.ones(5)

    compiled = torch.compile(fail, backend="eager", fullgraph=True, dynamic=True)
    with pytest.raises(RuntimeError):
        Direct(fail, compiled)(torch.ones(3))


def test_what_torch_has_forgotten_is_not_called():
    counted = Counted()
    counted.call(torch.ones(3, 2), [ONE])
    torch.compiler.reset()
    assert [counted.call(torch.ones(3, 2), [ONE]) for _ in range(2)] == [2, 2]


def test_what_was_compiled_of_a_thing_that_is_gone_is_not_called():
    class Scale(nn.Module):
        def forward(self, x):
            return self.by(x)

    def by(factor):
        class By:
            def __call__(self, x):
                return x * factor

        return By()

    model, asked = Scale(), []

    def step(x):
        return model(x)

    compiled = torch.compile(  # torch goes by it that the thing is there, and by nothing else
        step, backend="eager", options={"guard_filter_fn": lambda guards: [False] * len(guards)}
    )

    def ask(x):
        asked.append(x)
        return compiled(x)

    called = Direct(step, ask)
    for factor in (2, 3, 4):
        model.by = by(factor)
        assert called(torch.ones(1)) == factor
        model.by = None
        gc.collect()
    assert len(asked) == 3


def test_an_interrupt_leaves_no_guards_of_one_code_beside_another(monkeypatch):
    counted = Counted()
    counted.call(torch.ones(3, 2), [ONE])

    def interrupted(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(direct, "FunctionType", interrupted)
        with pytest.raises(KeyboardInterrupt):
            counted.call(torch.ones(3, 2), [ONE, ONE, ONE])
    assert counted.call(torch.ones(3, 2), [ONE, ONE, ONE]) == 3
    assert counted.call(torch.ones(3, 2), [ONE]) == 4


def test_it_can_tell_whether_torch_has_compiled_it_for_what_comes():
    direct, given = Counted().direct, [torch.ones(3, 2), [ONE]]
    assert direct.made_for(given) is None
    direct(*given)
    assert direct.made_for(given) is not None
    assert direct.made_for([torch.ones(3, 2), [ONE, ONE]]) is None
    with torch.compiler.set_stance("force_eager"):
        assert direct.made_for([torch.ones(3, 2), [ONE, ONE]]) is not None


def test_what_torch_does_not_show_is_taken_as_compiled(monkeypatch):
    monkeypatch.setattr(direct, "entries_of", lambda code: [])
    called, given = Counted().direct, [torch.ones(3, 2), [ONE]]
    assert called.made_for(given) is None
    called(*given)
    assert called.made_for(given) is not None


def test_it_may_leave_every_call_to_torch():
    counted = Counted()
    by_torch = Direct(counted.step, counted.direct._compiled, by_torch=True)
    for asked in (1, 2, 3):
        by_torch(torch.ones(3, 2), [ONE])
        assert counted.asked == asked
    assert by_torch.made_for([torch.ones(3, 2), [ONE]]) is not None
