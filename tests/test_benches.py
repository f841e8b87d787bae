"""bench/larger_models.py, scale.py and gpu.py: what is compared does the same work, and is told."""

import importlib
import json
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn, optim

ROOT = Path(__file__).parents[1]


def script(name, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "bench")
    found = importlib.import_module(name)
    if hasattr(found, "results"):
        monkeypatch.setattr(found.results, "FOLDER", tmp_path / "results")
    return found


@pytest.fixture
def tasks(monkeypatch, tmp_path):
    return script("tasks", monkeypatch, tmp_path)


@pytest.fixture
def larger(monkeypatch, tmp_path, small):
    found = script("larger_models", monkeypatch, tmp_path)
    monkeypatch.setattr(found, "TASKS", {"a small net": small})
    kinds = {"eager": False, "compile=True": "eager"}  # a backend that compiles nothing
    monkeypatch.setattr(found, "KINDS", kinds)
    return found


@pytest.fixture
def scale(monkeypatch, tmp_path):
    found = script("scale", monkeypatch, tmp_path)
    monkeypatch.setattr(found, "EPOCH", 16)
    monkeypatch.setattr(found, "BLOCK", 8)
    return found


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    found = script("gpu", monkeypatch, tmp_path)
    monkeypatch.setattr(found, "KINDS", {"eager": False, "compiled": "eager"})
    monkeypatch.setattr(found, "WRAPS", dict.fromkeys(found.KINDS, found.in_bfloat16))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return found


@pytest.fixture
def small(tasks):
    def net():
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 10))

    draw = partial(tasks.random_images, shape=(1, 4, 4))
    return tasks.Task(net, draw, 8, partial(optim.SGD, lr=0.1), steps=3)


def written(module):
    (path,) = module.results.FOLDER.iterdir()
    return json.loads(path.read_text())


# -- what is trained


def trained(task, **others):
    """The weights after a turn by hand, and after one by lehr."""
    items, models = task.items(), []
    replace(task, **others).by_hand(items, lambda model: models.append(model) or model)()
    learn, fit = task.by_lehr(items)
    fit()
    return models[0].state_dict(), learn.model.state_dict()


def test_a_turn_by_hand_and_one_by_lehr_do_the_same(small):
    """One batch of all items, whose order is then no matter."""
    whole = replace(small, steps=1)
    by_hand, by_lehr = trained(whole)
    for name, weight in by_hand.items():
        torch.testing.assert_close(weight, by_lehr[name])
    by_hand, by_lehr = trained(whole, opt=partial(optim.SGD, lr=0.2))
    assert not torch.allclose(by_hand["1.weight"], by_lehr["1.weight"])


def test_the_transformer_sees_no_later_token(tasks):
    torch.manual_seed(0)
    model = tasks.GPT(16, 2, 2, 8)
    tokens, following = tasks.random_tokens(3, 8)
    assert tokens[:, 1:].equal(following[:, :-1])
    pred = model(tokens)
    assert pred.shape == (3, 8, tasks.VOCABULARY)
    tokens[:, 5] += 1
    tokens %= tasks.VOCABULARY
    same = (model(tokens) - pred).abs().amax((0, 2)) < 1e-6
    assert same.tolist() == [True] * 5 + [False] * 3


