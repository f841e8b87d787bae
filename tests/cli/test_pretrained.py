"""``--weights`` and models of packages, from the training to the export; timm is a stand-in."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lehr.cli import job, pretrained
from lehr.models import Pretrained

from ..models.conftest import timm as timm  # the fixture

QUICK = ("--lr", 0.01, "--seed", 0, "--batch-size", 4, "--workers", 0)


@pytest.fixture
def photos(timm):
    """Grey images of two classes, and the weights that timm would have in its cache."""
    for label, name in enumerate(("dark", "light")):
        Path("photos", name).mkdir(parents=True)
        for i in range(8):
            pixels = np.random.default_rng(i).integers(0, 60, (10, 10), dtype=np.uint8)
            Image.fromarray(pixels + np.uint8(150 * label)).save(Path("photos", name, f"{i}.png"))
    timm.CACHE = Path("cache.pt").absolute()
    torch.manual_seed(0)
    torch.save(timm.Net(5, 3).state_dict(), timm.CACHE)
    return timm


def body(weights):
    return {name: value for name, value in weights.items() if not name.startswith("fc.")}


def same(a, b):
    return all(a[name].equal(b[name]) for name in body(b))


def test_a_run_with_pretrained_weights_does_all_that_runs_do(succeed, refused, config, photos):
    tuning = ("--model", "timm:tiny_net", "--epochs", 2, "--seed", 1)  # whose second epoch is best
    out = succeed("train", "photos", *tuning, *QUICK, "--out", "a")
    assert "from   the weights of timm:tiny_net; the head, fc, is new, trained alone for 1" in out
    assert "lr     0.01 at the head, falling to 0.0001 at the input; a cycle for the head" in out
    settings = config("a")["settings"]
    assert (settings["weights"], settings["freeze_epochs"]) == ("pretrained", 1)
    form = config("a")["preparation"]
    assert (form["mode"], form["size"]) == ("RGB", [16, 16])  # grey: the same in each channel
    assert (form["mean"], form["std"]) == ([0.5, 0.25, 0.125], [0.5, 0.5, 0.25])
    before = torch.load(photos.CACHE, weights_only=True)
    assert config("a")["kept"]["epoch"] == 1
    assert not same(load_file("a/model.safetensors"), before)  # the second epoch trains all

    photos.CACHE.unlink()
    photos.CACHE = None  # neither a cache nor a network is needed from here on
    del photos.ASKED[:]
    assert "accuracy: " in succeed("evaluate", "a")
    assert succeed("predict", "a", "photos/dark/0.png").startswith("file,prediction,dark,light\n")
    assert "report: " in succeed("report", "a")
    assert "2 epochs → 3" in succeed("resume", "a", "--epochs", 3)
    assert not any(photos.ASKED)
    sys.modules["timm"] = None
    try:
        message = refused("evaluate", "a", code=1)
    finally:
        sys.modules["timm"] = photos
    assert message.startswith("timm:tiny_net needs the package timm")
    assert message.endswith("Install it: pip install timm")


def test_the_head_alone_is_trained_as_long_as_is_said(succeed, config, photos):
    before = torch.load(photos.CACHE, weights_only=True)
    save_file(before, "old.safetensors")
    options = ("--model", "timm:tiny_net", "--weights", "old.safetensors", "--epochs", 2)
    succeed("train", "photos", *options, "--freeze-epochs", 2, *QUICK, "--out", "a")
    trained = load_file("a/model.safetensors")
    assert same(trained, before)
    assert trained["fc.weight"].shape == (2, 6)
    assert photos.ASKED == [False]
    assert config("a")["settings"]["weights"] == str(Path("old.safetensors").absolute())
    assert (
        "--weights " + str(Path("old.safetensors").absolute()) in config("a")["settings"]["command"]
    )
    assert "--freeze-epochs 2" in config("a")["settings"]["command"]


def test_a_stopped_fine_tuning_goes_on_bit_for_bit(succeed, photos):
    options = ("--model", "timm:tiny_net", "--epochs", 3, *QUICK, "--quiet")
    succeed("train", "photos", *options, "--out", "whole")
    shutil.copytree("whole", "part")
    for late in sorted(Path("part/checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(late)
    about = json.loads(Path("part/config.json").read_text())
    Path("part/config.json").write_text(json.dumps({**about, "status": "running"}))
    succeed("resume", "part", "--quiet")
    ends = [load_file(f"{run}/model.safetensors") for run in ("whole", "part")]
    assert ends[0].keys() == ends[1].keys()
    assert all(ends[0][name].equal(ends[1][name]) for name in ends[0])


def test_another_run_gives_model_weights_and_preparation(succeed, config):
    quick = ("--epochs", 1, "--seed", 0, "--quiet")
    succeed("train", "digits", "--model", "mlp", *quick, "--out", "first")
    succeed(
        "train", "digits", "--weights", "first", "--freeze-epochs", 1, *quick, "--out", "second"
    )
    settings, form = config("second")["settings"], config("second")["preparation"]
    assert settings["model"] == "mlp"
    assert form == config("first")["preparation"]
    first, second = (load_file(f"{run}/model.safetensors") for run in ("first", "second"))
    assert first["1.weight"].equal(second["1.weight"])  # the body; it was frozen
    assert not first["3.weight"].equal(second["3.weight"])


def test_random_weights_are_trained_as_any_model(succeed, config, photos):
    options = ("--model", "timm:tiny_net", "--weights", "none", "--epochs", 1, *QUICK)
    assert "from " not in succeed("train", "photos", *options, "--out", "a")
    assert "freeze_epochs" not in config("a")["settings"]
    assert config("a")["preparation"]["mode"] == "L"
    assert photos.ASKED[0] is False


def test_what_cannot_be_begun_with_is_refused(refused, photos):
    def message(*options, code=2):
        return refused("train", "photos", *options, code=code)

    assert "timm has no model 'tiny_nett'" in message("--model", "timm:tiny_nett")
    assert message("--weights", "pretrained").startswith(
        "weights pretrained is for models of timm:"
    )
    assert message("--freeze-epochs", 1) == (
        "--freeze-epochs is for trainings that begin with --weights. Leave it out."
    )
    assert message("--weights", "nowhere.pt") == (
        "there are no weights nowhere.pt. Use one of: pretrained, none. Or give the path of a file "
        "or a run folder."
    )
    assert "Give --weights cache.pt, and --model" in message("--model", "cache.pt")
    tiny = ("--model", "timm:tiny_net")
    assert "at most the 2 epochs" in message(*tiny, "--epochs", 2, "--freeze-epochs", 3)
    assert "rate of its own" in message(*tiny, "--schedule", "constant(0.1)")
    photos.CACHE = None
    assert "Or give a file with --weights" in message(*tiny, *QUICK, code=1)
    wrong = ("--model", "resnet", "--weights", "cache.pt", *QUICK)
    assert "the weights in" in message(*wrong, code=1)
    assert not Path("runs").exists()


def test_a_network_that_does_not_say_how_images_are_scaled_is_warned_of(monkeypatch):
    Path("photos").mkdir()
    silent = Pretrained("hf:somebody/net", size=(32, 32), config="{}")
    monkeypatch.setattr(pretrained, "pretrained", lambda name: silent)
    with pytest.warns(UserWarning, match="hf:somebody/net does not say how its images are scaled"):
        begun = pretrained.start("photos", "hf:somebody/net", None)
    assert begun.data_options == {"size": (32, 32)}
    begun = pretrained.start("photos", "hf:somebody/net", "none")  # then nothing depends on it
    assert (begun.weights, begun.data_options, begun.config) == (None, {}, "{}")


def test_named_sets_are_enlarged_only_as_far_as_needed(monkeypatch):
    net = Pretrained("timm:net", (0.5,) * 3, (0.5,) * 3, (224, 224))
    for any_size, size in ((True, (64, 64)), (False, (224, 224))):
        fixed = replace(net, any_size=any_size)
        monkeypatch.setattr(pretrained, "pretrained", lambda name, fixed=fixed: fixed)
        assert pretrained.start("digits", "timm:net", None).data_options["size"] == size


def test_a_found_rate_is_that_of_the_head(photos):
    settings = job.prepare({"source": "photos", "model": "timm:tiny_net", "num_workers": 0})
    assert (settings["epochs"], settings["lr"]) == (pretrained.EPOCHS, 1e-3)
    opened = job.open_job(settings)
    opened.take_lr(0.5)
    rates = [group["lr"] for group in opened.learn.opt.param_groups]
    assert rates == pytest.approx([0.005, 0.05, 0.5])
    assert [group["name"] for group in opened.learn.opt.param_groups][-1] == "new head"
    assert [type(callback).__name__ for callback in opened.callbacks][:2] == [
        "Freeze",
        "ParamScheduler",
    ]
