"""docs/ablation.md: rendered from the committed results; its script can be stopped and goes on."""

import importlib
import json
from pathlib import Path

import pytest
import torch

import lehr
from lehr import models
from lehr.callbacks import ClipGradients
from lehr.data import Dataset

ROOT = Path(__file__).parents[1]


@pytest.fixture
def ablation(tmp_path, monkeypatch):
    """The script, with a folder and a page of its own, and a few small images."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    script = importlib.import_module("ablation")
    monkeypatch.setattr(script.results, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(script, "PAGE", tmp_path / "ablation.md")
    tasks = {
        "mnist": script.Task(lambda: None, (4,), 2, epochs=2, moves={"shift": 0.1}),
        "cifar10": script.Task(lambda: None, (4,), 2, epochs=1, moves={"flip": 0.5}),
    }
    monkeypatch.setattr(script, "TASKS", tasks)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(600, 1, 8, 8, generator=draw)
    y = (x.mean((1, 2, 3)) > 0).long() + 2 * (x[:, 0, 0, 0] > 0).long()
    monkeypatch.setattr(script, "parts", lambda name: (Dataset(x[:96], y[:96]), Dataset(x, y)))
    return script


def written(script):
    (path,) = script.results.FOLDER.iterdir()
    return json.loads(path.read_text())["rows"]


def run(script, *arguments):
    script.main(["--threads", str(torch.get_num_threads()), *arguments])


def test_the_page_is_what_the_results_say(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "bench")
    script = importlib.import_module("ablation")
    files = sorted(script.results.FOLDER.glob("ablation_*.json"))
    rows = json.loads(files[-1].read_text())["rows"] if files else {}
    assert script.PAGE.read_text(encoding="utf-8") == script.page(rows)


def test_every_technique_has_a_row_on_the_page_whatever_it_brought(ablation):
    """What is worse than the recipe has its line as what is better, and what was not measured says
    that it awaits a run."""
    base, worse = {"all": [0.5, 0.6, 0.7], "seconds": [2, 4, 6]}, {"all": [0.1], "seconds": [8]}
    page = ablation.page({"mnist: the recipe alone": base, "mnist: MixUp": worse})
    assert "| the recipe alone | 0.600 | 0.500 – 0.700 |  | 1.00 |" in page
    assert "| MixUp | 0.100 | 0.100 – 0.100 | -50.0 | 2.00 |" in page
    assert "| SWA | awaits a run | | | |" in page
    for label in ablation.ROWS:
        assert page.count(f"| {label} |") == len(ablation.TASKS), label


def test_it_goes_on_where_it_was_stopped(ablation, monkeypatch):
    """Ctrl-C in the third training of five: two are on disk, and the next call makes the other
    three, with the seeds that they would have had."""
    rows = ["--only", "mnist", "--rows", "the recipe alone", "MixUp"]
    run(ablation, *rows, "--seeds", "2")
    whole = {name: row["all"] for name, row in written(ablation).items()}
    assert {len(found) for found in whole.values()} == {2}
    assert len({*whole["mnist: the recipe alone"], *whole["mnist: MixUp"]}) > 2
    (path,) = ablation.results.FOLDER.iterdir()
    path.unlink()

    trained, calls = ablation.trained, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return trained(*arguments)

    monkeypatch.setattr(ablation, "trained", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(ablation, *rows, "--seeds", "2")
    assert [len(row["all"]) for row in written(ablation).values()] == [2]
    run(ablation, *rows, "--seeds", "2")
    assert len(calls) == 5  # two, the one that was stopped, and two
    assert {name: row["all"] for name, row in written(ablation).items()} == whole
    run(ablation, *rows, "--seeds", "3")
    assert len(calls) == 7
    run(ablation, *rows[:2], "--rows", "MixUp", "--seeds", "1", "--again")
    assert [len(row["all"]) for row in written(ablation).values()] == [3, 1]


@pytest.mark.slow
def test_every_row_trains(ablation, capsys):
    """A few steps of each, and how long all would take; nothing is written."""
    run(ablation, "--steps", "2", "--seeds", "1")
    said = capsys.readouterr().err
    assert said.count("1 times") == 2 * len(ablation.ROWS)
    assert "hours of one core" in said
    assert not ablation.results.FOLDER.exists()
    assert not ablation.PAGE.exists()


def test_half_the_epochs_for_two_gradients_a_step(ablation):
    task, rows = ablation.TASKS["mnist"], ablation.ROWS
    assert rows["SAM, half the epochs"].epochs(task) * 2 == rows[ablation.BASE].epochs(task)


def gradients(callbacks):
    """What the weights are given in the first step, with and without."""

    class Keep(lehr.Callback):
        def step(self, run, proceed):
            self.grads = [p.grad.clone() for p in run.trained_parameters()]
            proceed()

    keep = Keep()
    model = models.mlp(64, 10)
    bunch = lehr.DataBunch([(torch.ones(4, 64) + torch.eye(64)[:4], torch.arange(4))])
    lehr.Learner(
        model,
        lambda p: torch.optim.SGD(p, lr=0.1),
        torch.nn.functional.cross_entropy,
        bunch,
        [keep, *callbacks],
        progress=False,
    ).fit(1)
    return keep.grads


def test_central_gradients_have_mean_zero_for_each_output(ablation):
    lehr.seed(0)
    torch.manual_seed(0)
    plain = gradients([])
    torch.manual_seed(0)
    central = gradients([ablation.CentralGradients()])
    assert central[0].mean(1).abs().max() < 1e-6 < plain[0].mean(1).abs().max()
    torch.testing.assert_close(central[0], plain[0] - plain[0].mean(1, keepdim=True))
    assert torch.equal(central[1], plain[1])


def test_noise_is_added_to_gradients_before_they_are_clipped(ablation):
    lehr.seed(0)
    torch.manual_seed(0)
    plain = gradients([])
    torch.manual_seed(0)
    noisy = gradients([ablation.GradientNoise(0.01)])
    noise = torch.cat([(b - a).flatten() for a, b in zip(plain, noisy, strict=True)])
    assert noise.std().item() == pytest.approx(0.1, rel=0.1)
    clipped = gradients([ClipGradients(0.5), ablation.GradientNoise(0.01)])
    assert torch.cat([g.flatten() for g in clipped]).norm() < 0.5 + 1e-4
