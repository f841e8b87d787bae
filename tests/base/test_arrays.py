from collections import OrderedDict

import numpy as np
import pytest
import torch

from lehr.base.arrays import arrays_in, is_numpy


@pytest.mark.parametrize("value", [np.zeros(3), np.zeros(()), np.float32(1), np.int64(1)])
def test_arrays_and_numbers_of_numpy(value):
    assert is_numpy(value)
    [found] = arrays_in({"a": [value]})
    assert found is value


@pytest.mark.parametrize("value", [torch.zeros(3), [1], 1.0, None, np, np.dtype("int64"), "text"])
def test_and_nothing_else(value):
    assert not is_numpy(value)
    assert list(arrays_in(value)) == []


def test_they_are_found_in_any_nesting_in_their_order():
    a, b = np.zeros(1), np.zeros(2)
    found = list(arrays_in((OrderedDict(x=[torch.zeros(3), a]), "text", (b,))))
    assert [array.shape for array in found] == [(1,), (2,)]
