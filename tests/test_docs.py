"""Every Python block of README and docs runs, top to bottom, and says what is true."""

import builtins
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch

import lehr
import lehr.callbacks
import lehr.distributed
import lehr.sklearn
from lehr.events import ACTIONS, EVENTS, Layer, Phase
from lehr.testing import tiny_learner

from .kernel import Kernel

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "PYPI.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


NEEDS = {  # packages that no part of lehr itself needs
    "with-others.md": ("sklearn", "optuna"),
    "ray.md": ("ray",),
    "skorch.md": ("sklearn",),
    "logging.md": ("tensorboard", "wandb", "mlflow"),
}


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p)], ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_blocks_run(page, tmp_path, monkeypatch, request):
    seen = []
    for package in NEEDS.get(page.name, ()):
        pytest.importorskip(package, reason=f"{package} is not installed: make test-clients")
        seen = request.getfixturevalue("recwarn")  # their warnings are theirs
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "docs"}
    for number, block in enumerate(blocks(page)):
        exec(compile(block, f"{page.name}, block {number + 1}", "exec"), names)
    assert not [str(w.message) for w in seen if "cannot reach its service" in str(w.message)]


BY_ITSELF = {"Metrics", "OptimizerModes", "Progress", "Recorder", "Rehearsal"}
"""Callbacks that a Learner attaches by itself."""


