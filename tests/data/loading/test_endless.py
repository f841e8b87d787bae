import itertools

import pytest

from lehr import DataBunch
from lehr.data.loading import feed
from lehr.data.loading.endless import is_endless
from lehr.testing import tiny_learner


@pytest.mark.parametrize(
    ("iterator", "endless"),
    [
        (itertools.cycle([1]), True),
        (itertools.count(), True),
        (itertools.repeat(1), True),
        (itertools.repeat(1, 3), False),
        (iter([1]), False),
        (itertools.chain([1]), False),
        ([1], False),
    ],
)
def test_what_is_known_to_have_no_end(iterator, endless):
    assert is_endless(iterator) is endless


def batches():
    return [*tiny_learner().data.train_dl]


def forever():
    return itertools.cycle(batches())


def generated():
    yield from forever()


@pytest.mark.parametrize("loader", [forever, generated])
def test_a_fit_in_steps_needs_no_end(loader):
    run = tiny_learner(data=DataBunch(loader)).fit(steps=11)
    assert (run.n_steps, run.epoch) == (11, 0)


def test_a_fit_in_epochs_and_a_validation_say_what_to_do():
    words = (
        r"^{} must come to an end; it is a cycle, which never does\. Train with fit\(steps=…\), "
        r"which needs no end, and validate on a part: lambda: itertools\.islice\(batches\(\), "
        r"100\)\."
    )
    with pytest.raises(ValueError, match=words.format("train_dl")):
        tiny_learner(data=DataBunch(forever)).fit(2)
    learn = tiny_learner(data=DataBunch(forever, forever))
    with pytest.raises(ValueError, match=words.format("valid_dl")):
        learn.fit(steps=3)
    with pytest.raises(ValueError, match=words.format("valid_dl")):
        learn.validate()
    for door in (learn.validate, learn.predict):
        with pytest.raises(ValueError, match=words.format("data")):
            door(forever)
    part = DataBunch(forever, lambda: itertools.islice(forever(), 2))
    assert tiny_learner(data=part).fit(steps=3).history["valid_loss"]


def test_a_look_reads_the_beginning_of_what_has_no_end():
    learn = tiny_learner(data=DataBunch(forever))
    assert learn.summary().layers
    assert learn.rehearse(7).n_steps == 7
    assert learn.find_lr(steps=20)


def test_an_epoch_without_an_end_in_sight_says_so_once(monkeypatch):
    monkeypatch.setattr(feed, "_MANY", 6)

    def long(n):
        return lambda: itertools.islice(generated(), n)

    with pytest.warns(
        UserWarning, match=r"train_dl must come to an end; it has not after 6 b"
    ) as w:
        tiny_learner(data=DataBunch(long(20))).fit(1)
    assert len(w) == 1
    tiny_learner(data=DataBunch(long(6))).fit(2)
    tiny_learner(data=DataBunch(long(20))).fit(steps=30)
