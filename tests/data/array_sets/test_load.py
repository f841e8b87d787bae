import re

import numpy as np
import pytest
import torch

from lehr import data
from lehr.data import arrays, arrays_file

X = torch.randint(256, (50, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
Y = torch.arange(50) % 3


def test_the_bunch():
    bunch = arrays(X.numpy(), Y.numpy(), 16, drop_last=True, seed=1)
    xb, yb = next(iter(bunch.train_dl))
    assert (xb.shape, xb.dtype, yb.dtype) == ((16, 1, 8, 8), torch.float32, torch.int64)
    assert (bunch.c, bunch.classes) == (3, ("0", "1", "2"))
    assert (len(bunch.train_ds), len(bunch.valid_ds), len(bunch.train_dl)) == (40, 10, 2)
    assert abs(bunch.train_ds.x.mean()) < 1e-5
    assert abs(bunch.valid_ds.x.mean()) > 1e-5


def test_items_keep_their_targets():
    x = torch.arange(50.0)[:, None]
    bunch = arrays(x, Y, normalize=False)
    for part in (bunch.train_ds, bunch.valid_ds):
        assert torch.equal(part.x[:, 0].long() % 3, part.y)
    assert not torch.equal(bunch.valid_ds.x, arrays(x, Y, split_seed=1).valid_ds.x)


def test_numbers_to_predict():
    bunch = arrays(X, Y.double())
    assert (bunch.c, bunch.classes, bunch.train_ds.y.shape) == (None, (), (40, 1))
    assert abs(bunch.train_ds.y.mean()) < 1e-6
    assert abs(bunch.train_ds.y.std() - 1) < 1e-6
    whole = bunch.preparation.answers(torch.cat([bunch.train_ds.y, bunch.valid_ds.y]))
    assert torch.allclose(whole.sort(0).values[:, 0], Y.sort().values.float(), atol=1e-5)
    left = arrays(X, Y.double(), normalize=False).train_ds.y
    assert set(left.flatten().tolist()) == {0, 1, 2}
    assert arrays(X, torch.rand(50, 2)).train_ds.y.shape == (40, 2)


def test_own_validation_items():
    bunch = arrays(X, Y, valid=(X[:5], Y[:5]))
    assert (len(bunch.train_ds), len(bunch.valid_ds)) == (50, 5)
    assert torch.equal(bunch.valid_ds.x, bunch.train_ds.x[:5])
    with pytest.raises(ValueError, match=r"y must hold every label .* got the labels 0, 1, 2, 9"):
        arrays(X, Y, valid=(X[:1], torch.tensor([9])))
    with pytest.raises(TypeError, match=r"valid must be a pair \(x, y\); got Tensor"):
        arrays(X, Y, valid=X)
    with pytest.raises(ValueError, match=r"valid's y must be like y, torch.int64"):
        arrays(X, Y, valid=(X[:5], Y[:5].float()))
    with pytest.raises(ValueError, match=r"x must have the shape \(n, 8, 8\) of the training"):
        arrays(X, Y, valid=(X[:5, :4], Y[:5]))


def test_names_of_classes():
    assert arrays(X, Y, classes=["a", "b", "c", "never"]).classes == ("a", "b", "c", "never")


def test_lengths():
    with pytest.raises(ValueError, match="x and y must be equally long; got 50 and 49 items"):
        arrays(X, Y[1:])
    with pytest.raises(ValueError, match="valid's x and valid's y must be equally long"):
        arrays(X, Y, valid=(X, Y[1:]))
    with pytest.raises(ValueError, match="valid_share must leave items to both parts"):
        arrays(X, Y, valid_share=0)


def test_an_earlier_preparation():
    first = arrays(X, Y, classes=["a", "b", "c"]).preparation
    again = data.preparation_from(first.to_dict())
    bunch = arrays(X[:10], Y[:10] % 2, preparation=again)
    assert (bunch.c, bunch.classes) == (3, ("a", "b", "c"))
    assert bunch.preparation is again
    with pytest.raises(ValueError, match=r"classes must be the preparation's, \('a', 'b', 'c'\)"):
        arrays(X, Y, preparation=again, classes=["x", "y", "z"])
    with pytest.raises(ValueError, match="y must be labels, whole numbers, as for the preparation"):
        arrays(X, Y.float(), preparation=again)
    numbers = arrays(X, Y.float()).preparation
    with pytest.raises(ValueError, match="y must be floats, numbers to predict"):
        arrays(X, Y, preparation=numbers)
    with pytest.raises(ValueError, match="y must hold labels from 0 to 2"):
        arrays(X, Y + 1, preparation=again)


@pytest.fixture
def file(tmp_path):
    def write(**content):
        np.savez(tmp_path / "a.npz", **{name: np.asarray(value) for name, value in content.items()})
        return tmp_path / "a.npz"

    return write


def test_a_file(file):
    bunch = arrays_file(file(x=X, y=Y, classes=["a", "b", "c"]), 16, split_seed=3)
    assert bunch.classes == ("a", "b", "c")
    same = arrays(X, Y, 16, split_seed=3)
    assert torch.equal(bunch.valid_ds.x, same.valid_ds.x)
    opened = data.open_data(file(x_train=X, y_train=Y), valid_share=0.5)
    assert len(opened.valid_ds) == 25


def test_the_parts_of_a_file(file):
    path = file(
        x=X[:30], y=Y[:30], x_valid=X[30:40], y_valid=Y[30:40], x_test=X[40:], y_test=Y[40:]
    )
    bunch = arrays_file(path)
    assert torch.equal(bunch.valid_ds.y, Y[30:40])
    assert len(bunch.train_ds) == 30
    test = arrays_file(path, split="test")
    assert torch.equal(test.train_ds.y, Y[:40])
    assert torch.equal(test.valid_ds.y, Y[40:])


@pytest.mark.parametrize(
    ("content", "split", "message"),
    [
        ({"y": Y}, "valid", "must have an array x; it has y"),
        ({"x": X}, "valid", "must have an array y; it has x"),
        ({}, "valid", "must have an array x; it has none"),
        ({"x": X, "y": Y, "x_valid": X}, "valid", "must have an array y_valid; it has x, y"),
        ({"x": X, "y": Y}, "test", "must have an array x_test; it has x, y"),
        ({"x": X, "y": Y}, "train", "split must be one of valid, test, all; got 'train'"),
    ],
)
def test_what_a_file_lacks(file, content, split, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        arrays_file(file(**content), split=split)


def test_parts_that_cannot_be_joined(file):
    path = file(x=X, y=Y, x_valid=X[:, :4], y_valid=Y, x_test=X, y_test=Y)
    with pytest.raises(ValueError, match="x and x_valid must be alike to be used together"):
        arrays_file(path, split="test")


def test_every_item_of_a_file(file):
    first = arrays(X, Y).preparation
    parts = {"x": X[:30], "y": Y[:30], "x_valid": X[30:40], "y_valid": Y[30:40]}
    path = file(**parts, x_test=X[40:], y_test=Y[40:])
    bunch = arrays_file(path, split="all", preparation=first)
    assert torch.equal(bunch.valid_ds.x, first.encode(X))
    assert torch.equal(torch.cat([y for _, y in bunch.valid_dl]), Y)
    assert torch.equal(bunch.train_ds.x, bunch.valid_ds.x)
    assert len(arrays_file(file(**parts), split="all", preparation=first).valid_ds) == 40
    one = arrays_file(file(x=X[:1], y=Y[1:2]), split="all", preparation=first)
    assert one.valid_ds.y.tolist() == [1]
    with pytest.raises(ValueError, match="split='all' divides nothing"):
        arrays_file(path, split="all")
    path = file(x=X, y=Y, x_test=X[:, :4], y_test=Y)
    with pytest.raises(ValueError, match="x and x_test must be alike to be used together"):
        arrays_file(path, split="all", preparation=first)
