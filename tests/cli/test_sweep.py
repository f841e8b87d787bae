"""The search for a learning rate is as long as the training allows, and says what it does."""

import pytest

from lehr.cli import sweep
from lehr.cli.job import open_job, prepare
from lehr.cli.sweep import settle_lr, sweep_progress


def job(**given):
    quick = {"source": "digits", "model": "linear", "batch_size": 256, "seed": 3, "lr": "auto"}
    opened = open_job(prepare({**quick, **given}))
    opened.learn.progress = False
    return opened


@pytest.mark.parametrize(("epochs", "steps"), [(100, 100), (20, 40)])
def test_a_search_is_at_most_a_third_of_the_training(epochs, steps, monkeypatch):
    asked = []
    find_lr = sweep.Learner.find_lr

    def noted(learn, *, steps, callbacks):
        asked.append(steps)
        return find_lr(learn, steps=steps, callbacks=callbacks)

    monkeypatch.setattr("lehr.Learner.find_lr", noted)
    opened = job(epochs=epochs)
    found = settle_lr(opened)
    assert asked == [steps]
    assert opened.settings["lr"] == opened.settings["lr_found"]
    assert opened.settings["lr"] == float(f"{found.curve.suggestion:.3g}")
    assert found.seconds > 0
    assert opened.callbacks[0].schedule == opened.settings["schedule"]


def test_a_short_training_has_the_usual_rate_and_no_search(capsys):
    opened = job(epochs=1, opt="sgd")
    assert settle_lr(opened) is None
    assert opened.settings["lr"] == 0.01
    assert "lr_found" not in opened.settings
    assert capsys.readouterr().out == (
        "the training has 6 batches, too few to search for a learning rate first: lr is 0.01, "
        "which is usual for sgd\n"
    )


def test_a_rate_that_was_given_stays():
    opened = job(lr="0.5")
    assert settle_lr(opened) is None
    assert opened.settings["lr"] == 0.5


class Flat:
    suggestion = None
    lrs = (1e-6, 10.0)


def test_a_short_search_that_finds_nothing_proves_nothing(monkeypatch, capsys):
    monkeypatch.setattr("lehr.Learner.find_lr", lambda self, **_: Flat)
    opened = job(epochs=20)
    assert settle_lr(opened).curve is Flat
    assert opened.settings["lr"] == 0.001
    assert capsys.readouterr().out.startswith("40 batches showed no learning rate at which the")


def test_a_rate_that_no_whole_search_can_find_is_an_error(monkeypatch):
    monkeypatch.setattr("lehr.Learner.find_lr", lambda self, **_: Flat)
    with pytest.raises(ValueError, match=r"lr auto found no learning rate between 1e-06 and 10 at"):
        settle_lr(job(epochs=100))


def test_a_learner_that_shows_nothing_shows_no_search():
    learn = job().learn
    assert sweep_progress(learn, 50) == []
    learn.progress = True
    assert "50 batches" in sweep_progress(learn, 50)[0].title
