import sys
import traceback
from pathlib import Path

import pytest
import torch

from lehr.base.tracebacks import frames_in, own_line
from lehr.errors import positive_int

HERE = Path(__file__)


def of(function):
    """The frames of the error of a function, and what Python prints of it."""
    try:
        function()
    except Exception as error:
        return traceback.extract_tb(error.__traceback__)[1:], traceback.format_exc()


def mine():
    int("three")


FAILING = [
    (mine, 'in mine: int("three")'),
    (lambda: torch.zeros(2).reshape(3), "in <lambda>: (lambda: torch.zeros(2).reshape(3),"),
    (lambda: torch.nn.Linear(1, 1)(torch.ones(2)), "in <lambda>: (lambda: torch.nn.Linear(1, 1)"),
    (lambda: positive_int("n", 0), 'in <lambda>: (lambda: positive_int("n", 0),'),
    (lambda: Path("/nowhere/at/all").read_text(), "in <lambda>: (lambda: Path("),
]


@pytest.mark.parametrize(("function", "line"), FAILING)
def test_it_is_the_users_own_line(function, line):
    frames, printed = of(function)
    told = own_line(frames)
    assert told.startswith(f"{HERE}:")
    assert line in told
    assert own_line(frames_in(printed)) == told


def test_there_may_be_none():
    frames, _ = of(lambda: positive_int("n", 0))
    assert own_line(frames[1:]) is None
    assert own_line(traceback.StackSummary.from_list([("<frozen os>", 1, "f", "g()")])) is None
    assert own_line([]) is None
    assert frames_in("nothing of the kind") == []


def test_lines_without_source_are_read_too():
    exec(compile("def typed():\n    1 / 0", "<stdin>", "exec"), names := {})
    frames, printed = of(names["typed"])
    assert own_line(frames) == own_line(frames_in(printed)) == "<stdin>:2, in typed"
    assert Path(sys.prefix).is_dir()
