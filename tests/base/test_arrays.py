import numpy as np
import pytest
import torch

from lehr.base.arrays import is_numpy


@pytest.mark.parametrize("value", [np.zeros(3), np.zeros(()), np.float32(1), np.int64(1)])
def test_arrays_and_numbers_of_numpy(value):
    assert is_numpy(value)


@pytest.mark.parametrize("value", [torch.zeros(3), [1], 1.0, None, np, np.dtype("int64"), "text"])
def test_and_nothing_else(value):
    assert not is_numpy(value)
