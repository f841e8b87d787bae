"""Wherever lehr takes a path, ``~`` at its beginning is the home folder."""

import ast
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import lehr
from lehr import cli, data, models
from lehr.base.paths import path_of
from lehr.base.user_cache import user_cache
from lehr.callbacks import Checkpoint, CSVLog, JSONLLog
from lehr.data.published.mnist import read_mnist
from lehr.export import weights
from lehr.report import RunFolder, RunRecord, compare, write_report
from lehr.report.comparison_page import write_comparison
from lehr.testing import tiny_learner

SOURCE = Path(lehr.__file__).parent


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, which is not where the program runs."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(elsewhere)
    yield home
    assert list(elsewhere.iterdir()) == []  # and no folder called "~"


def test_only_the_beginning_is_taken_for_the_home_folder(home):
    assert path_of("~") == home
    assert path_of("~/a", "b") == path_of(Path("~/a/b")) == home / "a" / "b"
    for path in ("a/~/b", "./~", "a~", "/a", "~nobody-is-called-so/a"):
        assert path_of(path) == Path(path)


def test_whatever_stands_for_a_path_is_taken_as_it_reads(home):
    class Stands:
        def __fspath__(self):
            return "~/a"

    assert path_of(Stands()) == home / "a"


def fitted(*callbacks):
    learn = tiny_learner(callbacks)
    learn.fit(1)
    return learn


def run_folder(name):
    learn = fitted()
    RunFolder.create(f"~/{name}").write(learn)


def photos(home):
    draw = np.random.default_rng(0)
    for number in range(8):
        file = home / "photos" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (5, 5, 3), dtype=np.uint8)).save(file)


def reads_images(home):
    photos(home)
    bunch = data.image_folder("~/photos", cache="~/kept")
    assert any((home / "kept").iterdir())
    [(names, _)] = bunch.preparation.batches(["~/photos/a/0.png"])
    return names


def reads_tables(home):
    (home / "a.csv").write_text("x,y\n" + "1,0\n2,1\n" * 8)
    return data.table("~/a.csv", "y"), data.open_data("~/a.csv", target="y")


def reads_arrays(home):
    np.savez(home / "a.npz", x=np.ones((8, 2), "f4"), y=np.arange(8) % 2)
    return data.arrays_file("~/a.npz"), data.open_data("~/a.npz")


def looks_for_published_sets(home):
    (home / "sets").mkdir()
    with pytest.raises(FileNotFoundError, match=f"must be in one of {home}/sets"):
        read_mnist("~/sets")


def keeps_checkpoints(home):
    learn = fitted(Checkpoint("~/saved"))
    assert tiny_learner().fit(2, resume="~/saved").n_steps == 8
    newest = learn.callbacks[0].newest
    weights(f"~/saved/{newest.name}", "~/w.safetensors")
    return home / "saved", home / "w.safetensors"


def keeps_weights(home):
    learn = fitted()
    learn.save("~/own.safetensors")
    learn.load("~/own.safetensors")
    models.load_body(learn.model, "~/own.safetensors")
    return [home / "own.safetensors"]


def writes_logs(home):
    learn = fitted(CSVLog("~/a.csv"), JSONLLog("~/a.jsonl"))
    history = learn.run.history
    history.to_csv("~/b.csv")
    history.to_jsonl("~/b.jsonl")
    history.to_json("~/b.json")
    return [home / name for name in ("a.csv", "a.jsonl", "b.csv", "b.jsonl", "b.json")]


def writes_reports(home):
    run_folder("one")
    run_folder("two")
    assert RunRecord.read("~/one").path == home / "one"
    assert compare("~/one", "~/two").a.path == home / "one"
    write_comparison("~/one", "~/two", "~/both.html")
    with pytest.raises(FileExistsError):
        RunFolder.create("~/one")
    return write_report("~/one"), home / "both.html"


def imports_models(home):
    (home / "nets.py").write_text(
        "from torch import nn\ndef net(in_features): return nn.Linear(in_features, 2)"
    )
    assert isinstance(models.imported.load("~/nets.py:net", (3,), 2), nn.Module)


def runs_commands(home):
    run_folder("run")
    for words in (["report", "~/run"], ["schedule", "linear(0, 1)", "--out=~/drawn.png"]):
        result = CliRunner().invoke(cli.app, words)
        assert result.exit_code == 0, result.output
    return home / "run" / "report.html", home / "drawn.png"


def keeps_downloads(home):
    assert user_cache("images") == home / "kept" / "images"


PLACES = [
    *(reads_images, reads_tables, reads_arrays, looks_for_published_sets, keeps_checkpoints),
    *(keeps_weights, writes_logs, writes_reports, imports_models, runs_commands, keeps_downloads),
]


@pytest.mark.parametrize("place", PLACES)
def test_it_is_the_home_folder_wherever_a_path_is_given(place, home, monkeypatch):
    monkeypatch.setenv("LEHR_CACHE", "~/kept")
    for made in place(home) or ():
        assert not isinstance(made, Path) or made.exists()


def parameters(function):
    """The names of those that may be something else than a Path."""
    every = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return {
        one.arg for one in every if one.annotation is None or ast.unparse(one.annotation) != "Path"
    }


def paths_made():
    """Where a function makes a path of a parameter without the one function that is for it."""
    for file in SOURCE.rglob("*.py"):
        name = file.relative_to(SOURCE).as_posix()
        if name.startswith("foundations/") or name == "base/paths.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "expanduser":
                yield name, "expanduser"
            if not isinstance(node, ast.FunctionDef):
                continue
            for call in ast.walk(node):
                made = isinstance(call, ast.Call) and ast.unparse(call.func) == "Path"
                if made and any(
                    isinstance(a, ast.Name) and a.id in parameters(node) for a in call.args
                ):
                    yield name, node.name


NO_PATHS_OF_THE_USER = {
    ("base/tracebacks.py", "_is_below"): "the file of a frame",
    ("cli/options.py", "_paths"): "what was typed so far, which the shell completes",
    ("cli/recipes.py", "kind_of"): "the ending alone is looked at",
}


def test_all_of_them_are_made_by_one_function():
    assert set(paths_made()) == set(NO_PATHS_OF_THE_USER)
