import re

import pytest
import torch

from lehr.data import DataBunch, DataLoader, Dataset, get_dls

TRAIN, VALID = (
    Dataset(torch.zeros(500), torch.zeros(500)),
    Dataset(torch.ones(100), torch.ones(100)),
)


def test_datasets_are_the_loaders_own():
    bunch = DataBunch(*get_dls(TRAIN, VALID), c=10)
    assert bunch.train_ds is TRAIN
    assert bunch.valid_ds is VALID
    assert bunch.c == 10


@pytest.mark.parametrize("name", ["train_ds", "valid_ds"])
def test_datasets_are_read_only(name):
    with pytest.raises(AttributeError):
        setattr(DataBunch([1]), name, TRAIN)


def test_several_validation_loaders():
    bunch = DataBunch([1], {"a": DataLoader(TRAIN), "b": DataLoader(VALID)})
    assert bunch.valid_ds == {"a": TRAIN, "b": VALID}
    assert (
        repr(bunch) == "DataBunch(train: 1 batches, valid a: 8 batches, valid b: 2 batches, c=None)"
    )


def test_loaders_without_a_dataset():
    bunch = DataBunch([1], {"a": [1]})
    with pytest.raises(AttributeError, match="train_dl has no dataset: it is list"):
        bunch.train_ds
    with pytest.raises(AttributeError, match=re.escape("valid_dl['a'] has no dataset")):
        bunch.valid_ds
    with pytest.raises(AttributeError, match="valid_dl has no dataset: it is NoneType"):
        DataBunch([1]).valid_ds


@pytest.mark.parametrize(("c", "error"), [(0, ValueError), (torch.tensor(10), TypeError)])
def test_c(c, error):
    with pytest.raises(error, match="c must be"):
        DataBunch([1], c=c)


def test_repr():
    bunch = DataBunch(lambda: iter([1]), None)
    assert repr(bunch) == "DataBunch(train: length unknown, no validation, c=None)"


def test_get_dls():
    train_dl, valid_dl = get_dls(TRAIN, VALID, 32, drop_last=True, seed=1)
    assert (train_dl.batch_size, valid_dl.batch_size) == (32, 64)
    assert (len(train_dl), len(valid_dl)) == (15, 2)
    numbers = Dataset(torch.arange(100), torch.arange(100))
    train_dl, valid_dl = get_dls(numbers, numbers, 10)
    assert torch.cat([yb for _, yb in valid_dl]).tolist() == list(range(100))
    order = torch.cat([yb for _, yb in train_dl]).tolist()
    assert order != sorted(order) == list(range(100))


def test_get_dls_batch_size():
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        get_dls(TRAIN, VALID, 0)


def test_the_lessons_numbers():
    train, valid = torch.zeros(50_000), torch.zeros(10_000)
    train_dl, valid_dl = get_dls(Dataset(train, train), Dataset(valid, valid), 64)
    assert (len(train_dl), len(valid_dl)) == (782, 79)
    train_dl, valid_dl = get_dls(Dataset(train, train), Dataset(valid, valid), 64, drop_last=True)
    assert {len(yb) for _, yb in train_dl} == {64}
    assert len(train_dl) == 781
    assert sum(len(yb) for _, yb in valid_dl) == 10_000


def test_show_batch_draws_the_training_data():
    import matplotlib.pyplot as plt

    shades = torch.tensor([[[0.0, 1.0]]])  # (1, 1, 2)
    figure = DataBunch(
        [(shades[None], torch.tensor([3]))], [(torch.zeros(5, 2), None)]
    ).show_batch()
    assert len(figure.axes[0].images) == 1
    assert [text.get_text() for text in figure.axes[0].texts] == ["3"]
    plt.close(figure)


def test_a_notebook_shows_loaders_items_and_classes():
    class Named:
        classes = ("a<b", "dog")

    loader = DataLoader(Dataset(torch.zeros(5, 2), torch.zeros(5)), 2)
    bunch = DataBunch(loader, {"clean": loader, "odd": [1]}, c=2, preparation=Named())
    page = bunch._repr_html_()
    assert "<td>training</td><td>3 batches</td><td>5 items</td>" in page
    assert "<td>validation odd</td><td>1 batches</td><td></td>" in page
    assert "<td>classes</td><td>2</td><td>a&lt;b, dog</td>" in page
    alone = DataBunch(lambda: iter([1]))._repr_html_()
    assert "length unknown" in alone
    assert "validation" not in alone
    assert "classes" not in alone
