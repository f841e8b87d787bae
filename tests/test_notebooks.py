"""The notebooks run from top to bottom, and show what they promise."""

import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from .kernel import Kernel
from .tier import NIGHTLY

DOCS = Path(__file__).parents[1] / "docs"
LESSONS = sorted((DOCS / "lessons").glob("*.ipynb"))
FURTHER = sorted((DOCS / "notebooks").glob("[0-9]*.ipynb"))
SHORTER = {  # at every change: the steps of a long training, of which nothing is expected then
    "12_gan": {
        "learn.fit(150)": "learn.fit(3)",
        "learn.fit(30, callbacks=[ema])": "learn.fit(2, callbacks=[ema])",
        "assert min(alone, average) / best > 0.5": "",
        "assert score(averaged)[1].bincount(minlength=10).min() > 20": "",
    }
}
STAGES = ["losses", "module", "optimizer", "data", "fit", "handler", "runner", "anneal", "product"]


def code_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def kernel():
    """One for all notebooks of this file."""
    kernel = Kernel()
    yield kernel
    kernel.end()


def executed(kernel, path, folder):
    """The code cells after a run from top to bottom."""
    return kernel.run(nbformat.read(path, as_version=4), folder)


@pytest.fixture(scope="module")
def cells(kernel, tmp_path_factory):
    """The executed code cells of the first steps."""
    first_steps = DOCS / "notebooks" / "first_steps.ipynb"
    return executed(kernel, first_steps, tmp_path_factory.mktemp("notebook"))


def cell(cells, text):
    (found,) = [cell for cell in cells if text in cell.source]
    return found


def shown(cell, kind):
    """What a cell shows in one form, such as ``text/html``."""
    return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]


@pytest.mark.slow
def test_a_notebook_sees_nothing_of_the_one_before(kernel, tmp_path):
    def run(*sources):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        return kernel.run(nbformat.v4.new_notebook(cells=cells), tmp_path)

    run("import numpy as np", "x = np.ones(1)")
    with pytest.raises(CellExecutionError, match="name 'np' is not defined"):
        run("np.ones(1)")
    (shown,) = run("'x' in globals()")[0].outputs
    assert shown.data["text/plain"] == "False"


@pytest.mark.slow
@pytest.mark.parametrize("text", ["show_batch(", "curve.plot()", "schedule.plot()", "plot_loss()"])
def test_a_plot_is_shown_once(cells, text):
    assert len(shown(cell(cells, text), "image/png")) == 1


@pytest.mark.slow
def test_the_table_of_a_fit_is_one_output_updated_in_place(cells):
    fit = cell(cells, "learn.fit(")
    (page,) = shown(fit, "text/html")
    assert len(fit.outputs) == 1
    assert page.count("<tr>") == 1 + 6
    for name in ("train_loss", "valid_loss", "accuracy", "time"):
        assert f"<th>{name}</th>" in page
    assert "<progress" not in page  # it is over


@pytest.mark.slow
def test_a_run_its_history_and_a_summary_are_tables(cells):
    for text, rows in (("run", 7), ("run.history", 7), ("learn.summary()", 23)):
        (found,) = [c for c in cells if c.source.splitlines()[-1] == text]
        (page,) = shown(found, "text/html")
        assert page.count("<tr>") == rows


def errors_printed(cells):
    return [o for c in cells for o in c.outputs if o.get("name") == "stderr"]


@pytest.mark.slow
def test_nothing_was_printed_to_the_error_stream(cells):
    assert not errors_printed(cells)


def tagged(cells, tag):
    return [cell for cell in cells if tag in cell.metadata.get("tags", [])]


def result(cells):
    """The accuracy that a lesson ends with, and how many lines its training took."""
    (last,) = tagged(cells, "result")
    text = "".join(output.get("text", "") for output in last.outputs)
    accuracy, lines = re.search(r"accuracy ([\d.]+), (\d+) lines", text).groups()
    return float(accuracy), int(lines)


def training_lines(cells):
    (cell,) = tagged(cells, "training")
    lines = [line.strip() for line in cell.source.splitlines()]
    return sum(1 for line in lines if line and not line.startswith(("#", "from ", "import ")))


def never_rises(counts):
    return all(a >= b for a, b in pairwise(counts))


def test_nine_lessons_follow_one_another_in_order():
    """Nine lessons follow one another: losses, module, optimizer, data, fit, handler, runner,
    anneal, and the library itself."""
    assert [path.stem for path in LESSONS] == [f"{i}_{name}" for i, name in enumerate(STAGES, 1)]
    index = (DOCS / "lessons" / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"\((\d_\w+)\.ipynb\)", index) == [path.stem for path in LESSONS]


