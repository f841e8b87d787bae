import multiprocessing
import os
import random
import signal

import numpy as np
import pytest
import torch

from lehr.data import DataLoader, Dataset

pytestmark = pytest.mark.slow  # processes take a moment to start


class Random:
    def __len__(self):
        return 50

    def __getitem__(self, i):
        return i, float(torch.rand(())), float(np.random.rand()), random.random()


class Faulty:
    def __len__(self):
        return 20

    def __getitem__(self, i):
        if i == 13:
            raise LookupError(f"no item {i}")
        return i, os.getpid()


def generators():
    _kind, keys, *place = np.random.get_state()
    return torch.get_rng_state().tolist(), keys.tolist(), place, random.getstate()


def rows(batches):
    return [row for batch in batches for row in torch.stack([*batch], 1).tolist()]


@pytest.mark.parametrize("item_seeds", [False, True])
def test_any_number_of_workers_gives_the_same_bits(item_seeds):
    def passes(n):
        dl = DataLoader(Random(), 8, shuffle=True, num_workers=n, item_seeds=item_seeds)
        return [rows(dl.batches(1, 0)), rows(dl.batches(1, 1)), rows(dl.batches(1, 1, start=4))]

    here = passes(0)
    assert here[0] != here[1]
    assert passes(1) == here
    assert passes(2) == here


def test_data_in_memory_too():
    ds = Dataset(torch.arange(20.0), torch.arange(20))
    here = rows(DataLoader(ds, 8, shuffle=True, seed=1))
    assert rows(DataLoader(ds, 8, shuffle=True, seed=1, num_workers=2)) == here


def test_processes_are_kept_and_the_generators_stay():
    before = generators()
    dl = DataLoader(Random(), 8, seed=1, num_workers=2)
    list(dl)
    kept = dl._workers._idle
    list(dl)
    assert dl._workers._idle is kept
    assert before == generators()


def test_leaving_early_and_starting_again():
    dl = DataLoader(Random(), 4, shuffle=True, num_workers=2)
    whole = rows(dl.batches(1, 1))
    for _ in dl.batches(1, 0):
        break
    kept = dl._workers._idle
    assert kept is not None
    assert rows(dl.batches(1, 1)) == whole
    assert dl._workers._idle is kept


def test_two_passes_at_once():
    dl = DataLoader(Random(), 8, num_workers=1)
    whole = rows(dl.batches(1, 0))
    pairs = list(zip(dl.batches(1, 0), dl.batches(1, 0), strict=True))
    assert rows(a for a, _ in pairs) == rows(b for _, b in pairs) == whole


def caught(dl):
    try:  # pytest.raises would keep the frames, and with them the processes, alive
        list(dl.batches(0, 0))
    except LookupError as error:
        return str(error)


def test_an_error_keeps_its_type_and_the_next_pass_works():
    dl = DataLoader(Faulty(), 4, num_workers=1)
    assert "no item 13" in caught(dl)
    assert dl._workers._idle is None  # the next pass gets processes of its own
    assert next(dl.batches(0, 0))[0].tolist() == [0, 1, 2, 3]


def test_items_are_read_elsewhere():
    _, pids = next(iter(DataLoader(Faulty(), 4, num_workers=1)))
    assert os.getpid() not in pids.tolist()
    _, pids = next(iter(DataLoader(Faulty(), 4)))
    assert os.getpid() in pids.tolist()


def test_an_interrupt_is_left_to_the_training():
    batches = iter(DataLoader(Random(), 2, seed=1, num_workers=1))
    first = next(batches)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGINT)
    assert len([first, *batches]) == 25


def test_closing_ends_the_processes():
    dl = DataLoader(Random(), 8, num_workers=2)
    whole = rows(dl.batches(1, 0))
    assert len(multiprocessing.active_children()) >= 2
    before = {child.pid for child in multiprocessing.active_children()}
    dl._workers.close()
    dl._workers.close()
    assert len(before - {child.pid for child in multiprocessing.active_children()}) == 2
    assert rows(dl.batches(1, 0)) == whole
