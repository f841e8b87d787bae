"""Processes that read batches ahead: torch's worker machinery with our order on top."""

import os
import signal
import traceback
import weakref
from collections.abc import Generator, Iterable, Iterator
from typing import Any, cast

import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler as TorchSampler

from lehr.data.loading.failures import Failure, WorkerError
from lehr.data.loading.fetch import Fetch, Request

_DEAD = "DataLoader worker (pid"  # as torch's message begins


def _is_of_a_dead_worker(error: Exception) -> bool:
    """Whether torch says so; or a batch was under way, and its tensors could not be fetched."""
    if isinstance(error, (ConnectionError, EOFError)):
        return not isinstance(error.__cause__, WorkerError)  # a dataset has raised that
    return type(error) is RuntimeError and str(error).startswith(_DEAD)


class _Served(TorchDataset[Any]):
    """What a worker process holds: a request in, a batch out."""

    def __init__(self, fetch: Fetch) -> None:
        self.fetch = fetch

    def __getitem__(self, index: Any) -> Any:
        try:
            return self.fetch(index)
        except Exception as error:
            return Failure.of(error)  # torch would put its whole traceback into the message


class _Orders(TorchSampler[Request]):
    """Hands this pass's requests to the torch loader, which outlives the pass."""

    requests: Iterable[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)


_others: list[TorchLoader[Any]] = []  # those whose processes are children of another process


def _stop(loader: TorchLoader[Any], process: int) -> None:
    """End the processes now; left to the end of the program, torch waits for them for seconds."""
    if os.getpid() != process:  # a fork, which has the queues, but no right to end their readers
        _others.append(loader)  # or torch would end them
        return
    iterator = getattr(loader, "_iterator", None)
    getattr(iterator, "_shutdown_workers", lambda: None)()


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C, and the end of a terminal, reach every process; the training decides what follows.

    SIGTERM ends the worker: torch has a handler of its own for that, which is not to be replaced.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _read(answer: Any) -> Any:
    if isinstance(answer, Failure):
        raise answer.error()
    return answer


def _unchanged(batch: Any) -> Any:
    return batch


class Workers:
    """Answers requests in order, from processes that are kept from pass to pass.

    Every process has the dataset as it was when it was started. If its length is another at the
    beginning of a pass, new processes are started.

    Args:
        fetch: reads a batch; sent to every process.
        count: number of processes.
    """

    def __init__(self, fetch: Fetch, count: int) -> None:
        self._fetch = fetch
        self._count = count
        self._idle: TorchLoader[Any] | None = None
        self._ends: dict[TorchLoader[Any], weakref.finalize[..., Workers]] = {}
        """what ends the processes of each, at the latest with this object or with the program"""
        self._items = 0  # in the dataset of the idle workers

    def __getstate__(self) -> dict[str, Any]:
        """For copies, which start processes of their own."""
        return {**vars(self), "_idle": None, "_ends": {}, "_items": 0}

    def answers(self, requests: Iterable[Request]) -> Generator[Any]:
        """The batches asked for, read a few ahead.

        May be left early, and started again before the last pass is over: that one keeps its
        processes to itself, and the new pass gets others. An error ends the processes it came from.
        """
        items = len(self._fetch.dataset)
        if items != self._items:
            self.close()
        loader = self._start() if self._idle is None else self._idle
        self._idle, self._items = None, items
        cast(_Orders, loader.sampler).requests = requests
        try:
            yield from map(_read, loader)
        except Exception as error:
            self._end(loader)
            # A frame of torch's holds the error that holds the frame; both would hold the loader.
            traceback.clear_frames(error.__traceback__)
            if _is_of_a_dead_worker(error):
                raise RuntimeError(
                    "a worker process of the DataLoader ended while it read a batch: it was "
                    "killed, perhaps because the memory was full, or what it read ended it. Give "
                    "fewer num_workers or smaller batches; num_workers=0 shows errors as they are."
                ) from error
            raise
        except GeneratorExit:
            self._keep(loader)
            raise
        self._keep(loader)

    def _keep(self, loader: TorchLoader[Any]) -> None:
        self.close()  # those of a pass that was begun before this one, and is over as well
        self._idle = loader

    def close(self) -> None:
        """End the processes that wait for a next pass; such a pass would start others."""
        if self._idle is not None:
            self._end(self._idle)
            self._idle = None

    def _end(self, loader: TorchLoader[Any]) -> None:
        self._ends.pop(loader)()

    def _start(self) -> TorchLoader[Any]:
        loader = TorchLoader(
            _Served(self._fetch),
            batch_size=None,  # a request already is a whole batch
            sampler=_Orders(),
            collate_fn=_unchanged,
            num_workers=self._count,
            worker_init_fn=_leave_interrupts,
            persistent_workers=True,
            generator=torch.Generator().manual_seed(0),  # else it draws from the global one
        )
        self._ends[loader] = weakref.finalize(self, _stop, loader, os.getpid())
        return loader
