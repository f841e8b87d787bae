"""What of a loader can be read only once is found without reading it."""

import multiprocessing
import queue
import random
from collections import deque
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lehr.data import DataLoader as OwnLoader
from lehr.data import Dataset
from lehr.data.loading.once import apart, read_once

STREAM = iter(range(100))
DRAWS = np.random.default_rng(0)


class Stream:
    def __init__(self):
        self.source = iter([1, 2])

    def __iter__(self):
        return self.source

    def method(self):
        return islice(self.source, 1)


class Batches:
    def __init__(self):
        self.at = 0

    def __iter__(self):
        self.at += 1
        yield self.at


class Emptied:
    def __init__(self):
        self.waiting = [1, 2]

    def __iter__(self):
        while self.waiting:
            yield self.waiting.pop()


def drained(waiting):
    def batches():
        while waiting:
            yield waiting.popleft()

    return batches


def taking(kept, waiting):
    while waiting:
        yield kept, waiting.pop()


def without_labels(rows):
    def batches():
        for row in rows:
            copy = dict(row)
            copy.pop("label")
            yield copy

    return batches


class Items(IterableDataset):
    def __init__(self):
        self.lines = iter("ab")

    def __iter__(self):
        yield from self.lines


def closure(value):
    return lambda: [value]


@pytest.mark.parametrize(
    ("loader", "name"),
    [
        (Stream(), "source"),
        (DataLoader(Items()), "lines"),
        (lambda: islice(STREAM, 3), "STREAM"),
        (closure(iter([1])), "value"),
        (closure(torch.Generator()), "value"),
        (closure(DataLoader([1], generator=torch.Generator())), "value"),
        (lambda: DRAWS.random(3), "DRAWS"),
        (Stream().method, "source"),
        (partial(islice, iter([1]), 2), "0"),
        (partial(max, key=random.Random(1)), "0"),
        (drained(deque([1, 2])), "waiting"),
        (closure(drained(deque([1, 2]))), "value.waiting"),
        (partial(taking, [0], [1, 2]), "1"),
        (partial(taking, [0], waiting=[1, 2]), "1"),
        (Emptied(), "waiting"),
    ],
)
def test_an_iterator_is_found_by_its_name(loader, name):
    assert read_once(loader) == name


def used():
    loader = DataLoader(TensorDataset(torch.zeros(4)), num_workers=0, persistent_workers=False)
    list(loader)
    loader._iterator = iter(loader)  # as persistent workers leave it
    return loader


@pytest.mark.parametrize(
    "loader",
    [
        [1, 2],
        (1, 2),
        OwnLoader(Dataset(torch.zeros(4), torch.zeros(4))),
        DataLoader([1, 2], shuffle=True, generator=torch.Generator()),
        used(),
        Batches(),
        closure([1, 2]),
        closure(deque([1, 2])),
        without_labels([{"label": 1}]),
        lambda: [torch.zeros(1), np.zeros(1), random.random()],
        partial(list, [1]),
    ],
)
def test_what_can_be_read_again_holds_none(loader):
    assert read_once(loader) is None


def test_a_loader_apart_changes_nothing_of_the_other():
    loader = Batches()
    assert list(apart(loader)) == [1]
    assert loader.at == 0
    assert list(loader) == [1]
    assert loader.at == 1  # the control


def test_what_ends_something_when_it_is_deleted_is_not_copied():
    class Ends(Batches):
        def __del__(self): ...

    class Refuses(Batches):
        def __copy__(self):
            raise TypeError

    for loader in (Ends(), Refuses(), [1], closure(1), OwnLoader([1, 2])):
        assert apart(loader) is loader


# One level down, and more -----------------------------------------------------------------------


class Wrapper:
    def __init__(self, inner):
        self.inner = inner

    def __iter__(self):
        return iter(self.inner)


class Shared:
    """Hands out the iterator of an object inside."""

    def __init__(self):
        self.inner = Stream()

    def __iter__(self):
        return self.inner.source


@pytest.mark.parametrize(
    ("loader", "name"),
    [
        (Shared(), "inner.source"),
        (Wrapper(Wrapper(Stream())), "inner.inner.source"),
        (Wrapper([[1], iter([1])]), "inner.1"),
        (Wrapper({"a": iter([1])}), "inner.a"),
        (Wrapper(DataLoader(Items())), "inner.lines"),
        (Wrapper(closure(iter([1]))), "inner.value"),
        (closure(Wrapper(iter([1]))), "value.inner"),
        (partial(list, Stream()), "0.source"),
    ],
)
def test_an_iterator_further_down_is_found_by_its_path(loader, name):
    assert read_once(loader) == name


class Reader:
    def next(self):
        return 1


class FromQueue(IterableDataset):
    def __init__(self, kind):
        self.waiting = kind()

    def __iter__(self):
        while not self.waiting.empty():
            yield self.waiting.get()


@pytest.mark.parametrize("kind", [queue.Queue, queue.SimpleQueue, multiprocessing.Queue, Reader])
def test_queues_and_readers_are_used_up_by_reading(kind):
    assert read_once(DataLoader(FromQueue(kind))) == "waiting"
    assert read_once(closure(kind())) == "value"
    assert read_once(Wrapper(Wrapper(FromQueue(kind)))) == "inner.inner.waiting"
    assert read_once(partial(lambda source: [source], kind())) == "0"


def test_names_like_those_of_queues_make_none():
    class Node:
        next = None

    class Cache(dict):
        put = dict.__setitem__

    for thing in (Node(), Cache(), queue, queue.Queue, deque([1])):
        assert read_once(closure(thing)) is None


class Circle:
    def __init__(self):
        self.me = self
        self.model = torch.nn.Linear(1, 1)
        self.values = torch.zeros(3)

    def __iter__(self):
        return iter([1])


@pytest.mark.parametrize(
    "inner",
    [
        Batches(),
        used(),
        [Batches(), [1]],
        Circle(),
        closure([1]),
        OwnLoader([1, 2]),
        DataLoader([1], generator=torch.Generator()),
    ],
)
def test_what_can_be_read_again_holds_none_further_down(inner):
    assert read_once(Wrapper(inner)) is None


def test_a_loader_apart_changes_nothing_of_a_loader_inside():
    loader = Wrapper(Wrapper(Batches()))
    assert list(apart(loader)) == [1]
    assert loader.inner.inner.at == 0
    assert list(loader) == [1]
    assert loader.inner.inner.at == 1  # the control
