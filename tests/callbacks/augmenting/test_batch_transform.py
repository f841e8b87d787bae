"""Batches of images that are changed at random."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from lehr import Callback
from lehr.callbacks import (
    SAM,
    BatchTransform,
    Checkpoint,
    ParamScheduler,
    ProgressiveResizing,
    RandomErasing,
)
from lehr.callbacks.augmenting import draws
from lehr.callbacks.augmenting.batch_transform import CHANGES
from lehr.data.images.resize import resized
from lehr.data.images.warp import moved
from lehr.schedules import sched_lin

from .pictures import Look, learner, pictures, seen

ALL = {
    "flip": 0.5,
    "rotate": 20,
    "zoom": 1.2,
    "shift": 0.2,
    "crop": 2,
    "brightness": 0.1,
    "contrast": 0.2,
    "cutout": 4,
}


def test_without_a_change_the_batch_is_as_it_was():
    assert torch.equal(seen(BatchTransform())[0], pictures())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
@pytest.mark.parametrize("name", ALL)
def test_each_change_changes_each_image_in_its_own_way_and_keeps_its_type(name, dtype):
    one = pictures(dtype, n=1).expand(40, -1, -1, -1).contiguous()
    out = seen(BatchTransform(**{name: ALL[name]}), x=one)[0]
    assert out.dtype == dtype
    assert out.shape == one.shape
    ways = {"flip": 2, "crop": 15, "shift": 15}
    assert len(out.unique(dim=0)) >= ways.get(name, 20)
    if dtype == torch.uint8 and name != "cutout":
        assert out.float().mean() == pytest.approx(one.float().mean(), abs=5)


def test_a_flip_is_torch_flip_of_as_many_as_its_chance_says():
    x = pictures(n=400)
    for chance, low, high in ((0.0, 0, 0), (0.25, 70, 130), (1.0, 400, 400)):
        out = seen(BatchTransform(flip=chance), x=x)[0]
        flipped = (out == x.flip(-1)).flatten(1).all(1)
        assert torch.equal(out[~flipped], x[~flipped])
        assert low <= flipped.sum() <= high


def test_alternating_flips_show_each_image_both_ways_in_any_two_epochs():
    x = pictures(n=400)
    look = Look()
    learn = learner(BatchTransform(flip="alternate"), look, x=x, shuffle=True)
    learn.fit(3)
    learn.fit(1)  # goes on where the first has ended
    keys = x.sum((1, 2, 3)) * 1000 + x.square().sum((1, 2, 3)).remainder(997)
    assert len(keys.unique()) == 400
    flipped = []
    for epoch in range(4):
        out = torch.cat(look.train[50 * epoch : 50 * epoch + 50])
        order = (out.sum((1, 2, 3)) * 1000 + out.square().sum((1, 2, 3)).remainder(997)).argsort()
        out = out[order][keys.argsort().argsort()]  # as they are in x
        mirrored = (out == x.flip(-1)).flatten(1).all(1)
        assert torch.equal(out[~mirrored], x[~mirrored])
        flipped.append(mirrored)
    assert 160 < flipped[0].sum() < 240
    for a, b in pairwise(flipped):
        assert torch.equal(a, ~b)


def test_the_coins_of_alternating_flips_hang_on_the_seed():
    first, again, other = (
        seen(BatchTransform(flip="alternate"), seed=seed, epochs=1) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_random_flips_leave_some_images_as_they_were_in_the_epoch_before():
    first, second = seen(BatchTransform(flip=0.5), epochs=2)
    same = (first == second).flatten(1).all(1)
    assert 8 < same.sum() < 32


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_a_crop_is_a_slice_at_any_of_its_places(padding):
    x = pictures(n=400)
    out = seen(BatchTransform(crop=2, padding=padding), x=x)[0]
    places = torch.zeros(5, 5)
    found = torch.zeros(400, dtype=torch.bool)
    for down in range(-2, 3):
        for right in range(-2, 3):
            far = torch.ones(400) * down, torch.ones(400) * right
            same = (moved(x, *far, padding) == out).flatten(1).all(1)
            places[down + 2, right + 2] = same.sum()
            found |= same
    assert found.all()
    assert places.min() > 3
    if padding == "zeros":
        big = F.pad(x, (2, 2, 2, 2))
        views = big.unfold(2, 12, 1).unfold(3, 10, 1)  # (n, 3, 5, 5, 12, 10)
        same = (views == out[:, :, None, None]).all(-1).all(-1).all(1)
        assert same.flatten(1).any(1).all()


def test_a_shift_is_a_share_of_each_side_in_whole_pixels():
    x = pictures(n=400)
    out = seen(BatchTransform(shift=0.2), x=x)[0]  # of 12 and of 10
    far = {}
    for down in range(-3, 4):
        for right in range(-3, 4):
            ways = torch.ones(400) * down, torch.ones(400) * right
            if (count := (moved(x, *ways) == out).flatten(1).all(1).sum()) > 0:
                far[down, right] = count
    assert far.keys() == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}


def test_strengths_are_the_utmost_that_is_drawn():
    look = Look()
    callback = BatchTransform(rotate=90, zoom=2.0)
    bright = pictures(n=200) * 0 + 100
    learner(BatchTransform(brightness=0.2), look, x=bright / 255).fit(1)
    more = torch.cat(look.train)[:, 0, 0, 0] - 100 / 255
    assert 0.15 < more.max() <= 0.2
    assert -0.2 <= more.min() < -0.15
    assert abs(more.mean()) < 0.03
    moves = callback._moves(drawn(0), (12, 10))
    angle, zoom = moves["angle"], moves["zoom"]
    assert 1.5 < angle.max() <= torch.pi / 2
    assert -torch.pi / 2 <= angle.min() < -1.5
    assert 1.9 < zoom.max() <= 2
    assert 0.5 <= zoom.min() < 0.53
    assert abs(zoom.log().mean()) < 0.03  # enlarged as often as made smaller


def drawn(seed, n=1000):
    return draws.drawn(CHANGES, n, 1.0, torch.Generator().manual_seed(seed))


def test_a_chance_leaves_images_as_they_are_bit_for_bit():
    x = pictures(n=400)
    out = seen(BatchTransform(rotate=20, zoom=1.2, p=0.3), x=x)[0]
    same = (out == x).flatten(1).all(1)
    assert 160 < same.sum() < 240  # 0.7 times 0.7 of them
    assert not seen(BatchTransform(**ALL, p=0.0))[0].ne(pictures()).flatten(1).any(1).all()


def test_switching_one_change_on_does_not_alter_another():
    x = pictures()
    plain = seen(BatchTransform(crop=2))[0]
    both = seen(BatchTransform(crop=2, flip=1.0, cutout=1))[0]
    assert not torch.equal(plain, both)
    for i in range(40):
        assert crops_of(x[i], plain[i]) == crops_of(x[i].flip(-1), both[i])


def crops_of(image, crop):
    """How far down and right an image was moved, for a crop that has lost at most a pixel."""
    steps = torch.arange(-2, 3).repeat_interleave(5), torch.arange(-2, 3).repeat(5)
    moves = moved(image.expand(25, -1, -1, -1), *steps)
    (found,) = ((moves != crop).any(1).sum((1, 2)) <= 1).nonzero().tolist()
    return found


def test_validation_and_predictions_get_the_images_as_they_are():
    look = Look()
    learn = learner(BatchTransform(**ALL), RandomErasing(1.0), look)
    learn.fit(1)
    assert torch.equal(torch.cat(look.valid), pictures())
    assert not torch.equal(torch.cat(look.train), pictures())
    with_it = learn.validate(), learn.predict(learn.data.valid_dl)
    learn.callbacks[:2] = []
    without = learn.validate(), learn.predict(learn.data.valid_dl)
    assert with_it[0] == without[0]
    assert torch.equal(with_it[1], without[1])


def test_a_rehearsal_trains_on_changed_images_as_the_fit_will():
    for callback in (BatchTransform(flip=1.0), BatchTransform()):
        inputs = []
        learn = learner(callback)
        learn.model.register_forward_pre_hook(
            lambda module, args, kept=inputs: kept.append(args[0])
        )
        learn.find_lr(steps=10)
        assert torch.equal(inputs[0], pictures()[:8].flip(-1)) is (callback.flip == 1)


def test_the_order_of_the_data_is_not_moved_by_it():
    plain = seen(shuffle=True, epochs=2)
    flipped = seen(BatchTransform(flip=1.0, rotate=0), shuffle=True, epochs=2)
    assert torch.equal(flipped.flip(-1), plain)


def test_every_epoch_and_batch_draws_anew_and_the_same_again_after_a_resume(tmp_path):
    class Stop(Callback):
        replays = False

        def after_step(self, run):
            if run.n_steps == 7:
                run.interrupt("test")

    changes = {**ALL, "flip": "alternate"}
    straight = seen(BatchTransform(**changes), RandomErasing(), epochs=2)
    look = Look()
    for stop in ([Stop()], []):
        callbacks = BatchTransform(**changes), RandomErasing(), look, Checkpoint(tmp_path), *stop
        learner(*callbacks).fit(2, resume="auto")
    assert torch.equal(torch.cat(look.train), straight.flatten(0, 1))
    same = pictures(n=1).expand(40, -1, -1, -1)
    both = seen(BatchTransform(**ALL), epochs=2, x=same)
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(both[0, :8], both[0, 8:16])


def test_all_strengths_and_chances_can_be_scheduled():
    for name, value in {**ALL, "p": 1.0}.items():
        look = Look()
        callback = BatchTransform(**(ALL | {"flip": 0, "p": 1.0} if name == "p" else {}))
        low = 1.0 if name == "zoom" else 0.0
        schedule = ParamScheduler(f"callbacks.batch_transform.{name}", sched_lin(low, value))
        learner(look, schedule, callback).fit(1)
        off = torch.cat(look.train)[:8] == pictures()[:8]
        assert off.all()  # the first step has the first value
        assert not torch.equal(torch.cat(look.train)[8:], pictures()[8:])
        assert getattr(callback, name) == (1.0 if name in ("zoom", "p") else 0.0)


def test_whatever_the_order_of_the_list_images_are_changed_then_resized_then_erased():
    def all_of_them():
        growing = ProgressiveResizing(lambda pos: 0.5, multiple=1)
        return [BatchTransform(**ALL | {"flip": "alternate"}), growing, RandomErasing(1.0, fill=-7)]

    changed = seen(BatchTransform(**ALL | {"flip": "alternate"}))[0]
    out = seen(*all_of_them())[0]
    assert torch.equal(out, seen(*all_of_them()[::-1])[0])
    whole = resized(changed, (6, 5))
    assert torch.equal(out[out != -7], whole[out != -7])
    assert (out == -7).any(1).flatten(1).any(1).all()


def test_a_second_look_at_the_batch_sees_the_same_images():
    inputs = []
    learn = learner(BatchTransform(**ALL), SAM())
    learn.model.register_forward_pre_hook(lambda module, args: inputs.append(args[0].clone()))
    learn.fit(1)
    assert torch.equal(inputs[0], inputs[1])
    assert not torch.equal(inputs[0], inputs[2])


@pytest.mark.parametrize("channels", [None, 1, 2])
def test_masks_move_with_their_images(channels):
    shape = (40, 12, 10) if channels is None else (40, channels, 12, 10)
    draw = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 2, shape, generator=draw) * 200
    x = (masks if channels else masks[:, None])[:, :1].expand(-1, 3, -1, -1).float()
    look = Look()
    moves = {name: ALL[name] for name in ("flip", "crop", "shift", "rotate", "zoom")}
    lights = {"brightness": 0.2, "cutout": 3}
    callback = BatchTransform(**moves, **lights, target="mask")

    def loss(pred, y):
        return pred.mean()

    learner(callback, look, x=x, y=masks, loss_func=loss).fit(1)
    out = torch.cat(look.masks)
    assert out.shape == masks.shape
    assert out.dtype == masks.dtype
    assert set(out.unique().tolist()) == {0, 200}  # no class in between, no light, no cut
    still = torch.cat(look.train).clone()
    learner(BatchTransform(**moves), look := Look(), x=x, y=masks, loss_func=loss).fit(1)
    still = torch.cat(look.train)[:, 0]
    first = out if channels is None else out[:, 0]
    near = ((still > 100) == (first > 100)).float().mean()
    assert near > 0.95  # interpolated or not, it is the same pixel
    plain = masks if channels is None else masks[:, 0]
    assert ((still > 100) == (plain > 100)).float().mean() < 0.7
    assert torch.equal(torch.cat(look.masks), masks)  # without target="mask" they stay


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"flip": 2}, ValueError, "flip must be from 0 to 1; got 2"),
        ({"flip": "sometimes"}, TypeError, "flip must be a real number; got 'sometimes'"),
        ({"rotate": -1}, ValueError, "rotate must be at least 0; got -1. 0 switches it off"),
        ({"zoom": 0.9}, ValueError, "zoom must be at least 1; got 0.9. 1 switches it off"),
        ({"shift": 1.1}, ValueError, "shift must be from 0 to 1"),
        ({"crop": -4}, ValueError, "crop must be at least 0"),
        ({"brightness": "much"}, TypeError, "brightness must be a real number"),
        ({"contrast": 2}, ValueError, "contrast must be from 0 to 1"),
        ({"cutout": -1}, ValueError, "cutout must be at least 0"),
        ({"p": 1.5}, ValueError, "p must be from 0 to 1"),
        ({"padding": "mirror"}, ValueError, "padding must be one of 'border', .*; got 'mirror'"),
        ({"target": "boxes"}, ValueError, "target must be None or \"mask\"; got 'boxes'"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, error, text):
    with pytest.raises(error, match=text):
        BatchTransform(**arguments)


def test_a_batch_of_something_else_is_refused():
    text = r"BatchTransform needs a batch of images as xb.*got \(8, 3\) float32 cpu. Leave it out"
    with pytest.raises(ValueError, match=text):
        learner(BatchTransform(), x=torch.rand(40, 3)).fit(1)


@pytest.mark.parametrize("shape", [(40,), (40, 12, 9), (40, 1, 1, 12, 10)])
def test_masks_of_another_shape_are_refused(shape):
    text = r'BatchTransform\(target="mask"\) needs masks as yb.*for images \(8, 3, 12, 10\)'
    with pytest.raises(ValueError, match=text):
        learner(BatchTransform(target="mask"), y=torch.zeros(shape)).fit(1)


def test_its_repr_says_how_it_was_made():
    assert repr(BatchTransform()) == "BatchTransform()"
    shown = "BatchTransform(flip='alternate', rotate=10.0, p=0.5, padding='zeros', target='mask')"
    made = BatchTransform("alternate", 10, p=0.5, padding="zeros", target="mask")
    assert repr(made) == shown
