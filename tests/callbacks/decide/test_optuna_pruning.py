"""Pruning, with a trial that stands for one of Optuna's, and with Optuna itself if it is there."""

import pytest

from lehr import accuracy
from lehr.callbacks import Checkpoint, OptunaPruning
from lehr.testing import tiny_learner


class Trial:
    """Remembers what was reported, and prunes at one step."""

    def __init__(self, at=None):
        self.at, self.values = at, {}

    def report(self, value, step):
        self.values[step] = value

    def should_prune(self):
        return self.at is not None and max(self.values) >= self.at


def test_each_epoch_is_reported_and_the_fit_ends_where_the_trial_is_pruned():
    pruning = OptunaPruning(Trial(at=2))
    run = tiny_learner().fit(9, callbacks=[pruning])
    assert pruning.trial.values == dict(enumerate(run.history["valid_loss"]))
    assert (pruning.pruned, pruning.reported, run.epoch) == (True, 3, 2)
    assert run.stop_reason.startswith("Optuna prunes the trial, whose valid_loss is 0.")
    unpruned = OptunaPruning(Trial())
    run = tiny_learner().fit(4, callbacks=[unpruned])
    assert (unpruned.pruned, unpruned.reported, run.stop_reason) == (False, 4, None)
    unpruned.raise_if_pruned()


def test_validations_within_an_epoch_are_steps_of_their_own_and_any_column_will_do():
    pruning = OptunaPruning(Trial(), "accuracy")
    learn = tiny_learner(metrics=[accuracy])
    run = learn.fit(2, callbacks=[pruning], validate_every="2 steps")
    assert pruning.trial.values == dict(enumerate(run.history["accuracy"]))
    assert pruning.reported == 4


def test_a_resumed_fit_goes_on_with_the_next_step(tmp_path):
    first = OptunaPruning(Trial())
    tiny_learner().fit(2, callbacks=[first, Checkpoint(tmp_path)])
    assert sorted(first.trial.values) == [0, 1]
    second = OptunaPruning(Trial())
    tiny_learner().fit(4, callbacks=[second, Checkpoint(tmp_path)], resume=tmp_path)
    assert sorted(second.trial.values) == [2, 3]


def test_that_it_was_pruned_is_known_when_the_fit_is_resumed(tmp_path):
    def fit(epochs, *, resume=None):
        pruning = OptunaPruning(Trial(at=1 if resume is None else None))
        tiny_learner().fit(epochs, callbacks=[pruning, Checkpoint(tmp_path)], resume=resume)
        return pruning.pruned

    assert fit(2)
    assert fit(2, resume=tmp_path)


def test_what_is_no_trial_is_refused():
    match = (
        r"^trial must be a trial of Optuna; got str\. Give the one that the objective is called "
        r"with: OptunaPruning\(trial\)\.$"
    )
    with pytest.raises(TypeError, match=match):
        OptunaPruning("valid_loss")


def test_a_column_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"acuracy.*Did you mean accuracy"):
        tiny_learner(metrics=[accuracy]).fit(1, callbacks=[OptunaPruning(Trial(), "acuracy")])


@pytest.fixture
def optuna():
    found = pytest.importorskip("optuna", reason="optuna is not installed: make test-clients")
    found.logging.set_verbosity(found.logging.ERROR)
    return found


def test_optuna_prunes_trials_that_are_worse_than_others(optuna):
    def objective(trial):
        lr = trial.suggest_float("lr", 0.0, 1.0)
        learn = tiny_learner()
        learn.opt.param_groups[0]["lr"] = lr
        pruning = OptunaPruning(trial)
        run = learn.fit(4, callbacks=[pruning])
        pruning.raise_if_pruned()
        return run.history["valid_loss"][-1]

    pruner = optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=1)
    study = optuna.create_study(direction="minimize", pruner=pruner)
    for lr in (0.5, 0.0, 1.0):
        study.enqueue_trial({"lr": lr})
    study.optimize(objective, n_trials=3)
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert [len(trial.intermediate_values) for trial in study.trials] == [4, 2, 4]
    assert study.best_params["lr"] > 0


def test_raise_if_pruned_raises_optunas_own_error(optuna):
    pruning = OptunaPruning(Trial(at=0))
    tiny_learner().fit(2, callbacks=[pruning])
    with pytest.raises(optuna.TrialPruned, match=r"^pruned at step 0$"):
        pruning.raise_if_pruned()
