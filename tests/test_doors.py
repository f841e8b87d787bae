"""A method that only opens a function has the whole docstring; the function refers to it."""

import ast
import importlib
import inspect
import re
import textwrap

import pytest

import lehr
from lehr import Learner, Run


def opened_by(method):
    """The function that a method calls and does no more, imported in its body; None otherwise."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(method))).body
    _, *body = definition.body  # without the docstring
    if not body or not isinstance(body[0], ast.ImportFrom) or "lehr" not in body[0].module:
        return None
    *_, last = body
    if not isinstance(last, (ast.Return, ast.Expr)) or not isinstance(last.value, ast.Call):
        return None
    name = body[0].names[0].name
    called = last.value.func
    if isinstance(called, ast.Attribute):
        return getattr(importlib.import_module(f"{body[0].module}.{name}"), called.attr)
    return getattr(importlib.import_module(body[0].module), name)


DOORS = {
    f"lehr.{kind.__name__}.{name}": (method, function)
    for kind in (Learner, Run)
    for name, method in vars(kind).items()
    if inspect.isfunction(method) and method.__doc__ and (function := opened_by(method))
}


def fault(path, method, function):
    """What is wrong with the docstrings of a door and of the function that it opens."""
    takes = len(inspect.signature(method).parameters) > 1
    sections = [*(["Args:"] if takes else []), "Example:"]
    if lacks := [section for section in sections if section not in method.__doc__]:
        return f"{path} lacks {lacks}"
    if not re.fullmatch(rf"[A-Z][^.\n]+\. See `{re.escape(path)}`\.", function.__doc__ or ""):
        return f"{function.__name__} must say in one line what it does, and See `{path}`."
    return None


def test_the_doors_are_found():
    names = """validate predict rehearse save load export explain show_results confusion top_losses
        plan profile summary audit find_lr check_resume"""
    assert set(DOORS) == {*(f"lehr.Learner.{name}" for name in names.split()), "lehr.Run.replay"}


@pytest.mark.parametrize("path", DOORS)
def test_a_door_has_the_docstring_and_the_function_behind_it_refers_to_it(path):
    assert fault(path, *DOORS[path]) is None


def test_a_second_text_is_a_fault():
    _, another = DOORS["lehr.Learner.load"]
    assert "must say in one line" in fault("lehr.Learner.audit", Learner.audit, lehr.audit)
    assert "must say in one line" in fault("lehr.Learner.save", Learner.save, another)
    assert "lacks ['Example:']" in fault("lehr.Learner.fit", Learner.fit, lehr.audit)