def test_the_resnet_has_eighteen_layers(tasks):
    layers = [m for m in tasks.resnet18().modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    wide = [m for m in layers if isinstance(m, nn.Linear) or m.kernel_size == (3, 3)]
    assert len(wide) == 18


# -- larger models


@pytest.mark.slow
def test_larger_models_have_a_row_for_each_kind_of_loop(larger, page):
    larger.main(["--repeats", "2", "--threads", str(torch.get_num_threads())])
    result = written(larger)
    assert list(result["rows"]) == [
        f"a small net: {kind}" for kind in ("hand-written", "eager", "compile=True")
    ]
    for row in result["rows"].values():
        low, high = row["range"]
        assert 0 < low <= row["ratio"] <= high
        assert "said" not in row
    assert page.larger(result).count("| a small net: ") == 3


def test_what_is_not_fused_says_so(larger, small, page):
    larger.TASKS["a small net"] = replace(small, model=hooked)
    rows = larger.measured(larger.TASKS["a small net"], 1)
    assert "hooks" in rows["compile=True"]["said"]
    assert "said" not in rows["eager"]
    assert "hooks" in page.larger({"rows": rows})


def hooked():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    model[1].register_forward_hook(lambda *_: None)
    return model


# -- scale


@pytest.mark.slow
def test_a_long_run_is_timed_in_blocks_beside_the_hand_written_loop(scale, page, tmp_path):
    assert scale.marks(977) == [2, 10, 30, 98, 300, 977]
    rows = {"silent callbacks": scale.silent_rows(1, epochs=1)}
    assert list(rows["silent callbacks"]) == ["0", "4", "16", "64"]
    rows |= scale.long_run(12 * 16)
    assert list(rows["steps done"]) == ["32", "160", "192"]
    assert rows["memory"]["steps"] == [16 * (i + 1) for i in range(12)]
    assert all(10 < mb < 100_000 for mb in rows["memory"]["megabytes"])
    rows["first step"] = {"hand-written": rows["silent callbacks"]["0"]}
    text = page.scale({"rows": rows})
    assert "| 160 | " in text
    assert "| 64 | " in text
    scale.draw(rows, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").stat().st_size > 5_000


def test_blocks_cover_the_epochs_up_to_a_mark(scale):
    blocks = scale.Blocks(12)
    scale.tiny_learner(blocks).fit(12)
    pairs = {mark: len(times["lehr"]) for mark, times in blocks.seconds.items()}
    assert pairs == {2: 2, 10: 4, 12: 10}  # two blocks in each of five epochs, if no mark follows
    assert [len(times["hand-written"]) for times in blocks.seconds.values()] == [2, 4, 10]


def test_a_script_without_a_step_is_no_time(scale):
    assert scale.seconds_to_first_step('print("first step done")') > 0
    with pytest.raises(RuntimeError, match="no step was made by\npass"):
        scale.seconds_to_first_step("pass")


def test_each_script_makes_its_first_step(scale, capsys):
    """Here: a script in a process of its own is timed above."""
    for title, text in scale.SCRIPTS.items():
        exec(text, {"__name__": "__main__"})
        assert "first step done\n" in capsys.readouterr().out, title


# -- on a GPU


@pytest.mark.slow
def test_smoke_writes_figures_and_a_page_that_names_the_device(gpu, tmp_path, capsys):
    arguments = ["--smoke", "--repeats", "1", "--out", str(tmp_path / "out")]
    gpu.main([*arguments, "--kinds", "compiled", "--only", "MLP"])
    compiled = (tmp_path / "out" / "gpu.md").read_text(encoding="utf-8")
    assert "| MLP, compiled | " in compiled
    gpu.main([*arguments, "--kinds", "eager"])
    names = [f"{name}, eager" for name in gpu.TASKS]
    (figures,) = (tmp_path / "out").glob("gpu_*.json")
    result = json.loads(figures.read_text())
    assert result["hardware"] == gpu.results.hardware()
    for name in names:
        assert "failed" not in result["rows"][name], name
    text = (tmp_path / "out" / "gpu.md").read_text(encoding="utf-8")
    assert result["hardware"].split("-")[0] in text
    for name in names:
        assert f"| {name} | " in text
    assert text.count(f"| {gpu.NOT_COUNTED} |") == len(names)
    assert text in capsys.readouterr().out
    assert not gpu.results.FOLDER.exists()


def test_what_fails_or_comes_too_late_has_a_row_that_says_so(gpu, small, monkeypatch, capsys):
    def fails(items):
        raise MemoryError("no room | at all")

    monkeypatch.setitem(gpu.SMOKE, "MLP", replace(small, data=fails))
    gpu.main(["--smoke", "--minutes", "1", "--only", "MLP"])
    said = capsys.readouterr().out
    assert "| MLP, eager: MemoryError: no room \\| at all | – |" in said
    assert "| MLP, compiled: not begun after 0.0 minutes | – |" in said


def test_without_a_gpu_nothing_else_is_measured(gpu, capsys):
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "there is no GPU that torch can use; --smoke" in capsys.readouterr().err


def test_waits_of_a_step_are_those_that_a_longer_fit_has_more(gpu, monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def fit(steps):
        warnings.warn("something else", stacklevel=1)
        for _ in range(3 + 2 * steps):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    found = gpu.waits_a_step(partial(fit, 4), partial(fit, 8), 4)
    assert found["waits_a_step"] == 2
    ((place, times),) = found["waits_at"].items()
    assert place.startswith("test_benches.py:")
    assert times == 8
    assert modes == ["warn", "default"] * 2
    assert gpu.waits_a_step(partial(fit, 4), partial(fit, 4), 4)["waits_a_step"] == 0
