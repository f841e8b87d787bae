import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import IterableDataset

from lehr.data.loading.feed import Feed
from lehr.data.loading.readable import check_readable


@pytest.mark.parametrize("rows", [torch.zeros(4, 2), np.zeros((4, 2))])
def test_rows_are_no_batches(rows):
    with pytest.raises(
        TypeError,
        match=r"train_dl must be an iterable of batches; got (Tensor|ndarray), whose rows would be "
        r"taken for batches\. Pass a list of batches, \[\(xb, yb\)\], or make a bunch of whole "
        r"arrays with lehr\.data\.arrays\(x, y\)\.$",
    ):
        check_readable(rows, "train_dl")
    check_readable([rows], "train_dl")


def test_a_dict_of_loaders_is_told_how_to_be_read_as_one():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(())

    for loader in (TorchLoader([1, 2]), Stream()):
        with pytest.raises(
            TypeError,
            match=r"got dict of 2 loaders\. Say how they are read together, with a function that "
            r"makes an iterator of batches, e\.g\. lambda: zip\(first, second\), and give the "
            r"Learner a split_batch= for such a batch\.$",
        ):
            check_readable({"a": loader, "b": loader}, "train_dl")
    a, b = TorchLoader([1, 2]), TorchLoader([3, 4])
    together = Feed(lambda: zip(a, b, strict=True))
    assert [(x.item(), y.item()) for (x, y), _ in together.epoch(0, 0)] == [(1, 3), (2, 4)]
    with pytest.raises(TypeError, match=r"got dict\. Pass a DataLoader"):
        check_readable({"x": torch.zeros(3)}, "train_dl")


@pytest.mark.parametrize("endless", [itertools.cycle([1]), itertools.count(), itertools.repeat(1)])
def test_an_endless_iterator_is_told_to_be_made_by_a_function_and_trained_in_steps(endless):
    kind = type(endless).__name__
    with pytest.raises(
        TypeError,
        match=rf"got {kind}, which can be read only once\. Pass a function that makes a fresh one, "
        rf"e\.g\. lambda: itertools\.{kind}\(batches\), and train with fit\(steps=…\)\.$",
    ):
        check_readable(endless, "train_dl")
    with pytest.raises(TypeError, match=r"e\.g\. lambda: batches\(\)\.$"):
        check_readable(itertools.repeat(1, 3), "train_dl")
