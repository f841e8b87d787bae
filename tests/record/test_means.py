"""Means that are right for unequal batches, and whose bits nobody changes by looking."""

import math
import random

import pytest
import torch

from lehr.record.means import Mean, as_tensor, kept, packed, stacked, unpacked
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture


def mean_of(*pairs):
    mean = Mean()
    for value, weight in pairs:
        mean.add(value, weight)
    return mean.value


def test_nothing_counted_is_none():
    assert mean_of() is None
    assert mean_of((3.0, 0)) is None


def test_values_count_by_their_weight():
    assert mean_of((1.0, 3), (5.0, 1)) == 2.0
    assert mean_of((1.0, 1), (5.0, 1)) == 3.0  # what an unweighted mean would say


@pytest.mark.parametrize("kind", [float, torch.tensor])
@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_what_weighs_nothing_adds_nothing_and_what_weighs_something_shows(kind, odd):
    assert mean_of((kind(odd), 0), (kind(2.0), 4)) == 2.0
    assert not math.isfinite(mean_of((kind(odd), 1), (kind(2.0), 4)))


def test_a_mean_can_be_read_and_added_to_again():
    mean = Mean()
    mean.add(1.0, 1)
    assert (mean.value, mean.value) == (1.0, 1.0)
    mean.add(torch.tensor(4.0), 2)
    assert (mean.value, mean.weight) == (3.0, 3)


@pytest.mark.parametrize("n", [255, 256, 257, 513])
def test_folding_loses_nothing(n):
    pairs = [(float(i), 1 + i % 3) for i in range(n)]
    expected = sum(v * w for v, w in pairs) / sum(w for _, w in pairs)
    assert mean_of(*pairs) == pytest.approx(expected, rel=1e-14)
    tensors = [(torch.tensor(v), w) for v, w in pairs]
    assert mean_of(*tensors) == pytest.approx(expected, rel=1e-14)


def test_sums_are_kept_in_double_precision():
    n = 3000
    mean = mean_of(*((torch.tensor(0.1), 1) for _ in range(n)))
    single = torch.zeros(())
    for _ in range(n):
        single += torch.tensor(0.1)
    exact = torch.tensor(0.1).double().item()
    assert abs(mean - exact) < 1e-12
    assert abs(single.item() / n - exact) > 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_values_of_any_type_are_averaged(dtype):
    assert mean_of((torch.tensor(2, dtype=dtype), 1), (torch.tensor(4, dtype=dtype), 3)) == 3.5


def test_adding_never_reads_a_value_from_its_device():
    mean = Mean()
    for _ in range(600):
        mean.add(torch.zeros((), device="meta"), 8)  # cannot be read
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        mean.value


def test_the_mean_has_no_graph():
    weight = torch.ones((), requires_grad=True)
    mean = Mean()
    mean.add(weight * 2, 1)
    assert mean.value == 2.0
    assert isinstance(mean.total, float)


@pytest.mark.parametrize("is_cpu", [True, False])
def test_what_is_kept_is_no_part_of_what_was_given(monkeypatch, is_cpu):
    monkeypatch.setattr(torch.Tensor, "is_cpu", is_cpu)  # False: as on a device
    large = torch.ones(1000, requires_grad=True) * 2
    value = kept(large[3:4])
    with torch.no_grad():
        large += 1
    assert (float(value), large[3].item()) == (2.0, 3.0)
    assert isinstance(value, float) is is_cpu
    if not is_cpu:
        assert (value.shape, value.requires_grad) == ((), False)
        assert value.untyped_storage().nbytes() == value.itemsize


@pytest.mark.parametrize("is_cpu", [True, False])
def test_a_complex_number_is_refused(monkeypatch, is_cpu):
    monkeypatch.setattr(torch.Tensor, "is_cpu", is_cpu)
    match = (
        r"^a recorded number must be real; got a tensor of torch.complex64\. Record its \.real, "
        r"its \.imag or its \.abs\(\)\.$"
    )
    with pytest.raises(TypeError, match=match):
        Mean().add(torch.ones(1, dtype=torch.complex64), 1)


@pytest.mark.parametrize("is_cpu", [True, False])
def test_a_value_that_is_overwritten_after_it_was_added_counts_as_it_was(monkeypatch, is_cpu):
    monkeypatch.setattr(torch.Tensor, "is_cpu", is_cpu)
    mean, reused = Mean(), torch.zeros(())
    for number in range(5):
        reused.fill_(number)
        mean.add(reused, 1)
    assert mean.value == 2.0


