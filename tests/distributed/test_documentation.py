"""The script of the page runs alike in one process and in two."""

import re
from pathlib import Path

import pytest

from ..programs import program

PAGE = Path(__file__).parents[2] / "docs" / "distributed.md"
SHOW = """
rows = [{k: round(v, 5) for k, v in row.items() if k != "seconds"} for row in run.history.rows]
if learn.engine.rank == 0:
    print(learn.engine.world, rows)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_script_gives_the_same_curve(tmp_path, values):
    (script,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    said = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        (folder / "train.py").write_text(script + SHOW)
        said[processes], *others = values(processes, "runs_a_script", limit=250, folder=str(folder))
        assert others == [[]] * (processes - 1)
    assert said[2][0] == f"{said[1][0]}; 2 processes, batches of 64 = 2 × 32"
    assert said[2][-1].removeprefix("2 ") == said[1][-1].removeprefix("1 ")


def test_the_figures_on_the_page_are_those_of_the_results():
    module = program(PAGE.with_suffix(".py"))
    page = PAGE.read_text(encoding="utf-8")
    assert module.render(page) == page
    assert (
        module.render(page.replace("<!-- end of promises", "| D1 | 0 |\n<!-- end of promises"))
        == page
    )
    measured = (PAGE.parents[1] / "bench" / "distributed.py").read_text(encoding="utf-8")
    for way in module.WAYS:
        assert f'    "{way}": ' in measured
        (away,) = re.findall(rf"^\| {re.escape(way)} \|.*\| ?(\S*) \|.*\|$", page, re.M)
        assert not away or float(away) < 1e-6
    assert re.findall(r"^\| (D\d+) \|", page, re.M) == [f"D{n}" for n in range(1, 15)]