def test_every_callback_is_shown_at_work_in_a_block_that_runs():
    sources = [source for page in PAGES for source in blocks(page)]
    for path in (ROOT / "docs").rglob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        sources += [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    code = "\n".join(sources)
    ours = {name for name in lehr.callbacks.__all__ if isinstance(named(name), type)}
    assert ours > BY_ITSELF
    shown = {name for name in ours if re.search(rf"(?<!class )\b{name}\(", code)}
    assert ours - shown <= BY_ITSELF
    assert not re.search(r"\bNoSuchCallback\(", code)


def named(name):
    return getattr(lehr.callbacks, name)


@pytest.fixture(scope="module")
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.end()


@pytest.mark.slow
@pytest.mark.parametrize("by_paragraph", [False, True], ids=["blocks", "paragraphs"])
@pytest.mark.parametrize("name", ["README.md", "PYPI.md"])
def test_a_first_page_works_in_a_fresh_notebook(kernel, name, by_paragraph, tmp_path):
    """Its blocks as cells, or each paragraph of them: every fit and plot is shown, once."""
    sources = blocks(ROOT / name)
    if by_paragraph:
        sources = [part for block in sources for part in re.split(r"\n\n+(?=\S)", block)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    outputs = [output for cell in kernel.run(notebook, tmp_path) for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    shown = [kind for output in outputs for kind in output.get("data", {})]
    source = "".join(sources)
    assert shown.count("text/html") == source.count("learn.fit(")
    assert shown.count("image/png") == source.count("plot_loss()")


def test_the_guides_callback_that_skips_bad_steps_bears_frozen_parameters():
    (block,) = [b for b in blocks(ROOT / "docs" / "guide.md") if "class SkipBadSteps" in b]
    names = {"Callback": lehr.Callback}
    exec(block[block.index("class SkipBadSteps") : block.index("run = learn.fit")], names)

    class Breaks(lehr.Callback):
        def finish_grad(self, run, proceed):
            proceed()
            if run.n_iter == 1:
                run.model[2].bias.grad[0] = float("nan")

    learn = tiny_learner()
    learn.model[0].requires_grad_(False)
    run = learn.fit(1, callbacks=[Breaks(), names["SkipBadSteps"]()])
    assert learn.model[0].weight.grad is None
    assert (run.n_iter, run.n_steps) == (4, 3)


def test_the_gallery_has_the_reports_that_its_script_makes_and_they_are_small():
    docs = ROOT / "docs"
    text = (docs / "gallery.md").read_text(encoding="utf-8")
    script = (docs / "gallery.py").read_text(encoding="utf-8")
    pages = sorted((docs / "extra" / "gallery").iterdir())
    assert [page.stem for page in pages] == ["digits", "images", "table", "tuned"]
    for page in pages:
        report = page.read_text(encoding="utf-8")
        assert "Training report" in report
        assert "/tmp" not in report
        picture = docs / "images" / f"gallery_{page.stem}.png"
        assert max(page.stat().st_size, picture.stat().st_size) <= 200_000
        assert f"gallery/{page.name}" in text
        assert f"images/{picture.name}" in text
        assert f'"{page.stem}": [' in script


@pytest.mark.parametrize("page", [*PAGES, ROOT / "ARCHITECTURE.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_readme_names_its_commands_and_the_true_numbers():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text
    assert (len(EVENTS), len(ACTIONS)) == (14, 7)
    assert "Fourteen events to watch and seven actions" in text


@pytest.mark.slow
def test_the_shell_lines_of_the_readme_work_in_a_fresh_shell(tmp_path):
    """Pasted as they stand, after ``make demo`` has made the environment."""
    (block,) = re.findall(
        r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S
    )
    (tmp_path / ".venv").symlink_to(sys.prefix)  # what make demo makes, wherever this runs in
    plain = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "TERM": "dumb"}
    plain["OMP_NUM_THREADS"] = "1"  # other tests run beside this one
    shell = ["bash", "--norc", "--noprofile", "-e"]

    def paste(lines):
        return subprocess.run(
            shell, input=lines, text=True, capture_output=True, cwd=tmp_path, env=plain, check=False
        )

    done = paste(block)
    assert done.returncode == 0, done.stderr
    assert "report: runs/digits-" in done.stdout
    without = paste("".join(line for line in block.splitlines(True) if "activate" not in line))
    assert "command not found" in without.stderr


@pytest.mark.slow
def test_the_shell_lines_about_deploying_write_a_program(tmp_path, monkeypatch, nursery):
    page = ROOT / "docs" / "tasks" / "deploying.md"
    (lines,) = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    monkeypatch.chdir(tmp_path)
    for command, *words in map(shlex.split, lines.splitlines()):
        assert command == "lehr"
        done = nursery.run(*words)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "mine" / "model.pt2").exists()


@pytest.mark.parametrize("page", ["images", "tables"])
def test_the_commands_of_a_page_work_on_its_own_files(page, tmp_path, monkeypatch, nursery):
    text = (ROOT / "docs" / "tasks" / f"{page}.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(blocks(ROOT / "docs" / "tasks" / f"{page}.md")[0], {})
    (lines,) = re.findall(r"```sh\n(.*?)```", text, re.S)
    commands = [shlex.split(line) for line in lines.splitlines()]
    assert [words[1] for words in commands] == ["train", "predict", "evaluate"]
    for _, *words in commands:
        done = nursery.run(*words)
        assert (done.returncode, done.stderr) == (0, b"")
    assert b"accuracy: " in done.stdout


def test_the_glossary_names_every_phase_and_layer_in_their_order():
    _, words = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8").split("## Words\n")
    for kind in (Phase, Layer):
        assert ", ".join(member.name.lower() for member in kind) in words


PLACES = (
    builtins,
    lehr,
    lehr.callbacks,
    lehr.data,
    lehr.distributed,
    lehr.sklearn,
    torch,
    torch.nn,
    torch.optim,
)


def absent(page: str) -> set[str]:
    """What the page's table calls ours, in all columns but the first, and what is not there."""
    rows = [line.partition(" | ")[2] for line in page.splitlines() if line.startswith("| ")]
    ours = " ".join(re.findall(r"`([^`]*)`", " ".join(rows[1:])))
    learn = tiny_learner()
    held = {"learn": learn, "run": learn.fit(1)}
    attributes = set(re.findall(r"\b(learn|run)\.(\w+)", ours))
    classes = {name for name in re.findall(r"(?<![.\w])[A-Z]\w+", ours) if not name.isupper()}
    return {f"{of}.{name}" for of, name in attributes if not hasattr(held[of], name)} | {
        name for name in classes if not any(hasattr(place, name) for place in PLACES)
    }


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "coming-from").glob("*.md")), ids=lambda p: p.stem
)
def test_the_tables_for_those_who_come_from_elsewhere_name_what_there_is(page):
    assert not absent(page.read_text(encoding="utf-8"))


def test_a_table_with_a_name_that_is_not_there_is_found():
    page = "| a | lehr |\n|---|---|\n| `X()` | `learn.fitt(1)`, `run.history`, `EarlyStoping()` |"
    assert absent(page) == {"learn.fitt", "EarlyStoping"}
