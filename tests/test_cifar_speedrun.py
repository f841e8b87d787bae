"""bench/cifar_speedrun.py: as callbacks and by hand, the recipe comes to the same weights."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lehr import Callback

ROOT = Path(__file__).parents[1]


@pytest.fixture
def speedrun(monkeypatch):
    """The script, with a few images that are no photographs."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    script = importlib.import_module("cifar_speedrun")
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat_interleave(12)
    pixels = torch.randint(256, (120, 3, 32, 32), generator=draw, dtype=torch.uint8)
    monkeypatch.setattr(
        script,
        "photographs",
        lambda: (pixels // 2 + labels.byte()[:, None, None, None] * 12, labels),
    )
    small = replace(script.SMOKE, widths=(4, 6, 8), batch_size=16, held=20, every=1)
    monkeypatch.setattr(script, "SMOKE", small)
    return script


class Keep(Callback):
    """The training batches, as the model gets them."""

    looks_on = True

    def begin_fit(self, run):
        self.batches = {}

    def after_loss(self, run):
        if run.training:
            self.batches.setdefault(run.epoch, []).append((run.xb.clone(), run.yb))


def by_lehr(speedrun, recipe, images):
    learn, keep = speedrun.learner(recipe, images, 3, half=False), Keep()
    learn.fit(steps=images.steps(recipe), callbacks=[keep])
    return learn.model, keep.batches


def differs(a, b):
    """The largest difference of any weight or statistic."""
    b = b.state_dict()
    return max(
        (value.double() - b[name]).abs().max().item() for name, value in a.state_dict().items()
    )


@pytest.mark.slow
def test_both_come_to_the_same_weights(speedrun):
    """Over five epochs: the first bias is frozen after three, Lookahead moves several times."""
    recipe = replace(speedrun.SMOKE, epochs=5)
    images = speedrun.Images.read(recipe, "cpu")
    assert images.steps(recipe) == 30
    model, batches = by_lehr(speedrun, recipe, images)
    assert {len(epoch) for epoch in batches.values()} == {6}

    def by_hand(**others):
        changed = replace(recipe, **others)
        return speedrun.trained_by_hand(changed, images, 3, half=False, batches=batches.get)

    assert differs(model, by_hand()) < 2e-5
    for others in ({"smoothing": 0.0}, {"k": 4}, {"whitening_epochs": 1}, {"bias_scale": 32.0}):
        assert differs(model, by_hand(**others)) > 2e-4, others


def test_the_first_layer_whitens_and_the_others_begin_as_the_identity(speedrun):
    recipe = speedrun.SMOKE
    x = speedrun.Images.read(recipe, "cpu").some
    model = speedrun.network(x, recipe.widths, 0)
    out = model[0](x).transpose(0, 1).flatten(1)[:12]  # the others are the negatives
    torch.testing.assert_close(out @ out.T / out.shape[1], torch.eye(12), atol=5e-3, rtol=0)
    convolutions = [m for m in model[1:] if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 6
    same = convolutions[1]
    inner = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(same(inner), inner)
    assert not model[0].weight.requires_grad
    assert model[0].bias.requires_grad


def test_numbers_of_the_optimizer_are_those_of_the_recipe(speedrun):
    """For a sum over 1,024 items: 11.5 over 1 + 1 / (1 - 0.85), as the paper's script has it."""
    recipe = speedrun.Recipe(widths=(4, 4, 4))
    others, biases = speedrun.optimizer(
        speedrun.network(torch.randn(9, 3, 32, 32), recipe.widths, 0), recipe
    ).param_groups
    assert others["lr"] == pytest.approx(1.5)
    assert biases["lr"] == pytest.approx(96)
    for group in (others, biases):
        assert group["lr"] * group["weight_decay"] == pytest.approx(0.0153 * 1.5 / 11.5)
    assert (len(others["params"]), len(biases["params"])) == (8, 6)


def test_crops_and_mirrors_by_hand_are_windows_of_the_image(speedrun):
    torch.manual_seed(0)
    x = torch.arange(2 * 3 * 8 * 8.0).view(2, 3, 8, 8)
    wider = nn.functional.pad(x, (2,) * 4, "reflect")
    seen = set()
    for _ in range(60):
        for image, moved in zip(wider, speedrun.cropped(x, 2), strict=True):
            places = [
                (i, j)
                for i in range(5)
                for j in range(5)
                if moved.equal(image[:, i : i + 8, j : j + 8])
            ]
            assert len(places) == 1
            seen.update(places)
    assert len(seen) == 25
    recipe = replace(speedrun.SMOKE, batch_size=1, crop=0)
    batches = speedrun.own_batches(recipe, x, torch.arange(2))
    first, second = ({int(y): xb for xb, y in batches(epoch)} for epoch in (0, 1))
    for number in range(2):
        assert first[number].equal(second[number].flip(-1))


def test_views_are_six_and_weigh_one_in_all(speedrun):
    x = torch.randn(2, 3, 32, 32)
    weights, views = speedrun.WEIGHTS, [*speedrun.views(x)]
    assert len(weights) == len(views)
    assert sum(weights) == 1
    assert {view.shape for view in views} == {x.shape}
    assert views[0].equal(x)
    assert views[1].equal(x.flip(-1))
    assert views[2][..., 1:, 1:].equal(x[..., :-1, :-1])


def test_accuracy_is_that_of_the_mean_over_the_views_in_both(speedrun):
    recipe = speedrun.SMOKE
    images = speedrun.Images.read(recipe, "cpu")
    learn = speedrun.learner(recipe, images, 1, half=False)
    run = learn.fit(steps=3)
    by_hand = speedrun.accuracy_by_hand(learn.model, images, half=False)
    assert run.history["accuracy"] == [pytest.approx(by_hand)]
    assert learn.model[0].bias.requires_grad  # put back


@pytest.mark.slow
def test_smoke_tells_of_both(speedrun, capsys):
    speedrun.main(["--smoke"])
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["hand-written", "lehr"]
    assert all("accuracy 0." in line or "accuracy 1." in line for line in said)
