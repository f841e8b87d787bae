"""The small messages by which processes know that they are at the same place, and agree."""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist

_KINDS = (
    "fit",
    "validation",
    "step",
    "cancel",
    "rest",
    "end",
    "batch",
    "sum",
    "gather",
    "broadcast",
)
"""What a message can be about: one sent for one purpose never passes for another's"""


class Said(NamedTuple):
    """What a process says; or what all of them said, added up."""

    weight: float = 0.0
    """the sum of the weights of their windows"""
    stops: float = 0.0
    """how many want the run to stop"""
    interrupts: float = 0.0
    """how many were interrupted"""
    clock: float = 0.0
    """what the clock of the first process says, in seconds"""


NOTHING = Said()
"""What a message says that only tells where its process is"""


class PartedError(RuntimeError):
    """The processes are not at the same place."""


class Sent:
    """A message that is under way. `wait` for the answer, as often as you like."""

    def __init__(self, values: torch.Tensor, where: torch.Tensor, work: Any, of: "Control") -> None:
        self.values, self.where, self.work, self.of = values, where, work, of

    def wait(self) -> Said:
        """What all processes said.

        Raises:
            PartedError: another one sent a message from another place.
            RuntimeError: another one is lost.
        """
        if self.work is not None:
            self.work.wait()
            self.work = None
        if not torch.equal(self.values[: len(self.where)], self.where * self.of.world):
            raise PartedError("the processes are not at the same place.")
        return Said(*(float(value) for value in self.values[len(self.where) :]))


class Control:
    """Messages between all processes: nine numbers each, added up on a group of their own.

    All have one size, so that any two fit together. If processes have parted, their messages still
    meet, and at least one finds out: by what the messages are about, by the position, or by what is
    to follow. On the group of the gradients, a mismatch would end the process in C++. As the group
    is one of CPUs, no message waits for a device.

    Args:
        group: a gloo group, of all processes, for nothing else.
    """

    def __init__(self, group: Any) -> None:
        self.group, self.world = group, dist.get_world_size(group)
        self.runs = 0
        """How many runs were opened: part of every position"""

    def send(
        self, kind: str, said: Said = NOTHING, *, position: tuple[int, int] = (0, 0), size: int = 0
    ) -> Sent:
        """Send a message, and do not wait.

        Args:
            kind: what it is about.
            said: what this process says.
            position: training batches and steps done.
            size: of what follows.
        """
        where = torch.tensor([_KINDS.index(kind), self.runs, *position, size], dtype=torch.float64)
        values = torch.cat([where, torch.tensor(said, dtype=torch.float64)])
        work: Any = self.group.allreduce([values])
        return Sent(values, where, work, self)
