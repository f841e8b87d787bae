"""What autocast has made half precise becomes float32."""

import pytest
import torch

from lehr.base.autocast import in_single_precision


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_under_autocast_halves_become_single_and_the_rest_stays(half):
    value = {"a": torch.ones(2, dtype=half), "b": (torch.ones(1, dtype=torch.float64), None)}
    numbers = torch.arange(3)
    with torch.autocast("cpu", torch.bfloat16):
        found = in_single_precision({**value, "c": numbers})
    assert found["a"].dtype == torch.float32
    assert found["b"][0] is value["b"][0]
    assert found["c"] is numbers


def test_where_autocast_is_off_a_half_stays_what_the_user_made_it():
    value = torch.ones(2, dtype=torch.bfloat16)
    assert in_single_precision(value) is value
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        assert in_single_precision(value) is value
