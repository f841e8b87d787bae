"""How one works with lehr in a notebook: edited modules, the debugger, decorators, plots."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial, wraps
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch

ROOT = Path(__file__).parents[1]
SHELL = """
import json, os, sys
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance(colors="nocolor")

def edit(path, old, new):
    text = Path(path).read_text()
    assert old in text, f"{path} has no {old!r}"
    Path(path).write_text(text.replace(old, new, 1))
    later = os.stat(path).st_mtime + 5  # file times are coarse
    os.utime(path, (later, later))

shell.push({"edit": edit})
for cell in json.loads(sys.argv[1]):
    shell.run_cell(cell)
"""
AUTORELOAD = "%load_ext autoreload\n%autoreload 2"


def session(folder, *cells, typed=""):
    """What IPython prints when the cells are run in ``folder``, and ``typed`` is typed into it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(folder / "ipython")}
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment |= {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SHELL, json.dumps(cells)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        input=typed,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- edits ----

CALL = "from throwaway import f\nprint('first', f())"
EDIT = "edit('throwaway.py', 'return 1', 'return 2')"
AGAIN = "print('second', f())"


@pytest.mark.slow
def test_an_edited_function_is_read_again(tmp_path):
    """After an edit of its module, the next call of a function runs the new body, without a restart
    of the session; without the autoreload magic it runs the old one."""
    module = tmp_path / "throwaway.py"
    for magic, second in ((AUTORELOAD, "second 2"), ("", "second 1")):
        module.write_text("def f():\n    return 1\n")
        out = session(tmp_path, magic, CALL, EDIT, AGAIN)
        assert "first 1" in out
        assert second in out


PREPARE = """
from pathlib import Path
import torch, lehr
from lehr import Callback, CancelFit, Learner, accuracy, data, models
from lehr.callbacks import EarlyStopping, ParamScheduler, StopOnNonFinite
from lehr.schedules import one_cycle

class Count(Callback):
    def begin_fit(self, run):
        self.batches = 0
    def after_batch(self, run):
        self.batches += run.training

class Enough(Callback):
    def after_batch(self, run):
        raise CancelFit("enough")

bunch, model = data.digits(), models.mlp(64, 10)
opt = torch.optim.SGD(model.parameters(), lr=0.1)
learn = Learner(model, opt, torch.nn.functional.cross_entropy, bunch, progress=False)
count, enough = Count(), Enough()
perfect = torch.eye(4), torch.arange(4)
old = [count, ParamScheduler("lr", one_cycle(0.5)), EarlyStopping(patience=9), StopOnNonFinite()]
"""
FIT = """
run = learn.fit(1, callbacks=old)
new = [Count(), ParamScheduler("lr", one_cycle(0.5)), EarlyStopping(patience=9)]
other = Learner(model, opt, torch.nn.functional.cross_entropy, bunch, progress=False)
other.fit(1, callbacks=new)
print("batches", count.batches, new[0].batches, learn.fit(2, callbacks=[enough]).stop_reason)
print("is a callback", isinstance(count, lehr.Callback), "accuracy", accuracy(*perfect).item())
"""


SEVEN = r"""
edit(
    "lehr/record/metrics.py",
    "def accuracy(",
    "def accuracy(*_):\n    import torch\n\n    return torch.tensor(7.0)\n\n\ndef _old_accuracy(",
)
"""


def edits(pattern):
    """A cell that gives every module that matches a new name, so that each is read again."""
    return f"""
for path in sorted(Path(".").glob("{pattern}")):
    edit(path, path.read_text(), path.read_text() + "\\nEDITED = True\\n")
"""


@pytest.mark.slow
def test_what_was_made_before_an_edit_of_the_library_keeps_working(tmp_path):
    """Learners, callbacks and classes made before the library's own modules were edited and read
    again train, count and cancel as before, together with those made afterwards."""
    shutil.copytree(
        ROOT / "src" / "lehr", tmp_path / "lehr", ignore=shutil.ignore_patterns("__pycache__")
    )
    out = session(
        tmp_path,
        AUTORELOAD + " --print",
        PREPARE,
        FIT,
        "edit('lehr/callback.py', 'class Callback:', 'class Callback:\\n    EDITED = True\\n')",
        FIT,
        edits("lehr/callbacks/**/*.py"),
        FIT,
        edits("lehr/*.py") + edits("lehr/loop/**/*.py") + edits("lehr/data/**/*.py"),
        FIT,
        SEVEN,
        FIT,
        "print('edited', Callback.EDITED, count.EDITED, lehr.callback.EDITED)",
    )
    assert "Error" not in out
    read_again = ("callback", "callbacks.drive.param_scheduler", "loop.run", "loop.dispatch")
    for module in (*read_again, "events", "record.metrics"):
        assert f"Reloading 'lehr.{module}'" in out
    assert out.count("batches 23 23 enough") == 5
    assert out.count("is a callback True accuracy 1.0") == 4
    assert out.count("is a callback True accuracy 7.0") == 1
    assert "edited True True True" in out


# ---- the debugger ----

BROKEN = """
import torch, lehr
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3))
    def forward(self, x):
        return x @ self.weight

sizes = [8, 8, 8, 8, 8, 9, 8]
batches = [
    (torch.randn(size, 2 if size == 8 else 5), torch.zeros(size, dtype=int)) for size in sizes
]
model = Model()
undone = []

class Scope(lehr.Callback):
    def begin_fit(self, run):
        run.defer(lambda: undone.append("scope"))

learn = lehr.Learner(
    model, torch.optim.SGD(model.parameters(), lr=0.1), nn.functional.cross_entropy,
    lehr.DataBunch(batches), callbacks=[Scope()], progress=False,
)
"""
LOOK = """
import sys
print("type", type(sys.last_value).__name__, "at", learn.run.n_iter)
print("kept", tuple(learn.run.xb.shape), tuple(learn.run.yb.shape), undone)
"""


@pytest.mark.slow
def test_a_debugger_finds_the_batch_that_failed(tmp_path):
    """After a shape error in the sixth batch, `%debug` stands in the model's own forward with that
    batch, the Learner's run still holds its inputs and targets, and what the fit had set up is
    undone."""
    typed = "p tuple(x.shape)\np tuple(self.weight.shape)\nup\nq\n"
    out = session(tmp_path, BROKEN, "learn.fit(1)", "%debug", LOOK, typed=typed)
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied (9x5 and 2x3)" in out
    assert "return x @ self.weight" in out  # the traceback ends in the model
    assert "training batch 5. xb: (9, 5)" in out  # the note
    debugger = out.split("ipdb> ", 1)[1]
    assert "(9, 5)" in debugger.split("ipdb> ")[0]
    assert "(2, 3)" in debugger.split("ipdb> ")[1]
    assert "type RuntimeError at 5" in out
    assert "kept (9, 5) (9,) ['scope']" in out


# ---- decorators ----


def cells_tagged(tag):
    """The sources of the cells of all lessons that carry the tag, in order."""
    pages = sorted((ROOT / "docs" / "lessons").glob("*.ipynb"))
    cells = [cell for page in pages for cell in nbformat.read(page, as_version=4).cells]
    return [cell.source for cell in cells if tag in cell.metadata.get("tags", [])]


@pytest.fixture
def lesson():
    """The names that the lessons' cells on partial and decorators define."""
    names = {"partial": partial, "wraps": wraps, "inspect": inspect}
    for source in cells_tagged("decorators"):
        exec(compile(source, "lesson", "exec"), names)
    return names


def test_partial_fixes_an_argument(lesson):
    """Fixing the exponent of a power with `partial` makes a function that squares: 3 gives 9."""
    assert lesson["squared"](3) == 9
    assert lesson["power"](3, exponent=3) == 27


def test_a_decorator_stands_in_for_its_function(lesson, capsys):
    """A decorated division announces its numbers, divides 6 by 3, and refuses to divide by 0 with a
    message and None."""
    capsys.readouterr()
    assert lesson["divide"](6, 3) == 2
    assert "6 by 3" in capsys.readouterr().out
    assert lesson["divide"](1, 0) is None
    assert "not by zero" in capsys.readouterr().out


def test_decorating_by_hand_changes_nothing_until_it_is_assigned(lesson, capsys):
    """Calling a decorator returns a new function and leaves the old one as it was; only assigning
    the result to the old name replaces it, which is what the @ line does."""

    def divide(a, b):
        return a / b

    careful = lesson["smart_divide"](divide)
    with pytest.raises(ZeroDivisionError):
        divide(1, 0)
    assert careful(1, 0) is None
    divide = lesson["smart_divide"](divide)
    assert divide(1, 0) is None


@pytest.mark.parametrize("decorator", ["announce", "announce_well"])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1,), {}), ((1, 2, 3), {}), ((), {"a": 1}), ((1, 2), {"a": 3, "b": 4})],
)
def test_any_signature_can_be_decorated(lesson, decorator, args, kwargs, capsys):
    """A decorator written with *args and **kwargs passes on any number of arguments, by position
    and by name, and returns what the function returns."""

    def echo(*args, **kwargs):
        return args, kwargs

    assert lesson[decorator](echo)(*args, **kwargs) == (args, kwargs)


