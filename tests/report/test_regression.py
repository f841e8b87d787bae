import json
import math

import pytest
import torch

from lehr.report.regression import LargeError, Regression

TRUTH = torch.tensor([10.0, 30.0, 20.0, 40.0])
PREDICTED = torch.tensor([12.0, 29.0, 20.0, 32.0])


def made(**changes):
    return Regression.of(TRUTH, PREDICTED, item_text=lambda i: (f"row {i}", "x=1"), **changes)


def test_the_errors_are_those_of_their_definitions():
    found = made(k=2)
    off = PREDICTED - TRUTH
    assert found.items == 4
    assert found.mae == off.abs().mean()
    assert found.rmse == pytest.approx(off.square().mean().sqrt().item())
    assert found.std == pytest.approx((TRUTH - TRUTH.mean()).square().mean().sqrt().item())
    explained = 1 - off.square().sum() / (TRUTH - TRUTH.mean()).square().sum()
    assert found.r2 == pytest.approx(explained.item())
    assert found.r2 != pytest.approx(1.0)
    assert (found.truth, found.predicted) == ((10, 20, 30, 40), (12, 20, 29, 32))
    assert found.worst == (
        LargeError(index=3, truth=40, predicted=32, name="row 3", text="x=1"),
        LargeError(index=0, truth=10, predicted=12, name="row 0", text="x=1"),
    )


def test_equal_targets_have_no_r2_and_of_many_items_some_are_kept():
    assert Regression.of(torch.ones(3), torch.zeros(3)).r2 is None
    many = Regression.of(torch.arange(9000.0), torch.arange(9000.0))
    assert (many.items, len(many.truth)) == (9000, 1800)
    assert many.truth == tuple(sorted(many.truth))


def test_scikit_learn_says_the_same():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    assert made().r2 == pytest.approx(metrics.r2_score(TRUTH, PREDICTED))
    assert made().mae == pytest.approx(metrics.mean_absolute_error(TRUTH, PREDICTED))


def test_saved_loaded_and_removed(tmp_path):
    assert Regression.load(tmp_path) is None
    made().save(tmp_path)
    assert Regression.load(tmp_path) == made()
    assert Regression.load(tmp_path) != made(k=1)
    Regression.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.update(mae="low"), "mae must be a finite number; got 'low'"),
        (lambda c: c["truth"].pop(), "truth and predicted must be equally long"),
        (lambda c: c["worst"][0].pop("name"), r"worst\[0\] must have the fields"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(tmp_path, change, told):
    made().save(tmp_path)
    content = json.loads((tmp_path / "regression.json").read_text())
    change(content)
    (tmp_path / "regression.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"is damaged: .*{told}.*Remove regression\.json to do"):
        Regression.load(tmp_path)


def test_what_is_kept_is_finite():
    with pytest.raises(ValueError, match="not JSON compliant"):
        Regression.of(torch.tensor([math.inf]), torch.zeros(1)).save("nowhere")