def test_each_lesson_reaches_the_same_result_with_no_more_code_than_the_one_before():
    """The shown results of the nine lessons lie within five points of accuracy, while the code that
    trains never grows, and ends at a seventh or less of what it was."""
    accuracies, counts = zip(*(result(code_cells(path)) for path in LESSONS), strict=True)
    assert min(accuracies) > 0.93
    assert max(accuracies) - min(accuracies) < 0.05
    assert list(counts) == [training_lines(code_cells(path)) for path in LESSONS]
    assert never_rises(counts)
    assert counts[-1] * 7 <= counts[0]
    assert not never_rises([*counts, counts[-1] + 1])
    table = re.findall(
        r"\| (\d+) \|$", (DOCS / "lessons" / "index.md").read_text(encoding="utf-8"), re.M
    )
    assert [int(count) for count in table] == list(counts)


def test_refactoring_shortens_the_loop_step_by_step():
    """From bare tensors through Module, Optimizer and DataLoader to fit, every refactoring leaves
    strictly fewer lines of training code."""
    counts = [training_lines(code_cells(path)) for path in LESSONS[:5]]
    assert all(a > b for a, b in pairwise(counts))


@pytest.mark.parametrize("path", [*LESSONS, *FURTHER], ids=lambda path: path.stem)
def test_lessons_begin_with_autoreload(path):
    """The first code cell of every lesson switches on that edited modules are read again."""
    assert code_cells(path)[0].source == "%load_ext autoreload\n%autoreload 2"


@pytest.mark.parametrize("path", [*LESSONS, *FURTHER], ids=lambda path: path.stem)
def test_what_is_stored_is_fit_to_be_shown(path):
    cells, text = code_cells(path), path.read_text(encoding="utf-8")
    assert all(cell.execution_count == i for i, cell in enumerate(cells, 1))
    assert not errors_printed(cells)
    assert path.stat().st_size < 400_000
    assert not re.search(r"/(home|root|work|tmp|Users)/", text)
    assert "execution" not in {key for cell in cells for key in cell.metadata}


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_from_scratch(kernel, path):
    cells = executed(kernel, path, path.parent)
    assert not errors_printed(cells)
    accuracy, lines = result(cells)
    assert 0.93 < accuracy <= 1
    assert lines == training_lines(cells)


@pytest.mark.parametrize("path", [*LESSONS, *FURTHER], ids=lambda path: path.stem)
def test_what_a_lesson_expects_is_asserted_where_it_is_read(path):
    """The last code cell of every lesson asserts how much it gets right, in the open."""
    (last,) = tagged(code_cells(path), "result")
    assert re.search(r"^assert .+ > 0\.\d+", last.source, re.M)


def test_the_debugger_is_shown_at_work():
    """Two notebooks let a batch fail, open `%debug` and show what it answers."""
    for name in ("lessons/9_product", "notebooks/10_hooks"):
        cells = code_cells(DOCS / f"{name}.ipynb")
        failed = next(
            i for i, c in enumerate(cells) if "raises-exception" in c.metadata.get("tags", [])
        )
        assert cells[failed].outputs[-1].output_type == "error"
        (shown,) = [c for c in cells[failed:] if "%debug" in c.source]
        text = "".join(output.get("text", "") for output in shown.outputs)
        assert "p tuple(self.weight.shape)\n(" in text


def test_the_further_notebooks_are_those_of_the_site():
    names = ["0_initialisation", "10_hooks", "11_mixed_precision", "12_gan"]
    assert [path.stem for path in FURTHER] == names
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert all(f"notebooks/{path.stem}" in index for path in FURTHER)


@pytest.mark.slow
@pytest.mark.parametrize("path", FURTHER, ids=lambda path: path.stem)
def test_a_further_notebook_runs_from_scratch(kernel, path):
    """Its own assertions hold: they stop the run where they do not."""
    notebook = nbformat.read(path, as_version=4)
    shorter = {} if NIGHTLY else SHORTER.get(path.stem, {})
    for long, short in shorter.items():
        (one,) = [c for c in notebook.cells if c.cell_type == "code" and long in c.source]
        one.source = one.source.replace(long, short)
    cells = kernel.run(notebook, path.parent)
    assert not errors_printed(cells)
    raised = [c for c in cells for o in c.outputs if o.output_type == "error"]
    assert all("raises-exception" in c.metadata.get("tags", []) for c in raised)
