"""What the loop asks of the processes that train together. Here there is one, and it is alone."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, cast

import torch.distributed as dist
from torch import Tensor, nn

from lehr.base.sharing import WHOLE, Share
from lehr.base.values import check_values
from lehr.types import is_mapping

BY_PROCESS = "by process"
"""Under this name, a state is a list of the states of all processes."""

Wish = Literal["stop_reason", "interrupted"]
"""The field of the run that is to say why it ends."""


class Engine:
    """One process that trains alone; nothing here costs anything.

    `lehr.distributed.Distributed` is the engine of several processes: each of them has a Learner
    made by the same script, and calls the same methods in the same order.

    Attributes:
        rank: the number of this process, from 0.
        world: how many processes there are.

    Example:
        >>> ALONE.rank, ALONE.world, ALONE.gather("here")
        (0, 1, ['here'])
    """

    rank: int = 0
    world: int = 1

    def __init__(self) -> None:
        self.by_process: set[str] = set()
        """Names of the state entries of which each process keeps its own in a checkpoint"""

    def __deepcopy__(self, memo: Any) -> "Engine":
        return self  # copies of what holds it are in the same process

    @property
    def share(self) -> Share:
        """Which part of every batch this process reads."""
        return WHOLE

    @property
    def reads_own(self) -> bool:
        """Whether a loader that cannot share out its batches yields those of this process alone."""
        return False

    @property
    def key(self) -> tuple[int, ...]:
        """What sets the default generators of this process apart: nothing, for the first."""
        return (self.rank,) if self.rank else ()

    def prepare(self, model: nn.Module) -> None:
        """Give every process the same model, before its optimizer is made.

        Raises:
            ValueError: it has no values, or other processes train it, too.
        """
        check_values(model)
        if dist.is_available() and dist.is_initialized():  # there may be other processes
            from lehr.base.shared_models import check_alone

            check_alone(model)

    def opened(self, run: Any) -> AbstractContextManager[Any]:
        """A scope around a whole run. Its end waits for the other processes; an error is told."""
        return nullcontext()

    def actions(self, run: Any, own: dict[str, Any]) -> dict[str, Any]:
        """What the actions do where no callback wraps them, given what they do in one process."""
        return own

    def exchange(self, run: Any) -> None:
        """A training batch, or a validation, is about to be predicted."""

    def announce(self, run: Any) -> None:
        """The gradient of a training batch is about to be taken."""

    def apart(self, run: Any) -> bool:
        """Let the backward pass of the next batch ask nothing of other processes.

        Gradients are then averaged when the window closes.

        Returns:
            Whether that can be had: of a sharded model, each pass asks the others for its parts.
        """
        return True

    def settle(self, run: Any) -> None:
        """A window that the processes share closes: its weight becomes that over all of them."""

    def replay(self, run: Any, *, last: bool) -> None:
        """A batch of that window is about to be predicted again, perhaps the last of them."""

    def replayed(self, run: Any) -> None:
        """All batches of that window have their gradients again."""

    def ask(self, run: Any, wish: Wish, reason: str) -> None:
        """Let the run end. Several processes end it together, when they next hear of each other."""
        setattr(run, wish, getattr(run, wish) or reason)

    def clock(self, run: Any) -> float:
        """Seconds, from some moment on, that are the same in every process at the same place.

        Several processes have what the first one read when they last heard of each other.
        """
        return time.monotonic()

    def shares(self, batches: Iterator[Any], name: str, *, entered: bool = False) -> Iterator[Any]:
        """Share out each batch of a loader that does not do it itself: the part of this process.

        Args:
            batches: what it yields.
            name: of the loader.
            entered: whether the first of them is one that was read before, if there was any.
        """
        return batches

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes: of float64 on the CPU, if there are several."""
        return values

    def sums(self, named: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        """The sums over all processes of numbers by name, of every name that one of them has.

        Args:
            named: as many numbers under each name.

        Example:
            >>> ALONE.sums({"loss": (3.0, 2.0)})
            {'loss': [3.0, 2.0]}
        """
        return {name: list(numbers) for name, numbers in named.items()}

    def gather(self, value: Any) -> list[Any]:
        """The value that each process gives, by rank."""
        return [value]

    def same(self, value: Any) -> Any:
        """The value that the first process gives."""
        return value

    def whole(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        """A snapshot to be saved: without shards, in the process that saves."""
        return snapshot

    def own(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        """A snapshot to be saved by all processes together: with the shards of this one."""
        return snapshot

    def parts(self, entries: Mapping[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
        """A snapshot that was saved, as it can be loaded into these entries.

        Raises:
            ValueError: it has states of more, or fewer, processes than there are.
        """
        return {name: self._of_this(name, state) for name, state in snapshot.items()}

    def _of_this(self, name: str, state: Any) -> Any:
        known: Mapping[Any, Any] = state if is_mapping(state) else {}
        if [*known] != [BY_PROCESS]:
            return cast("Any", state)
        states = cast("list[Any]", known[BY_PROCESS])
        if len(states) != self.world:
            raise ValueError(
                f"{name} yields batches of each process's own, and its state is that of "
                f"{len(states)} processes; there are {self.world}. Go on with as many as before."
            )
        return states[self.rank]

    def telling(self, place: str = "the making of a Learner") -> AbstractContextManager[Any]:
        """A scope outside of a run: an error in it is told to the other processes.

        Args:
            place: what is done there, in words.
        """
        return nullcontext()

    def processes_text(self, batch_size: int | None = None, *, own: bool = False) -> str:
        """In words, who trains together; nothing, if it is one process.

        Args:
            batch_size: of the training loader, if it is known.
            own: whether that loader yields batches of this process alone.
        """
        return ""


def refuse_several(engine: Engine, what: str) -> None:
    """See that one process is alone, for what cannot be done by several.

    Raises:
        RuntimeError: it is not.

    Example:
        >>> refuse_several(ALONE, "check_resume")
    """
    if engine.world > 1:
        raise RuntimeError(
            f"{what} works in one process; this is one of {engine.world}. Call it without torchrun."
        )


ALONE = Engine()
"""The engine of a Learner that was given none"""
