"""Estimators of scikit-learn around a Learner; the package itself says whether they are ones."""

import pickle
import random
import runpy
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn, optim

from lehr import models
from lehr.callbacks import EarlyStopping


def test_without_scikit_learn_an_estimator_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "lehr.sklearn", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    found = runpy.run_module("lehr.sklearn")
    match = (
        r"^lehr\.sklearn\.Classifier needs the package scikit-learn, which is not installed\. "
        r"Install it: pip install 'lehr\[sklearn\]'\.$"
    )
    with pytest.raises(ImportError, match=match):
        found["Classifier"]("mlp")


@pytest.fixture
def estimators():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: make test-clients")
    import lehr.sklearn

    return lehr.sklearn


def blobs(items=90, classes=3):
    y = np.arange(items) % classes
    x = np.random.default_rng(0).normal(size=(items, 4)) + 3 * y[:, None]
    return x, np.array(["ash", "elm", "oak"])[y]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Classifier", "Regressor"])
def test_scikit_learn_accepts_the_estimator(estimators, kind):
    from sklearn.utils.estimator_checks import check_estimator

    results = check_estimator(getattr(estimators, kind)("mlp", random_state=0), on_skip=None)
    assert {r["status"] for r in results} <= {"passed", "skipped"}
    assert sum(r["status"] == "passed" for r in results) > 40


@pytest.mark.slow
def test_scikit_learn_does_not_accept_a_classifier_that_forgets_its_classes(estimators):
    from sklearn.utils.estimator_checks import check_estimator

    class Forgetful(estimators.Classifier):
        def fit(self, X, y):
            super().fit(X, y)
            self.classes_ = self.classes_[::-1]
            return self

    results = check_estimator(Forgetful(random_state=0), on_skip=None, on_fail=None)
    failed = {r["check_name"] for r in results if r["status"] == "failed"}
    assert "check_classifiers_train" in failed


def test_a_grid_search_over_a_pipeline_finds_the_better_rate(estimators):
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = blobs()
    pipeline = make_pipeline(StandardScaler(), estimators.Classifier(epochs=4, random_state=0))
    search = GridSearchCV(pipeline, {"classifier__lr": [1e-6, 0.05]}, cv=2).fit(x, y)
    assert search.best_params_ == {"classifier__lr": 0.05}
    assert search.score(x, y) > 0.9
    assert set(search.predict(x)) == {"ash", "elm", "oak"}


def test_the_weights_are_those_of_the_plain_loop(estimators):
    x, y = blobs()
    linear = partial(models.mlp, hidden=())
    shared = {"opt": optim.SGD, "lr": 0.1, "epochs": 3, "batch_size": 90, "random_state": 1}
    made = estimators.Classifier(linear, **shared).fit(x, y)
    start = estimators.Classifier(linear, **{**shared, "epochs": 0}).fit(x, y)
    model = start.model_
    opt = optim.SGD(model.parameters(), lr=0.1)
    labels = torch.tensor(np.unique(y, return_inverse=True)[1])
    for _ in range(3):  # one batch is the whole set, whatever its order
        opt.zero_grad()
        nn.functional.cross_entropy(model(torch.tensor(x)), labels).backward()
        opt.step()
    with torch.no_grad():
        expected = model(torch.tensor(x)).softmax(1).numpy()
    assert np.allclose(made.predict_proba(x), expected, rtol=0, atol=1e-12)
    other = estimators.Classifier(linear, **{**shared, "lr": 0.2}).fit(x, y)
    assert not np.allclose(other.predict_proba(x), expected, rtol=0, atol=1e-3)


def test_a_fitted_estimator_survives_pickle_and_random_state_alone_decides(estimators):
    x, y = blobs()
    first, again, other = (
        estimators.Classifier(epochs=2, random_state=seed).fit(x, y) for seed in (3, 3, 4)
    )
    probabilities = first.predict_proba(x)
    assert np.array_equal(pickle.loads(pickle.dumps(first)).predict_proba(x), probabilities)
    assert np.array_equal(again.predict_proba(x), probabilities)
    assert not np.array_equal(other.predict_proba(x), probabilities)
    assert [row["epoch"] for row in first.history_] == [0, 1]


def test_random_state_decides_what_a_model_draws_from_numpy_and_python_too(estimators):
    drawn = []

    def noisy(in_features, classes):
        drawn.append((np.random.rand(), random.random()))
        return nn.Linear(in_features, classes)

    before = np.random.get_state()[1].copy(), random.getstate()
    for seed in (3, 3, 4):
        estimators.Classifier(noisy, epochs=1, random_state=seed).fit(*blobs())
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert random.getstate() == before[1]


def test_torchs_generator_is_as_it_was_after_a_fit(estimators):
    before = torch.get_rng_state()
    estimators.Classifier(epochs=1, random_state=0).fit(*blobs())
    assert torch.equal(torch.get_rng_state(), before)
    nn.Linear(1, 1)  # the control
    assert not torch.equal(torch.get_rng_state(), before)


def test_the_dtype_and_the_shape_of_the_items_are_the_models(estimators):
    x = np.random.default_rng(0).normal(size=(12, 1, 8, 8)).astype(np.float32)
    made = estimators.Classifier("cnn_norm", epochs=1, random_state=0).fit(x, np.arange(12) % 2)
    assert {p.dtype for p in made.model_.parameters()} == {torch.float32}
    assert made.predict_proba(x).shape == (12, 2)
    made = estimators.Classifier(epochs=1, random_state=0).fit(*blobs())
    assert {p.dtype for p in made.model_.parameters()} == {torch.float64}


def test_callbacks_work_on_copies_and_on_what_is_held_out(estimators):
    stopping = EarlyStopping(patience=1)
    made = estimators.Classifier(
        lr=0.5, epochs=30, callbacks=[stopping], valid_share=0.2, random_state=0
    )
    made.fit(*blobs())
    assert made.history_[0]["valid_loss"] is not None
    assert len(made.history_) < 30
    assert made.callbacks_[0].best is not None
    assert not hasattr(stopping, "best")
    without = estimators.Classifier(epochs=1, random_state=0).fit(*blobs())
    assert without.history_[0].get("valid_loss") is None


def test_a_regressor_predicts_one_target_flat_and_several_side_by_side(estimators):
    x = np.linspace(-1, 1, 64)[:, None]
    single = estimators.Regressor("linear", lr=0.1, epochs=60, random_state=0).fit(x, 2 * x[:, 0])
    assert single.predict(x).shape == (64,)
    assert single.score(x, 2 * x[:, 0]) > 0.99
    pair = np.hstack([x, -x])
    several = estimators.Regressor("linear", lr=0.1, epochs=60, random_state=0).fit(x, pair)
    assert several.predict(x).shape == (64, 2)
    assert several.score(x, pair) > 0.99


def test_a_model_is_no_factory(estimators):
    match = (
        r"^model must be a name, or a class or function that makes a model, for every fit makes a "
        r"new one; got Linear, which is a model\. Give e\.g\. model=lambda in_features, classes: …$"
    )
    with pytest.raises(TypeError, match=match):
        estimators.Classifier(nn.Linear(4, 3)).fit(*blobs())


def test_another_device_gets_the_callback_that_moves_to_it(estimators):
    with pytest.raises((RuntimeError, ValueError, NotImplementedError), match=r"meta"):
        estimators.Classifier(device="meta", random_state=0).fit(*blobs())
