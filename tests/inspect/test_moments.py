import math

import pytest
import torch

from lehr.inspect.moments import EDGES, by_item, dead_share, histogram, moments


def test_across_is_blind_to_what_all_items_share():
    values = torch.randn(500, 20, generator=torch.Generator().manual_seed(0))
    bias = 10 * torch.arange(20.0)
    plain, shifted = moments(values, 500), moments(values + bias, 500)
    assert plain.across == pytest.approx(1, abs=0.05)
    assert shifted.across == pytest.approx(plain.across, rel=1e-4)
    assert shifted.std > 50 * plain.std


def test_each_number_against_its_definition():
    values = torch.randn(6, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen = moments(values, 6)
    assert seen.mean == pytest.approx(values.mean().item())
    assert seen.std == pytest.approx(values.std(correction=0).item())
    assert seen.across**2 == pytest.approx(values.var(0, correction=0).mean().item())
    assert seen.norm**2 == pytest.approx(values.square().sum().item() / 6)
    assert (seen.size, seen.finite) == (12, True)


def test_items_may_lie_along_the_second_dimension_or_in_parts_along_the_first():
    values = torch.randn(5, 8, 3)
    assert torch.equal(by_item(values, 8), values.transpose(0, 1).reshape(8, 15))
    assert torch.equal(by_item(values.reshape(40, 3), 8), values.reshape(8, 15))
    assert by_item(torch.zeros(7, 3), 8).shape == (7, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_floating_type_is_measured(dtype):
    values = torch.tensor([[1.0, -1.0], [3.0, 1.0]], dtype=dtype)
    assert (moments(values, 2).across, moments(values, 2).mean) == (1.0, 1.0)
    assert sum(histogram(values)) == 4


def test_what_is_not_finite_is_said():
    assert not moments(torch.tensor([[1.0], [math.inf]]), 2).finite
    assert not moments(torch.tensor([[1.0], [math.nan]]), 2).finite
    assert moments(torch.zeros(2, 0), 2).size == 0


def test_a_unit_is_dead_if_no_item_and_no_place_wakes_it():
    values = torch.zeros(4, 3, 2, 2)
    values[1, 0, 1, 1] = 5
    assert dead_share(values, channels_last=False) == pytest.approx(2 / 3)
    assert dead_share(values.permute(0, 2, 3, 1), channels_last=True) == pytest.approx(2 / 3)
    assert dead_share(values, channels_last=True) == 0.5


def test_a_histogram_counts_everything_in_shared_bins():
    counts = histogram(torch.tensor([-100.0, -0.01, 0.01, 0.01, 100.0, math.nan]))
    assert len(counts) == len(EDGES) - 1
    assert (counts[0], counts[-1], sum(counts)) == (1, 1, 6)
    assert counts[len(counts) // 2] == 3  # nan counts as zero
