"""The small messages by which processes know that they are at the same place, and agree."""

import zlib
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
    "alike",
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

    def __init__(self, values: torch.Tensor, where: torch.Tensor, work: Any, world: int) -> None:
        self.values, self.where, self.work, self.world = values, where, work, world
        self._copied: Any = None

    def wait(self) -> Said:
        """What all processes said.

        Raises:
            PartedError: another one sent a message from another place.
            RuntimeError: another one is lost.
        """
        self._arrive()
        if self._copied is not None:
            self._copied.synchronize()
        values = self.values.cpu()
        if not torch.equal(values[: len(self.where)], self.where * self.world):
            raise PartedError("the processes are not at the same place.")
        return Said(*(float(value) for value in values[len(self.where) :]))

    def weight(self) -> torch.Tensor:
        """The sum of the weights, a tensor without dimensions, on the device of the message.

        Nothing waits for that device. What else was said is copied from there, to be read later.
        """
        self._arrive()
        total = self.values[len(self.where)].clone()
        if not self.values.is_cpu:
            there = torch.empty(self.values.shape, dtype=self.values.dtype, pin_memory=True)
            there.copy_(self.values, non_blocking=True)
            self._copied = torch.accelerator.current_stream(self.values.device).record_event()
            self.values = there
        return total

    def _arrive(self) -> None:
        if self.work is not None:
            self.work.wait()  # on a device, only what is done there next waits
            self.work = None


class Control:
    """Messages between all processes: nine numbers each, added up on a group of their own.

    All have one size, so that any two fit together. If processes have parted, their messages still
    meet, and at least one finds out: by what the messages are about, by the position, or by what is
    to follow. On the group of the gradients, a mismatch would end the process in C++.

    Args:
        group: of all processes, for nothing else.
        late: whether what is said in a step is read one step later, and its weight stays on the
            device. Otherwise messages go over the CPU, and none waits for a device.
    """

    def __init__(self, group: Any, *, late: bool = False) -> None:
        self.group, self.world, self.late = group, dist.get_world_size(group), late
        self.runs = 0
        """How many runs were opened: part of every position"""
        self.device = torch.device("cpu")
        accelerator = torch.accelerator.current_accelerator()
        if late and accelerator is not None and dist.get_backend(group) != "gloo":
            self.device = torch.device(accelerator.type, torch.accelerator.current_device_index())

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
        values = values.to(self.device, non_blocking=True)
        work: Any = self.group.allreduce([values])
        return Sent(values, where, work, self.world)

    def alike(self, text: str) -> bool:
        """Whether all processes give the same text: one message, however many they are.

        Numbers are all alike where the sum of their squares is as small as it can be.
        """
        numbers = divmod(zlib.crc32(text.encode()), 1 << 16)
        said = self.send("alike", Said(*(n**power for n in numbers for power in (1, 2)))).wait()
        sums = [int(value) for value in said]
        return all(sums[i] ** 2 == self.world * sums[i + 1] for i in (0, 2))
