import pytest
import torch
from torch import nn

from lehr import DataBunch, Learner
from lehr.inspect.confusion import Confusion
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def test_the_matrix_is_that_of_the_predictions_and_leaves_no_trace():
    learn = tiny_learner()
    learn.fit(2)
    before = capture(learn.state_entries())
    found = learn.confusion()
    assert first_difference(before, capture(learn.state_entries())) is None
    pred, yb = learn.predict(learn.data.valid_dl, targets=True)
    expected = torch.zeros(2, 2, dtype=torch.int64)
    for truth, given in zip(yb, pred.argmax(1), strict=True):
        expected[truth, given] += 1
    assert found.counts.equal(expected)
    assert not found.counts.equal(expected.T)
    assert found.accuracy == expected.diagonal().sum() / 16
    assert int(learn.confusion(learn.data.train_dl).counts.sum()) == 32


def test_it_shows_itself_as_a_table_and_as_a_picture():
    made = Confusion(torch.tensor([[1200, 3], [0, 7]]), ("a<b", "dog"))
    assert "1,200" in str(made)
    assert "a&lt;b" in made._repr_html_()
    assert made.f1["dog"] == pytest.approx(14 / 17)
    ax = made.plot().axes[0]
    assert [text.get_text() for text in ax.texts] == ["1,200", "3", "7"]
    assert made.plot(ax) is ax.figure


def test_of_many_classes_the_commonest_errors_are_printed():
    counts = torch.eye(30, dtype=torch.int64) * 5
    counts[3, 7] = 2
    names = tuple(f"c{i}" for i in range(30))
    assert str(Confusion(counts, names)).splitlines()[:2] == [
        "true  given  items",
        "c3    c7         2",
    ]
    assert not Confusion(counts, names).plot().axes[0].texts


def test_numbers_have_no_confusion():
    model = nn.Linear(3, 2)
    batches = [(torch.zeros(4, 3), torch.zeros(4, 2))]
    bunch = DataBunch(batches, batches)
    learn = Learner(model, torch.optim.SGD(model.parameters()), nn.MSELoss(), bunch)
    match = (
        r"^a confusion matrix needs labels, whole numbers of shape \(items,\), as targets\. Look"
    )
    with pytest.raises(ValueError, match=match):
        learn.confusion()


def test_a_model_without_a_score_for_each_class_is_refused():
    learn = tiny_learner(model=nn.Sequential(nn.Linear(3, 2), nn.Unflatten(1, (2, 1))))
    match = (
        r"a confusion matrix needs a score for each class, \(batch, classes\), from the model; got "
        r"Tensor \(16, 2, 1\)\. Look at other models"
    )
    with pytest.raises(ValueError, match=match):
        learn.confusion()
