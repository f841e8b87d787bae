"""Sees whether a model is shared by processes: a Learner must know, and some need all of it."""

import sys
from collections.abc import Iterator
from typing import Any

import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def check_alone(model: Any) -> None:
    """See that a model is not one of several processes: a Learner without an engine has one.

    Raises:
        ValueError: it is in a DistributedDataParallel of several, or sharded.

    Example:
        >>> check_alone(nn.Linear(2, 2))
    """
    for what, processes in _shared(model):
        if processes > 1:
            raise ValueError(
                f"the model is {what} of {processes} processes, and the Learner knows of one: "
                "losses, stops and checkpoints would be those of each process by itself. Write "
                "Learner(…, engine=lehr.distributed.Distributed()); or give the model without that."
            )


def check_whole(model: Any, what: str, todo: str) -> None:
    """See that this process has all of a model, for what cannot be done with shards.

    Args:
        model: the model.
        what: what needs all of it.
        todo: what to do instead, a sentence.

    Raises:
        ValueError: it is sharded, as by FSDP2.

    Example:
        >>> check_whole(nn.Linear(2, 2), "an audit", "Audit it before it is sharded.")
    """
    for mesh in _meshes(model):
        raise ValueError(
            f"{what} needs all of the model in one process, and this one is in shards, over a mesh "
            f"of shape {tuple(mesh.shape)}. {todo}"
        )


def _meshes(model: nn.Module) -> Iterator[Any]:
    """The processes that share each distributed parameter."""
    for parameter in model.parameters():
        if (mesh := getattr(parameter, "device_mesh", None)) is not None:
            yield mesh


def _shared(model: Any) -> Iterator[tuple[str, int]]:
    """What shares out the model or its gradient, and among how many processes."""
    if not isinstance(model, nn.Module):
        return
    fsdp: Any = sys.modules.get("torch.distributed.fsdp")  # who has not loaded it has none
    kinds = (DistributedDataParallel, *([fsdp.FullyShardedDataParallel] if fsdp else []))
    parts: list[Any] = [part for part in model.modules() if isinstance(part, kinds)]
    for part in parts:
        yield f"in a {type(part).__name__}", dist.get_world_size(part.process_group)
    for mesh in _meshes(model):
        yield "in shards", mesh.size()
