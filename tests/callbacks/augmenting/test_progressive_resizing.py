"""Small images first."""

import pytest
import torch

from lehr.callbacks import Accumulate, ProgressiveResizing
from lehr.callbacks.augmenting.progressive_resizing import scaled
from lehr.data import DataBunch
from lehr.data.images.resize import resized
from lehr.schedules import sched_lin

from .pictures import Look, learner, pictures


def test_images_grow_as_the_schedule_says_and_are_whole_in_the_end():
    x, look = pictures(size=(32, 24), n=80), Look()
    learner(ProgressiveResizing(), look, x=x).fit(1)
    sizes = [tuple(batch.shape[2:]) for batch in look.train]
    assert sizes[:6] == [(16, 12)] * 6  # also where the growth begins
    assert sizes[6:8] == [(20, 16), (28, 20)]
    assert sizes[8:] == [(32, 24)] * 2
    assert torch.equal(look.train[0], resized(x[:8], (16, 12)))
    assert torch.equal(look.train[9], x[72:])


def test_validation_and_predictions_are_at_full_size():
    look = Look()
    learn = learner(ProgressiveResizing(sched_lin(0.2, 0.3), multiple=1), look)
    run = learn.fit(1)
    assert torch.equal(torch.cat(look.valid), pictures())
    assert {tuple(batch.shape[2:]) for batch in look.train} == {(2, 2), (3, 2), (3, 3)}
    plain = learn.validate(), learn.predict(learn.data.valid_dl)
    del learn.callbacks[0]
    assert plain[0] == learn.validate()
    assert torch.equal(plain[1], learn.predict(learn.data.valid_dl))
    assert run.history["image_size"] == [len(batch[0, 0]) for batch in look.train]
    assert "valid_image_size" not in run.history.rows[-1]


def test_a_schedule_of_one_leaves_every_bit():
    look = Look()
    learner(ProgressiveResizing(lambda pos: 1.0, multiple=7), look).fit(1)
    assert torch.equal(torch.cat(look.train), pictures())


def test_sizes_are_the_nearest_multiples_and_never_above_the_whole():
    shares = (0.01, 0.2, 0.3, 0.45, 0.6, 0.95)
    assert [scaled(30, share, 8) for share in shares] == [8, 8, 8, 16, 16, 30]
    assert scaled(3, 0.5, 4) == 3
    assert scaled(30, 1.0, 8) == 30


def test_all_batches_of_a_window_have_one_size():
    look = Look()
    growing = ProgressiveResizing(sched_lin(0.3, 1.0), multiple=1)
    learner(growing, Accumulate(2), look, x=pictures(n=64)).fit(1)
    heights = [len(batch[0, 0]) for batch in look.train]
    assert heights[::2] == heights[1::2]
    assert len(set(heights)) == 4


def test_masks_are_resized_with_their_images():
    masks = torch.randint(0, 2, (40, 12, 10)) * 200
    look = Look()
    callback = ProgressiveResizing(lambda pos: 0.5, multiple=1, target="mask")
    learner(callback, look, y=masks, loss_func=lambda pred, y: pred.mean()).fit(1)
    out = torch.cat(look.masks)
    assert torch.equal(out, masks[:, 1::2, 1::2])
    assert out.dtype == masks.dtype
    text = r'ProgressiveResizing\(target="mask"\) needs masks as yb'
    with pytest.raises(ValueError, match=text):
        learner(callback).fit(1)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"schedule": 0.5}, TypeError, "schedule must be a function of position; got 0.5"),
        ({"multiple": 0}, ValueError, "multiple must be at least 1"),
        ({"target": "box"}, ValueError, "target must be None or \"mask\"; got 'box'"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, error, text):
    with pytest.raises(error, match=text):
        ProgressiveResizing(**arguments)


@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_a_schedule_that_gives_no_share_is_refused(scale):
    text = rf"schedule\(pos\) must be above 0 and at most 1; got {scale}, at 0"
    with pytest.raises(ValueError, match=text):
        learner(ProgressiveResizing(lambda pos: scale)).fit(1)


def test_a_length_that_is_unknown_and_other_batches_are_refused():
    with pytest.raises(ValueError, match="ProgressiveResizing needs a batch of images as xb"):
        learner(ProgressiveResizing(), x=torch.rand(40, 3)).fit(1)
    endless = DataBunch(lambda: iter([(pictures(n=8), torch.arange(8) % 2)]))
    with pytest.raises(ValueError, match=r"run\.pos needs the length of the run"):
        learn = learner(ProgressiveResizing())
        learn.data = endless
        learn.fit(1)


def test_its_repr_says_how_it_was_made():
    shown = repr(ProgressiveResizing(sched_lin(0.5, 1.0), multiple=8))
    assert shown == "ProgressiveResizing(sched_lin(0.5, 1), multiple=8)"
