"""A clock that always runs for somebody: what it has counted sums to the time that has passed."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

from torch import cuda

from lehr.inspect.trace import Kind, Share

Account = tuple[Kind, str]
LOOP: Account = ("loop", "the loop itself")
DATA: Account = ("data", "waiting for data")


class Clock:
    """Counts time for one account at a time, the innermost that was entered.

    Args:
        device: whose queue is looked at, too; a CPU has none.
        now: seconds, from any beginning on.

    Example:
        >>> ticks = iter([0.0, 1.0, 4.0, 5.0])
        >>> clock = Clock(now=lambda: next(ticks))
        >>> clock.timed(DATA, print)("read")
        read
        >>> for share in clock.shares(): print(share.name, share.seconds)
        waiting for data 3.0
        the loop itself 2.0
    """

    def __init__(self, device: str = "cpu", now: Callable[[], float] = perf_counter) -> None:
        self.device, self.now = device, now
        self.lag = 0.0
        self.restart()

    def restart(self) -> None:
        """Forget what was counted; the loop itself runs from here on."""
        self._seconds: dict[Account, float] = {}
        self._marks: list[tuple[Account, Any]] = []
        self._for, self._since = LOOP, self.now()
        self._mark()

    def _switch(self, account: Account) -> Account:
        now, before = self.now(), self._for
        self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._for, self._since = account, now
        self._mark()
        return before

    def timed(self, account: Account, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time is counted for an account."""

        def timed(*args: Any) -> Any:
            before = self._switch(account)
            try:
                return function(*args)
            finally:
                self._switch(before)

        return timed

    def shares(self) -> tuple[Share, ...]:
        """What each account has, the largest first; and nothing is counted any more."""
        self._switch(self._for)
        on_device = self._on_device()
        shares = (
            Share(*account, seconds, None if on_device is None else on_device.get(account, 0.0))
            for account, seconds in self._seconds.items()
        )
        return tuple(sorted(shares, key=lambda share: -share.seconds))

    # The device ----------------------------------------------------------------------------------

    def _mark(self) -> None:
        """Put a mark into the device's queue, where one has begun to be counted for an account."""
        if self.device == "cuda":
            mark = cuda.Event(enable_timing=True)
            mark.record()
            self._marks.append((self._for, mark))

    def _on_device(self) -> dict[Account, float] | None:
        """How far the device's queue moved while the host was at each account, in seconds."""
        if self.device != "cuda":
            return None
        begun = self.now()
        cuda.synchronize()
        self.lag = self.now() - begun
        spent: dict[Account, float] = {}
        for (account, mark), (_, following) in zip(self._marks, self._marks[1:], strict=False):
            spent[account] = spent.get(account, 0.0) + mark.elapsed_time(following) / 1e3
        return spent
