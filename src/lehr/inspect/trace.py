"""Where the time of training steps goes: shares that sum to the whole, and what they say."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from lehr.base.html import fill, lines
from lehr.base.rows import aligned, markup

Kind = Literal["data", "action", "callback", "loop"]

_NOTABLE = 0.05  # of the time: what would save less is not advised
_WAITS = 0.3  # of the time: so much makes it the first thing to say
_BEHIND = 0.2  # of the time: so long a queue of a device is no chance
_TINY = 1e-3  # seconds: of such a step, a good part is Python


class Share(NamedTuple):
    """What one part of the steps took, without the parts within it.

    Example:
        >>> Share("action", "predict", 0.25).seconds
        0.25
    """

    kind: Kind
    """``data`` (waiting for a batch), ``action``, ``callback``, or ``loop``: the loop itself"""
    name: str
    """of the action, or the callback's class"""
    seconds: float
    """of the host: the thread that runs the loop"""
    device_seconds: float | None = None
    """how far the device's queue moved meanwhile; None if the model is on the CPU"""


@dataclass(frozen=True)
class Profile:
    """Where the time of some steps went; prints as a table that sums to 100 %.

    Attributes:
        shares: the parts, the largest first; their seconds sum to those of all steps.
        steps: how many optimizer steps were measured.
        device: where the model is.
        lag: seconds that the device still worked when the host was done with all steps.
        by_threads: median seconds of a step by the number of torch's threads, where it was tried.
        left_out: names of callbacks that took no part.
        compiled: whether the Learner was made with ``compile``.

    Example:
        >>> shares = (Share("data", "waiting for data", 0.3), Share("action", "predict", 0.1))
        >>> print(Profile(shares, steps=10))
        part              µs a step      %
        waiting for data    30000.0   75.0
        predict             10000.0   25.0
        in all              40000.0  100.0
        10 steps of 40.00 ms on cpu: the steps wait for data, 75 % of the time.
        Most useful: read the data faster. Give the DataLoader num_workers=…, or more of them; or
        keep the data in memory, e.g. with lehr.data.arrays.
    """

    shares: tuple[Share, ...]
    steps: int
    device: str = "cpu"
    lag: float = 0.0
    by_threads: tuple[tuple[int, float], ...] = ()
    left_out: tuple[str, ...] = ()
    compiled: bool = False

    @property
    def seconds(self) -> float:
        """Of all steps together."""
        return sum(share.seconds for share in self.shares)

    def share_of(self, kind: Kind, name: str | None = None) -> float:
        """The share of a kind of parts, or of one of them, in the time: in [0, 1].

        Args:
            kind: as in `Share`.
            name: of the part; None for all of the kind.

        Example:
            >>> shares = (Share("data", "waiting for data", 0.3), Share("action", "predict", 0.1))
            >>> Profile(shares, steps=1).share_of("action")
            0.25
        """
        wanted = (s for s in self.shares if s.kind == kind and name in (None, s.name))
        return sum(share.seconds for share in wanted) / (self.seconds or 1.0)

    @property
    def verdict(self) -> str:
        """In one sentence, what the time goes to."""
        data = self.share_of("data")
        if data >= _WAITS:
            return f"the steps wait for data, {_percent(data)} of the time"
        if self._device_is_behind:
            return "the device is busy all the time, the host is ahead of it"
        if self.device != "cpu":
            return "the device waits for the host"
        actions, callbacks = self.share_of("action"), self.share_of("callback")
        parts = f"actions take {_percent(actions)}, callbacks {_percent(callbacks)}"
        return f"{parts}, waiting for data {_percent(data)}"

    @property
    def advice(self) -> str:
        """The one change that would save most."""
        return max(self._ideas())[1]

    def _ideas(self) -> list[tuple[float, str]]:
        """What could be changed, each with the share of the time that it may save."""
        ideas = [(_NOTABLE, "nothing stands out; the time goes to the model itself.")]
        ideas.append((self.share_of("data"), _READ))
        for share in self.shares:
            if share.kind == "callback":
                part = share.seconds / (self.seconds or 1.0)
                text = (
                    f"{share.name} takes {_percent(part)} of a step: let it do less, or less often."
                )
                ideas.append((part, text))
        if len(self.by_threads) > 1:
            ideas.append(self._fewer_threads())
        a_step = self.seconds / max(1, self.steps)
        if self._device_is_behind:
            ideas.append((0.3, "attach lehr.callbacks.MixedPrecision(), if you have not."))
        elif a_step < _TINY and not self.compiled:
            work = self.share_of("action") + self.share_of("loop")
            ideas.append((0.3 * work, _COMPILE))
        return ideas

    @property
    def _device_is_behind(self) -> bool:
        return self.lag > _BEHIND * self.seconds

    def _fewer_threads(self) -> tuple[float, str]:
        now = self.by_threads[0][1]
        threads, best = min(self.by_threads, key=lambda one: one[1])
        return 1 - best / now, (
            f"torch.set_num_threads({threads}): a step takes {best * 1e3:.2f} ms so, and "
            f"{now * 1e3:.2f} ms with {self.by_threads[0][0]}. The tensors are too small to be "
            "shared out among threads."
        )

    def _head(self) -> list[str]:
        device = [] if self.device == "cpu" else [f"µs on {self.device}"]
        return ["part", "µs a step", *device, "%"]

    def _rows(self) -> list[list[str]]:
        total = Share("loop", "in all", self.seconds, self._device_seconds())
        return [self._row(share) for share in (*self.shares, total)]

    def _row(self, share: Share) -> list[str]:
        def a_step(seconds: float) -> str:
            return f"{seconds / max(1, self.steps) * 1e6:.1f}"

        on_device = [] if self.device == "cpu" else [a_step(share.device_seconds or 0.0)]
        part = share.seconds / (self.seconds or 1.0)
        return [share.name, a_step(share.seconds), *on_device, f"{part * 100:.1f}"]

    def _device_seconds(self) -> float:
        return sum(share.device_seconds or 0.0 for share in self.shares)

    def _foot(self) -> list[str]:
        a_step = self.seconds / max(1, self.steps) * 1e3
        foot = [f"{self.steps} steps of {a_step:.2f} ms on {self.device}: {self.verdict}."]
        if self.left_out:
            foot.append(f"took no part: {', '.join(self.left_out)}")
        return [*foot, f"Most useful: {self.advice}"]

    def __str__(self) -> str:
        head = self._head()
        return "\n".join([*aligned(head, self._rows(), right=head[1:]), *self._foot()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows, foot = markup(self._head(), self._rows()), lines(self._foot())
        return fill("{{ rows }}<small>{{ foot }}</small>", rows=rows, foot=foot)


_READ = (
    "read the data faster. Give the DataLoader num_workers=…, or more of them; or keep the data in "
    "memory, e.g. with lehr.data.arrays."
)
_COMPILE = (
    "give the Learner compile=True, or train with larger batches. The steps are so short "
    "that Python takes a good part of each."
)


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
