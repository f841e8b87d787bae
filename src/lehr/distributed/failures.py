"""Who failed, where and why: found out by every process, within seconds."""

import re
import sys
import time
from contextlib import suppress
from typing import Any

import torch.distributed as dist

from lehr.distributed.control import PartedError
from lehr.distributed.group import give_up, has_given_up
from lehr.errors import RemoteRankError, add_note, notes_of, one_line, said
from lehr.loop.blame import position, where

_SECONDS = 6.0  # that a process waits for the word of another that it has lost
_MOMENT = 1.0  # the same, for one that may be waiting itself and cannot be woken


class Failures:
    """Tells the other processes of an error, and finds out about theirs.

    What is said goes through the store of the group, which needs no other process to listen. The
    groups are aborted, so that this process does not wait for the others when it ends. When it has
    ended, whoever waits for it is woken by an error, and reads what it said.

    Args:
        rank, world: which process this is, and of how many.
        groups: those that are aborted when one fails.
    """

    def __init__(self, rank: int, world: int, groups: list[Any]) -> None:
        self.rank, self.world, self.groups = rank, world, groups
        self.store = groups[0].get_group_store()
        self.over = False
        """Whether these processes can no longer train together"""

    def require_working(self) -> None:
        """See that these processes can still hear each other.

        Raises:
            RemoteRankError: one of them has failed before.
        """
        if self.over:
            raise RemoteRankError(
                "these processes no longer work together, because one of them failed before. Start "
                'the program anew; fit(…, resume="auto") goes on from the newest checkpoint.'
            )

    def tell(self, error: BaseException, run: Any) -> None:
        """Let every process know of an error; or find out which one failed.

        Who is told again, by a scope around the one that has told, does nothing.

        Args:
            error: that was raised in this process; it gets a note with the rank.
            run: the run in which it was; outside of one, what was done, in words.

        Raises:
            RemoteRankError: it is another process that failed.
        """
        if self.over:
            return
        if (remote := self._tell(error, run)) is not None:
            raise remote from error
        add_note(error, f"This was rank {self.rank} of {self.world}.")

    def _tell(self, error: BaseException, run: Any) -> RemoteRankError | None:
        self.over = True
        give_up()
        place = self._place(error, run)
        if not is_of_others(error):
            text = " ".join([f"{one_line(error)}.", *notes_of(error)])
            self._say("failed", f"rank {self.rank} failed in {place}: {text}")
            self._let_go()
            return None
        self._say(f"place {self.rank}", f"rank {self.rank} is in {place}")
        self._let_go()
        return RemoteRankError(self._found_out(place, error))

    def _found_out(self, place: str, error: BaseException) -> str:
        """What to say of an error that came from the others."""
        parted, waited = isinstance(error, PartedError), _seconds_waited(error)
        words: dict[int, str] = {}
        until = time.monotonic() + (_MOMENT if parted or waited else _SECONDS)
        while time.monotonic() < until and len(words) < self.world:
            if (failed := self._heard("failed")) is not None:
                return f"{failed} (Rank {self.rank} was in {place}.)"
            for rank in range(self.world):
                if (word := self._heard(f"place {rank}")) is not None:
                    words[rank] = word
                elif self._heard(f"left {rank}") is not None:
                    words[rank] = f"rank {rank} has ended its program"
            time.sleep(0.02)
        missing = [str(rank) for rank in range(self.world) if rank not in words]
        several = len(missing) > 1
        if parted or not missing:
            places = [words.get(rank, f"rank {rank} elsewhere") for rank in range(self.world)]
            return (
                f"the processes have parted: {'; '.join(places)}. fit, validate and predict must "
                "be called in every process, and a callback must cancel in all of them or in none; "
                "run.stop(reason) may be called in one."
            )
        if waited:
            they_are = "They are" if several else "It is"
            text = (
                f"{_ranks(missing)} said nothing for {waited:g} seconds, in which rank {self.rank} "
                f"waited in {place}. {they_are} stuck, or at work for longer than that: if so, "
                "give Distributed(timeout=…) more seconds."
            )
            self._say("failed", text)  # for those that are only late
            return text
        lost, was = ("are lost", "they were") if several else ("is lost", "it was")
        return (
            f"{_ranks(missing)} {lost}, and left no word: {was} probably killed. Look for memory "
            f"that ran out. Rank {self.rank} was in {place}."
        )

    def _place(self, error: BaseException, run: Any) -> str:
        if isinstance(run, str):
            return run
        place = where(error.__traceback__, run)
        idle = "a fit" if run.plan.trains else "a validation or prediction"
        if place.at == "reading":
            idle += ", reading a batch"
        return f"{place.text or idle}, {position(run, place.at)}"

    def _say(self, key: str, text: str) -> None:
        if key != "failed" or self._heard(key) is None:  # the first one counts
            _write(self.store, key, text)

    def _heard(self, key: str) -> str | None:
        try:
            return self.store.get(key).decode() if self.store.check([key]) else None
        except (RuntimeError, ValueError):
            return None

    def _let_go(self) -> None:
        # Not destroy_process_group, which can wait for the others. One of NCCL's is left as it is:
        # it must not be aborted in the middle of a transfer.
        for group in self.groups:
            if dist.get_backend(group) == "gloo":
                group.abort()


def _ranks(numbers: list[str]) -> str:
    return f"{'ranks' if len(numbers) > 1 else 'rank'} {' and '.join(numbers)}"


def leave(store: Any, rank: int) -> None:
    """Say that this process has come to the end of its program; it may have raised an error."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if error is not None and not has_given_up() and not _has(store, "failed"):
        _write(store, "failed", f"rank {rank} failed in its program: {one_line(error)}.")
    _write(store, f"left {rank}", "")


def _write(store: Any, key: str, text: str) -> None:
    with suppress(RuntimeError, ValueError):  # whoever keeps the store is gone
        store.set(key, text)


def _has(store: Any, key: str) -> bool:
    try:
        return store.check([key])
    except (RuntimeError, ValueError):
        return False


def is_of_others(error: BaseException) -> bool:
    """Whether an error is one that another process has caused, and not this one."""
    return isinstance(error, PartedError) or _is_lost_peer(error)


def _seconds_waited(error: BaseException) -> float:
    """How long was waited for another process in vain; 0 if that is not the error."""
    waited = re.search(r"Timed out waiting (\d+)ms", said(error))
    return int(waited[1]) / 1000 if waited else 0.0


def _is_lost_peer(error: BaseException) -> bool:
    """Whether it is the group that raised: NCCL's errors have a class, gloo's name its source."""
    if isinstance(error, dist.DistError):
        return True
    return type(error) is RuntimeError and bool(re.search(r"gloo/\S+\.(cc|h):\d+", str(error)))
