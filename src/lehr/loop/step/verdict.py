"""Which step is the faster one, the fused or the eager one, as it was measured."""

from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, final

import torch
from torch import Tensor

_TURNS, _WARM_UP = 7, 2


@final
class Verdict:
    """Whether the steps of a Learner are fused: measured once, and kept.

    It is a state entry of a run: one that is resumed goes on with the choice of the one that was
    stopped, and measures nothing, for what is measured is never the same twice. The times are no
    part of the state.

    Args:
        clock: returns seconds.

    Attributes:
        fused: the choice; None as long as nothing was measured.
        seconds: of an eager step and of a fused one; None if another run has measured.

    Example:
        >>> verdict = Verdict()
        >>> verdict.fused is None, verdict.decided("a model", 0.002, 0.001).fused
        (True, True)
        >>> verdict.state_dict()
        {'fused': True}
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.clock = clock
        self.fused: bool | None = None
        self.seconds: tuple[float, float] | None = None
        self._what: Any = None

    def holds_for(self, what: Any) -> bool:
        """Whether there is a choice for this; one for anything else is forgotten."""
        if self._what is None:  # it was loaded
            self._what = what
        elif self._what != what:
            self.fused = self.seconds = self._what = None
        return self.fused is not None

    def decided(self, what: Any, eager: float, fused: float) -> "Verdict":
        """Choose the faster step.

        Args:
            what: what was measured.
            eager: seconds of a step.
            fused: seconds of a step.
        """
        self._what, self.seconds, self.fused = what, (eager, fused), fused <= eager
        return self

    def measured(self, *steps: Callable[[], Any]) -> list[float]:
        """The medians of some calls of each, in turns, after two that are not counted.

        Args:
            steps: each makes a step, and returns when it is done.

        Example:
            >>> ticks = iter(range(99))
            >>> Verdict(lambda: next(ticks)).measured(lambda: None, lambda: next(ticks))
            [1, 2]
        """
        times: list[list[float]] = [[] for _ in steps]
        for _ in range(_WARM_UP + _TURNS):
            for step, seconds in zip(steps, times, strict=True):
                begin = self.clock()
                step()
                seconds.append(self.clock() - begin)
        return [median(seconds[_WARM_UP:]) for seconds in times]

    def in_words(self) -> str:
        """What came out, for `Learner.explain`; empty as long as nothing is known.

        Example:
            >>> Verdict().decided("a model", 0.001, 0.002).in_words()
            'the eager step is the faster one (1.000 ms against 2.000 ms)'
        """
        if self.fused is None:
            return ""
        name = "fused" if self.fused else "eager"
        if self.seconds is None:
            return f"the {name} step was the faster one when the run was begun"
        low, high = (f"{1000 * seconds:.3f} ms" for seconds in sorted(self.seconds))
        return f"the {name} step is the faster one ({low} against {high})"

    def state_dict(self) -> dict[str, Any]:
        """The choice."""
        return {"fused": self.fused}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the choice of another run, if it had one already."""
        if state_dict["fused"] is not None and state_dict["fused"] is not self.fused:
            self.fused, self.seconds, self._what = state_dict["fused"], None, None

    def __repr__(self) -> str:
        return f"Verdict(fused={self.fused})"


def waiting_for(tensor: Tensor) -> Callable[[Any], None]:
    """A function that waits until the device of this tensor has done its work.

    Example:
        >>> waiting_for(torch.zeros(1))(None)
    """
    if tensor.device.type == "cpu":
        return _done
    return partial(_synchronize, tensor.device)


def _done(_: Any) -> None: ...


def _synchronize(device: torch.device, _: Any) -> None:
    torch.accelerator.synchronize(device)
