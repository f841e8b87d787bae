import math

import pytest
import torch

from lehr.base.numbers import not_finite, plain


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (1, "1"),
        (14870.4, "14,870"),
        (9999.6, "10,000"),
        (-1234567.8, "-1,234,568"),
        (0.5, "0.5"),
        (0.98765, "0.9877"),
        (0.012345, "0.01235"),
        (0.00012346, "0.0001235"),
        (1e-5, "0.00001"),
        (1e-6, "1e-06"),
        (12.3456, "12.35"),
        (1e15, "1e+15"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_numbers_are_written_as_people_write_them(value, text):
    assert plain(value) == text


@pytest.mark.parametrize("value", [14870.4, 0.012345, 7.0, 123456.0])
def test_what_is_written_is_the_number_up_to_its_digits(value):
    assert float(plain(value).replace(",", "")) == pytest.approx(value, rel=1e-3)
    assert float(plain(value, 2).replace(",", "")) == pytest.approx(value, rel=5e-2)


def test_what_is_not_finite_is_counted_over_all_tensors():
    nan, inf = torch.tensor([math.nan, 1.0]), torch.tensor([[math.inf, -math.inf]])
    whole = torch.zeros(1234, dtype=torch.int64)
    assert not_finite([nan, inf, whole]) == "1 nan and 2 inf of 1,238 numbers"
    assert not_finite([nan.to(torch.cfloat)]) == "1 nan of 2 numbers"
    assert not_finite([whole, torch.zeros(0)]) == not_finite([]) == ""
