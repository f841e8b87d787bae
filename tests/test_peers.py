"""bench/peers.py: what is timed has done the work, and who has no figures has a reason."""

import argparse
import importlib
import re
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "bench" / "peers"


@pytest.fixture(scope="module")
def peers():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "bench")
        yield importlib.import_module("peers")


@pytest.fixture(scope="module")
def trial():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "bench")
        patch.syspath_prepend(SCRIPTS)
        yield importlib.import_module("trial")


@pytest.fixture
def task(trial):
    return trial.Task(*trial.teach(640, seed=2), epochs=2)


def options(**others):
    usual = {"pairs": 1, "items": 640, "epochs": 1, "threads": torch.get_num_threads()}
    usual |= {"share": True, "install_minutes": 5, "limit_minutes": 5, "show": False}
    return argparse.Namespace(**usual | others)


# -- the work


def trained_accuracy(trial, *, last_layer_alone):
    x, y = trial.teach(8_000, seed=2)
    model = trial.new_model()
    trained = model[2] if last_layer_alone else model
    entry = trial.Entry(model, lambda: fit)
    make = trial.partial(torch.optim.SGD, lr=trial.LR)
    fit = trial.hand_written(x, y, lambda _: make(trained.parameters()), 2, model)
    entry.seconds()
    return entry.accuracy(*trial.teach(1_000, seed=3))


@pytest.mark.slow
def test_accuracy_tells_a_training_from_one_that_is_broken(trial):
    assert trained_accuracy(trial, last_layer_alone=False) > 0.9
    assert trained_accuracy(trial, last_layer_alone=True) < 0.2


def test_every_fit_starts_from_the_same_weights(trial):
    model = trial.new_model()
    before = model[2].bias.detach().clone()
    entry = trial.Entry(model, lambda: lambda: model[2].bias.data.add_(1))
    for _ in range(2):
        entry.seconds()
        assert torch.equal(model[2].bias, before + 1)


def test_what_is_made_for_a_fit_is_not_on_the_clock(trial):
    def ready():
        time.sleep(0.2)
        return lambda: None

    assert trial.Entry(trial.new_model(), ready).seconds() < 0.2


def test_a_variant_has_figures_or_a_reason(trial, task):
    def half(task):
        return trial.by_hand(trial.Task(task.x, task.y, 1))

    def lazy(task):
        model = trial.new_model()
        return trial.Entry(model, lambda: lambda: None, lambda: 0)

    def broken(task):
        raise RuntimeError("no such loader\nand more")

    makers = {"right": trial.by_hand, "half": half, "lazy": lazy, "broken": broken}
    rows = trial.measured(makers, task, trial.teach(100, seed=3), pairs=3)
    assert list(rows) == ["hand-written", *makers]
    assert rows["hand-written"]["ratio"] == 1.0
    assert rows["right"]["accuracy"] == pytest.approx(rows["hand-written"]["accuracy"], abs=0.1)
    low, high = rows["right"]["range"]
    assert 0 < low <= rows["right"]["ratio"] <= high
    assert rows["half"] == {"failed": "made 10 updates instead of 20"}
    assert rows["lazy"] == {"failed": "made 0 updates instead of 20"}
    assert rows["broken"] == {"failed": "RuntimeError: no such loader"}


def test_validation_counts_for_no_update(trial, task):
    model = trial.new_model()

    def fit():
        for training in (True, False):
            model.train(training)
            F.cross_entropy(model(task.x[:64]), task.y[:64])

    assert trial.Entry(model, lambda: fit).counted()[0] == 1


# -- the peers


def test_every_peer_has_a_script_and_a_version(peers):
    scripts = {path.name.removesuffix("_rows.py") for path in SCRIPTS.glob("*_rows.py")}
    assert scripts == set(peers.peers())
    for name, peer in peers.peers().items():
        script = (SCRIPTS / f"{name}_rows.py").read_text(encoding="utf-8")
        assert re.findall(r'trial\.main\("(.+?)"', script) == [peer["package"]]
        pinned = [*peer.get("without_dependencies", []), *peer.get("requires", [])]
        versions = [pin for pin in pinned if pin.startswith(f"{peer['package']}==")]
        assert len(versions) == (name != "lehr")


def test_a_script_runs_in_a_terminal(peers):
    code = "import sys, os; print(sys.stdout.isatty(), os.get_terminal_size().columns); sys.exit(3)"
    command = [sys.executable, "-c", code]
    assert peers.in_terminal(command, {}, 1) == (3, f"True {peers.COLUMNS}\r\n")


@pytest.mark.slow
def test_what_does_not_install_or_run_is_a_row_with_its_reason(peers, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path / "environments")
    monkeypatch.setattr(peers, "SCRIPTS", tmp_path)
    missing = {"package": "some", "requires": [str(tmp_path / "no-such-package")]}
    row = peers.measured("some", missing, options())
    assert row.keys() == {"package", "failed"}
    assert re.match("does not install: .*no-such-package", row["failed"])

    there = {"package": "some"}
    (tmp_path / "some_rows.py").write_text(
        "print('almost \\x1b[1mthere\\x1b[0m\\n'); raise SystemExit(3)"
    )
    row = peers.measured("some", there, options())
    assert row == {"package": "some", "failed": "its script ended with 3: almost there"}

    (tmp_path / "some_rows.py").write_text("print('nothing to tell')")
    row = peers.measured("some", there, options())
    assert row["failed"] == "its script ended with 0: nothing to tell"

    (tmp_path / "some_rows.py").write_text("import time; time.sleep(60)")
    row = peers.measured("some", there, options(limit_minutes=0.01))
    assert row["failed"] == "did not end within 0.01 minutes"

    line = '{"package": "some", "version": "1", "torch": "1.0", "minutes": 0, "rows": {}}'
    (tmp_path / "some_rows.py").write_text(f"print('bar', end='')\nprint()\nprint('{line}')")
    row = peers.measured("some", there, options())
    assert row["failed"] == f"came with torch 1.0 instead of {torch.__version__}"


@pytest.mark.slow
def test_our_own_rows(peers, tmp_path, monkeypatch):
    """With the backend of ``torch.compile`` that does not wait for a compiler."""
    rows = (SCRIPTS / "lehr_rows.py").read_text(encoding="utf-8")
    assert rows.count('compile="always"') == 1
    (tmp_path / "lehr_rows.py").write_text(rows.replace('compile="always"', 'compile="eager"'))
    (tmp_path / "trial.py").symlink_to(SCRIPTS / "trial.py")
    ours = peers.peers()["lehr"]
    monkeypatch.setattr(peers, "SCRIPTS", tmp_path)
    row = peers.measured("lehr", ours, options())
    assert list(row["variants"]) == ["hand-written", "default", "tuned", "fused"]
    for variant in row["variants"].values():
        assert variant["ratio"] > 0, variant
        assert 0 <= variant["accuracy"] <= 1
    assert row["options"]["items"] == 640
