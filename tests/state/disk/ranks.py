"""Processes of a test, as threads of this one: they only exchange what they say."""

import threading
from collections.abc import Callable
from typing import Any

import torch

from lehr.engine import Engine
from lehr.state.pieces import Shard, extent


class Ranks:
    """So many of them, which meet to say something."""

    def __init__(self, world: int) -> None:
        self.world, self.said = world, [None] * world
        self.barrier = threading.Barrier(world, timeout=20)

    def run(self, act: Callable[[Engine], Any]) -> list[Any]:
        """What ``act(engine)`` returns in each of them, or the error that it raises."""
        ends: list[Any] = [None] * self.world

        def one(rank: int) -> None:
            try:
                ends[rank] = act(Rank(self, rank))
            except BaseException as error:
                ends[rank] = error

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return ends


class Rank(Engine):
    """One of them."""

    def __init__(self, ranks: Ranks, rank: int) -> None:
        super().__init__()
        self.ranks, self.rank, self.world = ranks, rank, ranks.world

    def gather(self, value: Any) -> list[Any]:
        self.ranks.said[self.rank] = value
        self.ranks.barrier.wait()
        said = list(self.ranks.said)
        self.ranks.barrier.wait()
        return said


def cut(tensor: torch.Tensor, engine: Engine, dim: int = 0) -> Shard:
    """The part of a tensor that a process has."""
    part = tensor[(slice(None),) * dim + (extent(tensor.shape[dim], engine.rank, engine.world),)]
    return Shard(part, tuple(tensor.shape), dim, part=engine.rank, parts=engine.world)