def test_numbers_and_tensors_become_one_tensor():
    assert as_tensor([1, 2.5]).tolist() == as_tensor([torch.tensor(1.0), 2.5]).tolist() == [1, 2.5]
    assert as_tensor([torch.tensor(0.1), torch.tensor(0.2)]).dtype == torch.float32
    assert as_tensor([]).shape == (0,)


def test_a_metric_that_is_no_number_is_refused_where_it_is_added():
    with pytest.raises(ValueError, match=r"a mean is over numbers; got a tensor of shape \(3,\)"):
        Mean().add(torch.zeros(3), 3)


# Bits -------------------------------------------------------------------------------------------


def drawn(seed, n):
    """Values of all kinds, mostly of one weight, as a pass has them."""
    rng = random.Random(seed)
    for _ in range(n):
        value = rng.uniform(-1, 1)
        on_device = rng.random() < 0.7
        value = torch.tensor(value, dtype=torch.float64) if on_device else value
        yield value, (rng.choice([8, 3, 0.5, 0]) if rng.random() < 0.02 else 8)


def folded(pairs):
    """The same sum, written out: what has one weight is summed together, 256 at a time."""
    total, weight, group = 0.0, 0.0, []

    def fold():
        nonlocal total, weight
        part = torch.tensor([float(value) for value, _ in group], dtype=torch.float64).sum()
        total, weight = total + part * group[0][1], weight + group[0][1] * len(group)
        group.clear()

    for value, each in pairs:
        if each:
            if group and (group[0][1] != each or len(group) == 256):
                fold()
            group.append((value, each))
    fold()
    return float(total) / weight


@pytest.mark.parametrize("seed", range(20))
def test_a_mean_is_the_same_bits_however_often_it_is_read_or_kept(seed):
    pairs = list(drawn(seed, 700))
    rng, mean, unread = random.Random(seed), Mean(), Mean()
    for value, weight in pairs:
        mean.add(value, weight)
        unread.add(value, weight)
        if rng.random() < 0.05:
            _ = mean.value, mean.total, mean.weight
        if rng.random() < 0.05:
            state, mean = capture({"it": mean})["it"], Mean()
            mean.load_state_dict(state)
            assert first_difference(state, capture({"it": mean})["it"]) is None
    assert mean.value == unread.value == folded(pairs)
    assert mean.weight == unread.weight


def test_to_sum_in_other_groups_would_be_other_bits():
    apart = []
    for seed in range(20):
        values = torch.stack([torch.as_tensor(v) for v, _ in drawn(seed, 700)]).double()
        apart.append(values.sum().item() != (values[:100].sum() + values[100:].sum()).item())
    assert any(apart)


def test_tensors_of_several_types_and_numbers_are_kept_in_few_pieces():
    numbers = [torch.tensor(1.0), torch.tensor(2.0), 3.0, None, torch.tensor(4), torch.tensor(5.0)]
    pieces = packed(numbers)
    assert [type(piece) for piece in pieces] == [torch.Tensor, list, torch.Tensor, torch.Tensor]
    again = unpacked(pieces)
    assert again == numbers
    dtypes = [getattr(number, "dtype", None) for number in again]
    assert dtypes == [torch.float32, torch.float32, None, None, torch.int64, torch.float32]
    assert packed([]) == unpacked([]) == []


def test_numbers_of_numpy_are_kept_as_plain_ones():
    import numpy as np

    (numbers,) = packed([np.float32(1.5), np.float32(2.5)])
    assert [type(number) for number in numbers] == [float, float]
    mean = Mean()
    mean.add(np.float32(0.1), np.int64(2))
    state = mean.state_dict()
    assert [type(value) for value in (state["each"], *state["pending"][0])] == [float, float]


def test_what_was_on_another_device_follows_the_newest(monkeypatch):
    original, calls = torch.stack, []

    def refuses_first(tensors):
        calls.append(len(tensors))
        if len(calls) == 1:
            raise RuntimeError("Expected all tensors to be on the same device")
        return original(tensors)

    monkeypatch.setattr(torch, "stack", refuses_first)
    assert stacked([torch.tensor(1.0), torch.tensor(2.0)]).tolist() == [1.0, 2.0]
    assert calls == [2, 2]
    with pytest.raises(RuntimeError, match="equal size"):
        stacked([torch.zeros(2), torch.zeros(3)])
