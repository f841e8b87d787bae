import gc
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys

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
        return error


def test_an_error_keeps_its_type_and_the_next_pass_works():
    dl = DataLoader(Faulty(), 4, num_workers=1)
    error = caught(dl)
    assert str(error) == "no item 13"
    (note,) = error.__notes__
    assert re.fullmatch(
        r"In a worker process, at .*test_workers\.py:\d+, in __getitem__: raise .*", note
    )
    assert str(error.__cause__).count("  File ") == 1  # no frame of torch's, none of lehr's
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


def workers_of(dl):
    before = {child.pid for child in multiprocessing.active_children()}
    rows(dl.batches(1, 0))
    return {child.pid for child in multiprocessing.active_children()} - before


def test_they_end_with_the_loader_and_nobody_waits_for_them(monkeypatch):
    dl = DataLoader(Random(), 8, num_workers=2)
    started = workers_of(dl)
    assert len(started) == 2
    ended = []
    whole = torch.utils.data.dataloader._MultiProcessingDataLoaderIter._shutdown_workers
    monkeypatch.setattr(
        torch.utils.data.dataloader._MultiProcessingDataLoaderIter,
        "_shutdown_workers",
        lambda self: (ended.append(all(w.is_alive() for w in self._workers)), whole(self)),
    )
    del dl
    gc.collect()
    assert ended[0] is True  # by us, before torch takes its queues apart
    assert not started & {child.pid for child in multiprocessing.active_children()}


def test_two_passes_at_once_leave_the_processes_of_one():
    dl = DataLoader(Random(), 8, num_workers=2)
    before = {child.pid for child in multiprocessing.active_children()}
    for _ in zip(dl.batches(1, 0), dl.batches(1, 0), strict=True):
        pass
    assert len({child.pid for child in multiprocessing.active_children()} - before) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_that_drops_the_loader_ends_none_of_them():
    dl = DataLoader(Random(), 8, num_workers=2)
    started = workers_of(dl)
    if not (child := os.fork()):
        dl._workers.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert started <= {child.pid for child in multiprocessing.active_children()}
    assert len(rows(dl.batches(1, 1))) == 50


PROGRAM = """
import torch
from lehr import DataBunch, Learner
from lehr.data import DataLoader

items = [(torch.randn(3), 0) for _ in range(8)]
bunch = DataBunch(DataLoader(items, 4, num_workers=2), DataLoader(items, 4, num_workers=2))
model = torch.nn.Linear(3, 2)
opt = torch.optim.SGD(model.parameters(), 0.1)
learn = Learner(model, opt, torch.nn.functional.cross_entropy, bunch)
learn.fit(1)
"""


def test_a_program_that_ends_says_nothing_of_them():
    few_cores = "ignore:This DataLoader will create:UserWarning"
    command = [sys.executable, "-W", few_cores, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, timeout=100)
    assert (done.returncode, done.stderr.decode()) == (0, "")


class Ending(Faulty):
    """Item 13 ends the process that reads it."""

    def __getitem__(self, i):
        if i == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        return i


class Stopping(Faulty):
    """Item 13 says that there is nothing more."""

    def __getitem__(self, i):
        return next(iter([] if i == 13 else [i]))


def test_a_process_that_is_killed_is_told_in_plain_words():
    with pytest.raises(RuntimeError, match=r"ended while it read a batch: it was killed") as caught:
        list(DataLoader(Ending(), 4, num_workers=1))
    assert isinstance(caught.value.__cause__, (RuntimeError, ConnectionError, EOFError))


class Unreachable(Faulty):
    """Item 13 is on a machine that does not answer."""

    def __getitem__(self, i):
        if i == 13:
            raise ConnectionResetError("no answer")
        return i


def test_a_batch_that_cannot_be_fetched_from_a_dead_process_is_told_in_the_same_words(monkeypatch):
    def lost(answer):
        raise ConnectionResetError(104, "Connection reset by peer")

    with pytest.raises(ConnectionResetError, match="no answer"):
        list(DataLoader(Unreachable(), 4, num_workers=1))
    monkeypatch.setattr("lehr.data.loading.workers._read", lost)
    with pytest.raises(RuntimeError, match="ended while it read a batch: it was killed"):
        list(DataLoader(Unreachable(), 4, num_workers=1))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_dataset_that_raises_stop_iteration_ends_no_epoch(workers):
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        list(DataLoader(Stopping(), 4, num_workers=workers))