def test_two_positions_are_not_enough(lesson, capsys):
    """A decorator that was written for two positions breaks a function of three."""
    with pytest.raises(TypeError):
        lesson["smart_divide"](lambda a, b, c: a)(1, 2, 3)


def test_wraps_keeps_name_signature_and_docstring(lesson):
    """`functools.wraps` gives the replacement the name, signature and docstring of what it stands
    for; without it they are lost."""

    def original(start, end):
        """Says what it does."""

    kept, lost = lesson["announce_well"](original), lesson["announce"](original)
    for f, same in ((kept, True), (lost, False)):
        assert (f.__name__ == "original") is same
        assert (f.__doc__ == "Says what it does.") is same
        assert (str(inspect.signature(f)) == "(start, end)") is same


def test_the_lessons_build_their_decorators():
    """The lessons explain decorators by building them, from one written by hand to one that keeps
    its function's name, and then use them for schedules."""
    sources = "\n".join(cells_tagged("decorators"))
    steps = ["careful = smart_divide(divide)", "@smart_divide", "*args, **kwargs", "@wraps(func)"]
    assert [sources.count(step) > 0 for step in steps] == [True] * 4
    assert sorted(steps, key=sources.index) == steps


# ---- plots ----

PATCH = re.compile(r"\bTensor\.\w+ = |setattr\((torch\.)?Tensor\b")


def test_tensors_are_plotted_as_they_are():
    """Tensors know their number of dimensions and can be plotted as they are."""
    values = torch.linspace(0, 1, 5)
    assert (values.ndim, torch.zeros(2, 3).ndim) == (1, 2)
    _, ax = plt.subplots()
    try:
        (line,) = ax.plot(values, values**2)
        assert line.get_ydata().tolist() == [0, 1 / 16, 1 / 4, 9 / 16, 1]
    finally:
        plt.close("all")


def test_nobody_patches_the_tensor_class():
    """Neither the library nor the lessons add anything to the class of all tensors."""
    pages = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs" / "lessons").glob("*.ipynb")]
    assert [page.name for page in pages if PATCH.search(page.read_text(encoding="utf-8"))] == []
    for patch in ("torch.Tensor.ndim = property(len)", "setattr(torch.Tensor, 'ndim', 1)"):
        assert PATCH.search(patch)
