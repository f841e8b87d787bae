"""Guarantee 15: a metric equals one pass over all items, however they came in batches."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassAccuracy

from lehr.record.metrics import Mean, Meter, accuracy
from tests.tier import count

many = settings(max_examples=count(80), deadline=None)
few = settings(max_examples=60, deadline=None)

KINDS = {
    "floats": lambda value, i: value,
    "tensors": lambda value, i: torch.tensor(value, dtype=torch.float64),
    "single": lambda value, i: torch.tensor(value),
    "mixed": lambda value, i: torch.tensor(value, dtype=torch.float64) if i % 2 else value,
}

values = st.floats(-1, 1)
seeds = st.integers(0, 2**32)
batches = st.lists(st.lists(values, max_size=6), max_size=40)


def mean_of(batch):
    """As a loss function returns it: of nothing it is nan."""
    return math.fsum(batch) / len(batch) if batch else math.nan


def fed(batches, kind):
    mean = Mean()
    for i, batch in enumerate(batches):
        mean.add(KINDS[kind](mean_of(batch), i), len(batch))
    return mean


def cut(items, rng, largest):
    """The items in batches of random sizes, empty ones among them."""
    found, start = [], 0
    while start < len(items):
        size = rng.randint(0, largest)
        found.append(items[start : start + size])
        start += size
    return found


@many
@given(batches, st.sampled_from(sorted(KINDS)), seeds)
def test_a_weighted_mean_equals_one_pass(batches, kind, seed):
    items = [value for batch in batches for value in batch]
    random.Random(seed).shuffle(batches)
    mean = fed(batches, kind)
    assert (mean.value is None) == (not items)
    if items:
        assert abs(mean.value - mean_of(items)) <= 1e-6
        assert mean.weight == len(items)


@few
@given(st.integers(257, 900), seeds, st.sampled_from(sorted(KINDS)))
def test_a_weighted_mean_of_more_batches_than_are_held_equals_one_pass(n, seed, kind):
    rng = random.Random(seed)
    batches = [[rng.uniform(-1, 1) for _ in range(rng.randint(0, 3))] for _ in range(n)]
    items = [value for batch in batches for value in batch]
    mean = fed(batches, kind)
    assert abs(mean.value - mean_of(items)) <= 1e-6
    assert mean.weight == len(items)


@few
@given(st.lists(values, min_size=1, max_size=60), seeds)
def test_any_two_splits_and_orders_agree(items, seed):
    rng = random.Random(seed)

    def split():
        rng.shuffle(items)
        return fed(cut(items, rng, 5), "floats").value

    assert abs(split() - split()) <= 1e-6


@few
@given(
    st.lists(st.tuples(values, st.floats(2**-10, 2**10)), min_size=1, max_size=30),
    st.lists(st.sampled_from([math.nan, math.inf, -math.inf, 3.0]), max_size=10),
    st.sampled_from(sorted(KINDS)),
    seeds,
)
def test_any_weights_and_nothing_that_weighs_nothing(pairs, weightless, kind, seed):
    fed_in = [*pairs, *((value, 0.0) for value in weightless)]
    random.Random(seed).shuffle(fed_in)
    mean = Mean()
    for i, (value, weight) in enumerate(fed_in):
        mean.add(KINDS[kind](value, i), weight)
    expected = math.fsum(v * w for v, w in pairs) / math.fsum(w for _, w in pairs)
    assert abs(mean.value - expected) <= 1e-6


@few
@given(st.lists(values, min_size=1, max_size=20), st.sets(st.integers(1, 20)))
def test_reading_in_between_changes_nothing(items, reads):
    read, unread = Mean(), Mean()
    for i, value in enumerate(items, 1):
        read.add(value, 1 + i % 3)
        unread.add(value, 1 + i % 3)
        if i in reads:
            _ = read.value
    assert abs(read.value - unread.value) <= 1e-12


@many
@given(st.integers(1, 80), st.integers(1, 9), seeds)
def test_accuracy_counts_exactly_whatever_the_batches(n, largest, seed):
    generator = torch.Generator().manual_seed(seed)
    pred = torch.rand(n, 3, generator=generator)
    target = torch.randint(3, (n,), generator=generator)
    hits = int((pred.argmax(1) == target).sum())
    rng = random.Random(seed)
    meters = [Meter(accuracy), Meter(MulticlassAccuracy(3, average="micro"))]
    for chosen in cut(torch.randperm(n, generator=generator).tolist(), rng, largest):
        for meter in meters:
            if chosen or meter.metric is accuracy:
                meter.add(pred[chosen], target[chosen], len(chosen))
    for meter in meters:
        (value,) = meter.values().values()
        assert abs(value - hits / n) <= 1e-6
        assert round(value * n) == hits


def test_the_mean_of_batch_means_would_not_do():
    batches = [[1.0, 1.0, 1.0], [0.0]]
    naive = sum(map(mean_of, batches)) / len(batches)
    assert abs(naive - fed(batches, "floats").value) > 0.2


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_nan_that_weighs_something_is_seen(kind):
    mean = Mean()
    mean.add(KINDS[kind](math.nan, 1), 1)
    mean.add(KINDS[kind](0.5, 2), 1)
    assert math.isnan(mean.value)
