"""The notebooks run from top to bottom, and show what they promise."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The executed code cells of the first steps."""
    notebook = nbformat.read(FOLDER / "first_steps.ipynb", as_version=4)
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        resources = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
        NotebookClient(notebook, timeout=120, resources=resources).execute()
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def cell(cells, text):
    (found,) = [cell for cell in cells if text in cell.source]
    return found


def shown(cell, kind):
    """What a cell shows in one form, such as ``text/html``."""
    return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]


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


@pytest.mark.slow
def test_nothing_was_printed_to_the_error_stream(cells):
    assert not [o for c in cells for o in c.outputs if o.get("name") == "stderr"]
