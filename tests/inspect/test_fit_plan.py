"""A plan as text, as a table, and its single steps."""

import io

import pytest
from rich.console import Console

from lehr.callbacks import Accumulate, Checkpoint, ParamScheduler
from lehr.inspect.fit_plan import FitPlan
from lehr.schedules import cosine, linear, warmup
from lehr.testing import tiny_learner


def plan(epochs=2, **kwargs):
    callbacks = [ParamScheduler("lr", linear(0.8, 0.0)), Checkpoint("nowhere", every="5 steps")]
    return tiny_learner().plan(epochs, callbacks, **kwargs)


TEXT = """\
step  epoch   lr  before
   0      0  0.8  save
   4      1  0.4  validate
   5      1  0.3  save
   7      1  0.1
   8           –  validate, save
8 steps in 2 epochs, 1 batch a step; 2 validations, 3 checkpoints"""


def test_it_prints_a_row_wherever_something_happens():
    assert str(plan()) == repr(plan()) == TEXT


def test_rich_shows_the_same():
    file = io.StringIO()
    Console(file=file, width=100).print(plan())
    cells = [[cell.strip() for cell in line.split("│")] for line in file.getvalue().splitlines()]
    rows = [row[1:-1] for row in cells if len(row) > 2]
    assert rows[1:3] == [["4", "1", "0.4", "validate"], ["5", "1", "0.3", "save"]]
    assert "8 steps in 2 epochs" in file.getvalue()


def test_a_notebook_shows_the_same():
    page = plan()._repr_html_()
    assert "<td>5</td><td>1</td><td>0.3</td><td>save</td>" in page
    assert "8 steps in 2 epochs" in page


def test_a_long_plan_shows_some_of_its_epochs():
    lines = str(plan(100)).splitlines()
    assert 20 < len(lines) < 35
    assert lines[1].split()[0] == "0"
    assert lines[-2].split()[0] == "400"
    assert lines[-1].startswith("400 steps in 100 epochs")


def test_the_size_of_a_step_is_shown_where_it_changes():
    text = str(tiny_learner(items=40).plan(1, [Accumulate(2)]))
    assert text.splitlines()[0].split() == ["step", "epoch", "batches", "lr", "before"]
    assert "3 steps in 1 epoch, 1 to 2 batches a step" in text
    assert "batches a step" not in str(plan())


def test_what_may_come_otherwise_is_said():
    text = str(FitPlan([0], [1], {}, [1], {}, [], [], ["Mine()"]))
    assert text.endswith("may come otherwise, by what they measure: Mine()")


def test_a_fit_without_steps():
    empty = plan(0)
    assert empty.steps == 0
    assert str(empty).endswith("0 steps in 0 epochs, 0 batches a step; 0 validations, 1 checkpoint")
    empty.plot()


def test_single_steps():
    assert plan().at(3) == {"lr": pytest.approx(0.5)}
    assert plan().happens(8) == ["validate", "save"]
    for step in (-1, 8):
        with pytest.raises(IndexError, match=rf"step must be in 0 to 7; got {step}"):
            plan().at(step)


def test_groups_are_one_quantity():
    values = {"lr[0]": [0.1], "lr[1]": [0.2], "model.1.p": [0.5]}
    made = FitPlan([0], [1], values, [1], {}, [], [], [])
    assert made.quantities == {"lr": ["lr[0]", "lr[1]"], "model.1.p": ["model.1.p"]}
    assert (warmup(0.1) >> cosine(1, 0))(1) == 0
