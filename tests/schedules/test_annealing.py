"""What makes a schedule of a function: signature, expression, equality, pickling."""

import copy
import importlib
import inspect
import pickle

import numpy as np
import pytest
import torch

from lehr.schedules import combine_scheds, constant, one_cycle, sched_lin
from lehr.schedules.annealing import Schedule, annealer, makes_schedule


@annealer
def sched_square(start, end, pos):
    """Leaves slowly."""
    return start + pos**2 * (end - start)


@makes_schedule
def steps(values: list, *, scale: float = 1):
    """A staircase."""
    return lambda pos: scale * values[min(int(pos * len(values)), len(values) - 1)]


def plain(pos):
    return torch.tensor(1.0 - pos)


def course_annealer(f):
    def _inner(start, end):
        def at(pos):
            return f(start, end, pos)

        return at

    return _inner


def test_a_visible_signature_name_and_docstring():
    """Help shows (start, end), with the name and the docstring that the user wrote."""
    assert list(inspect.signature(sched_lin).parameters) == ["start", "end"]
    assert list(inspect.signature(sched_square).parameters) == ["start", "end"]
    assert sched_lin.__name__ == "sched_lin"
    assert sched_lin.__doc__.startswith("A straight line")
    assert (sched_square.__name__, sched_square.__doc__) == ("sched_square", "Leaves slowly.")
    assert str(inspect.signature(steps)).startswith("(values: list, *, scale: float = 1)")
    assert inspect.signature(steps).return_annotation is Schedule


def test_a_users_own_factories():
    s = steps([3, 2, np.float64(0.5)])
    assert repr(s) == "steps([3, 2, 0.5])"
    assert repr(steps([3], scale=2)) == "steps([3], scale=2)"
    assert [s(0), s(0.5), s(1)] == [3, 2, 0.5]
    for mine in (s, sched_square(0, 8), combine_scheds([0.5, 0.5], [plain, sched_square(0, 8)])):
        assert pickle.loads(pickle.dumps(mine)) == mine
        assert {mine: 1}[copy.deepcopy(mine)] == 1


def test_schedules_of_a_user_module_pickle(tmp_path, monkeypatch):
    source = (
        "from __future__ import annotations\n"
        "from lehr.schedules import annealer, schedule\n"
        "@annealer\ndef mine(start, end, pos):\n    return start + pos**3 * (end - start)\n"
        "@schedule\ndef flat(value: float):\n    return lambda pos: value\n"
    )
    (tmp_path / "user_schedules_of_test.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    user = importlib.import_module("user_schedules_of_test")
    loaded = pickle.loads(pickle.dumps([user.mine(0, 8), user.flat(3)]))
    assert loaded == [user.mine(0, 8), user.flat(3)]
    assert loaded[0](0.5) == 1
    with pytest.raises(TypeError, match="value must be a real number"):
        user.flat("3")  # annotations may be strings


def test_the_courses_annealer_does_not_pickle():
    theirs = course_annealer(lambda start, end, pos: start)(1, 2)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(theirs)


def test_it_cannot_be_changed():
    s = sched_lin(1, 2)
    for name in ("function", "arguments", "new"):
        with pytest.raises(AttributeError, match="cannot assign to field"):
            setattr(s, name, 1)
    with pytest.raises(AttributeError, match="cannot delete field"):
        del s.function
    assert s(0.5) == 1.5


def test_plot():
    from matplotlib import pyplot as plt

    f = one_cycle(0.5)
    (ax,) = f.plot().axes
    assert ax.get_title() == "one_cycle(0.5)"
    assert constant(0.1).plot(ax) is ax.figure
    x, y = ax.lines[0].get_data()
    assert (x[0], x[-1], y[0], y[-1], max(y)) == (0, 1, f(0), f(1), 0.5)
    assert [line.get_label() for line in ax.lines] == ["one_cycle(0.5)", "constant(0.1)"]
    plt.close(ax.figure)


@pytest.mark.parametrize("kind", ["*values", "**values", "values, /"])
def test_a_factory_needs_named_arguments(kind):
    names = {}
    exec(f"def factory({kind}):\n    return None", names)
    with pytest.raises(TypeError, match=r"arguments must have names; got .*Give each a name"):
        makes_schedule(names["factory"])
