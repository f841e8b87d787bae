import pytest
import torch

from lehr.record import confusion

MATRIX = torch.tensor([[6, 2, 0], [1, 10, 1], [0, 0, 0]])


def labels():
    """Pairs of labels that make the matrix."""
    cells = [
        (t, g) for t, row in enumerate(MATRIX.tolist()) for g, n in enumerate(row) for _ in range(n)
    ]
    return [torch.tensor(side) for side in zip(*cells, strict=True)]


def test_pairs_are_counted_and_labels_that_are_no_class_left_out():
    truth, given = labels()
    assert confusion.count(truth, given, 3).equal(MATRIX)
    more = torch.cat([truth, torch.tensor([-100, 3])]), torch.cat([given, torch.tensor([0, 0])])
    assert confusion.count(*more, 3).equal(MATRIX)


def test_scores_are_those_of_their_definitions():
    truth, given = labels()
    for c in range(2):
        hits = int(((truth == c) & (given == c)).sum())
        precision, recall = hits / int((given == c).sum()), hits / int((truth == c).sum())
        assert confusion.precision(MATRIX)[c] == precision
        assert confusion.recall(MATRIX)[c] == recall
        f1 = 2 * precision * recall / (precision + recall)
        assert confusion.f1(MATRIX)[c] == pytest.approx(f1)
        assert confusion.f1(MATRIX.roll(1, 1))[c] != pytest.approx(f1)
    assert confusion.accuracy(MATRIX) == 0.8
    assert confusion.majority(MATRIX) == (1, 0.6)
    assert confusion.most_confused(MATRIX, 2) == [(0, 1, 2), (1, 0, 1)]


def test_a_class_that_was_given_but_not_there_has_an_f1_of_nothing_right():
    assert confusion.recall(MATRIX)[2] is None
    assert confusion.f1(MATRIX)[2] == 0
    assert confusion.f1(torch.zeros(1, 1, dtype=torch.int64)) == [None]


def test_the_mean_f1_leaves_out_what_there_is_not():
    two = torch.tensor([[1, 1, 0], [0, 2, 0], [0, 0, 0]])
    assert confusion.macro_f1(two) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert confusion.macro_f1(torch.zeros(2, 2, dtype=torch.int64)) is None


def test_scikit_learn_says_the_same():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    truth, given = labels()
    expected = metrics.f1_score(truth, given, average=None)
    assert confusion.f1(MATRIX) == pytest.approx(list(expected))
    assert confusion.macro_f1(MATRIX) == pytest.approx(
        metrics.f1_score(truth, given, average="macro")
    )
