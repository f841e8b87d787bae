"""Which processes there are: the group that exists, or the one that torchrun describes."""

import atexit
import os
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous  # type: ignore[reportUnknownVariableType]

_MOMENT = 0.005  # seconds between two looks at the store

_made_here = False
_failed = False  # whether a process has failed: then nobody may be there to leave with


def join(timeout: float) -> bool:
    """Be in a process group: in the one that exists, or in one that is made now.

    Whoever started this program says with the variables RANK, WORLD_SIZE, MASTER_ADDR and
    MASTER_PORT who takes part, as torchrun does. A group that is made here is left when the program
    ends; one that exists belongs to whoever made it.

    Args:
        timeout: seconds after which a silent process counts as lost.

    Returns:
        Whether there is a group. Without one, this process is alone.
    """
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return False
        _make(timedelta(seconds=timeout))
        atexit.register(_leave)
    return True


def is_made_here() -> bool:
    """Whether the group was made by `join`, and is nobody else's."""
    return _made_here


def release(group: Any) -> None:
    """Let go of a group of our own whose engine is gone."""
    if dist.is_initialized() and not _failed:
        dist.destroy_process_group(group)


def give_up() -> None:
    """End without leaving the group: after a failure, that could wait for ever."""
    global _failed
    _failed = True


def has_given_up() -> bool:
    """Whether a failure was told of, or heard of."""
    return _failed


def _make(timeout: timedelta) -> None:
    global _made_here
    accelerated = torch.accelerator.is_available()
    if accelerated:
        torch.accelerator.set_device_index(int(os.environ.get("LOCAL_RANK", "0")))
    meetings: Any = rendezvous("env://", timeout=timeout)
    store, rank, world = next(meetings)
    dist.init_process_group(
        "cuda:nccl,cpu:gloo" if accelerated else "gloo",
        store=PrefixStore(name_of_start(store, rank, world, timeout), store),
        rank=rank,
        world_size=world,
        timeout=timeout,
    )
    _made_here = True


def name_of_start(store: Any, rank: int, world: int, timeout: timedelta) -> str:
    """A name that all processes of one start know, and no other start has.

    After a failure, torchrun starts all processes anew with the store of those that are gone, in
    which their addresses still are. How often it did is counted by each machine for itself, and not
    alike. So the first process makes up a name, and tells it to each of the others when that one
    asks, under a name of its own: nobody takes a question or an answer of those that are gone for
    one of this start.

    Args:
        store: which all have.
        rank: which process this is.
        world: how many there are.
        timeout: how long to wait for the others.

    Raises:
        TimeoutError: the first process has not heard of all others, or this one not of the first.

    Example:
        >>> len(name_of_start(dist.HashStore(), 0, 1, timedelta(seconds=1)))
        32
    """
    own = uuid4().hex
    if rank:
        store.set(f"rank {rank} asks", own)
        try:
            store.wait([f"answer to {own}"], timeout)
        except dist.DistStoreError as error:
            raise TimeoutError(_late(0, world, timeout)) from error
        name = store.get(f"answer to {own}").decode()
        store.set(f"{name} is known to {rank}", "")
        return name
    missing, until = range(1, world), time.monotonic() + timeout.total_seconds()
    while missing := [r for r in missing if not store.check([f"{own} is known to {r}"])]:
        for asks in (key for r in missing if store.check([key := f"rank {r} asks"])):
            store.set(f"answer to {store.get(asks).decode()}", own)
        if time.monotonic() > until:
            raise TimeoutError(_late(missing[0], world, timeout))
        time.sleep(_MOMENT)
    return own


def _late(rank: int, world: int, timeout: timedelta) -> str:
    return (
        f"rank {rank} of {world} has not started in {timeout.total_seconds():g} seconds. Look at "
        "what it says; or give Distributed(timeout=…) more seconds."
    )


def _leave() -> None:
    if dist.is_initialized() and not _failed:
        dist.destroy_process_group()  # without this, some programs are aborted at their end
