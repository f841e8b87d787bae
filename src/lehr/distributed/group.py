"""Which processes there are: the group that exists, or the one that torchrun describes."""

import atexit
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous  # type: ignore[reportUnknownVariableType]

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
    # After a failure, torchrun starts all anew, with a store that remembers the addresses of those
    # that are gone.
    meetings: Any = rendezvous("env://", timeout=timeout)
    store, rank, world = next(meetings)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    dist.init_process_group(
        "cuda:nccl,cpu:gloo" if accelerated else "gloo",
        store=PrefixStore(f"attempt {attempt}", store),
        rank=rank,
        world_size=world,
        timeout=timeout,
    )
    _made_here = True


def _leave() -> None:
    if dist.is_initialized() and not _failed:
        dist.destroy_process_group()  # without this, some programs are aborted at their end
