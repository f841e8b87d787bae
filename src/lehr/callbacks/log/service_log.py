"""Sends everything in the history to a service that keeps it, such as TensorBoard."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from numbers import Real
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from lehr.base.interrupts import heeds_interrupts
from lehr.callbacks.log.step_log import StepLog, Steps
from lehr.errors import sentence
from lehr.record.points import Point, later

if TYPE_CHECKING:
    from lehr.loop.run import Run


class ServiceLog(StepLog):
    """A `StepLog` whose entries become points of a service: name, batch and value.

    The other half are four methods: `connect`, `send`, `flush` and `disconnect`.

    The axis is the number of the training batch, and rises: a row stands at the last batch before
    it. Of two rows at one batch, the second adds only the columns that the first has not. What a
    service has once, it keeps: a run that is resumed, or has gone back, sends a point only if the
    service has none that is as late. So each point is there once, whatever was killed when.

    An error of the service does not end the fit: a warning says so, once. What is missing is sent
    with a later row, if it can be. A mistake in the other half itself, such as a TypeError that is
    raised there and not in the service's package, is an error of the fit.

    Two columns that the service would call by one name keep apart: the second gets a number.

    Raises:
        ImportError: the package of the service is not installed.

    Example:
        >>> from lehr import Callback
        >>> from lehr.testing import tiny_learner
        >>> class Printed(ServiceLog, Callback):
        ...     state = ("written",)
        ...     def connect(self, run, place):
        ...         return "the screen", {}
        ...     def send(self, points):
        ...         print(*(f"{name}@{at}" for at, name, _ in points if name == "loss"))
        >>> run = tiny_learner().fit(2, callbacks=[Printed()])
        loss@0 loss@1 loss@2 loss@3
        loss@4 loss@5 loss@6 loss@7
    """

    package: str | None = None
    """what must be installed, and the name of the extra that does it"""
    once_a_batch = False
    """whether the service takes the points of a batch only together: those of the newest batch are
    held, in the state as well, until there is a later one"""

    def __init__(self) -> None:
        if self.package is not None and find_spec(self.package) is None:
            raise ImportError(
                f"{type(self).__name__} needs the package {self.package}, which is not installed. "
                f'Run pip install "lehr[{self.package}]".'
            )
        self.file: Any = _Session(self)
        self._warned = False
        self._ends: list[int] = []
        self._names: dict[str, str] = {}

    # The other half ------------------------------------------------------------------------------

    def connect(self, run: "Run", place: Any) -> tuple[Any, Mapping[str, int]]:
        """Begin, or go on, to record a run.

        Args:
            run: the run.
            place: what this method returned when the run began; None if it begins now.

        Returns:
            What tells the service where to go on, as text; and the last batch that it has by
            column, as in `lehr.record.points.later`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no connect. Define connect, send, flush and disconnect."
        )

    def send(self, points: Sequence[Point]) -> None:
        """Hand points over, in the order of their batches."""
        raise NotImplementedError(
            f"{type(self).__name__} has no send. Define connect, send, flush and disconnect."
        )

    def known(self) -> Mapping[str, int] | None:
        """The last batch that the service has by column, asked for after a `send` has failed.

        None, where that cannot be asked: all that was to be sent is sent again.
        """
        return None

    def named(self, name: str) -> str:
        """What the service calls a column."""
        return name

    def flush(self) -> None:
        """Wait until what was sent would outlive this process."""

    def disconnect(self, failed: bool) -> None:
        """End the connection; the run is over, or has ended in an error."""

    # What a StepLog asks for ---------------------------------------------------------------------

    def begin_fit(self, run: "Run") -> None:
        """Connect; a run that is resumed connects when its state is there."""
        self.file.run, self._ends, self._names, self._over = run, [], {}, False
        run.defer(self._close)
        super().begin_fit(run)
        if not run.resuming:
            self.attempt(self.file.connect)

    def after_fit(self, run: "Run") -> None:
        """Hand over what is left; the run has come to its end."""
        self._over = True
        super().after_fit(run)

    def _close(self) -> None:
        self.attempt(partial(self.file.close, failed=not self._over))
        self.file.run = None

    def mark(self) -> dict[str, Any]:
        """What `cut` needs to know: also where each row ended, and what columns are called."""
        return {**super().mark(), "ends": list(self._ends), "names": dict(self._names)}

    def cut(self, mark: Mapping[str, Any]) -> None:
        """Go on from where `mark` was called."""
        self._ends, self._names = list(mark["ends"]), dict(mark["names"])
        own = ("ends", "names")
        super().cut({name: value for name, value in mark.items() if name not in own})

    def forgiven(self, error: Exception) -> str | None:
        """What a warning says of an error; None if what is wrong is the callback itself."""
        if _is_mistake(error, type(self)):
            return None
        return (
            f"{type(self).__name__} cannot reach its service: {type(error).__name__}, "
            f"{sentence(error)} The fit goes on, and what is missing is sent with a later row, if "
            "it can be."
        )

    def write_rows(self, run: "Run", rows: list[dict[str, Any]]) -> None:
        """Send what was logged by batch since the rows before, and the rows."""
        behind = self._handed + len(rows) - len(self._ends)
        self._ends += [max(run.n_iter - 1, 0)] * behind
        super().write_rows(run, rows)

    @heeds_interrupts  # a service may keep it waiting
    def write_entries(
        self, run: "Run", steps: Steps, rows: Sequence[dict[str, Any]], *, last: bool
    ) -> None:
        """Send the points that the service has not."""
        points = [*self._of_steps(steps), *self._of_rows(rows, self._handed)]
        self.file.connect()
        self.file.send(sorted(points, key=attrgetter("at")))

    def _of_steps(self, steps: Steps) -> Iterator[Point]:
        for step in steps:
            for name, value in step.items():
                if name != "batch":
                    yield Point(step["batch"], self._named(name), float(value))

    def _of_rows(self, rows: Sequence[Mapping[str, Any]], first: int) -> Iterator[Point]:
        for number, row in enumerate(rows, first):
            for name, value in row.items():
                if isinstance(value, Real) and not isinstance(value, bool):
                    yield Point(self._ends[number], self._named(name), float(value))

    def _named(self, name: str) -> str:
        if name not in self._names:
            wanted, taken, number = self.named(name), set(self._names.values()), 2
            self._names[name] = wanted
            while self._names[name] in taken:
                self._names[name], number = f"{wanted}_{number}", number + 1
        return self._names[name]

    def everything(self, run: "Run") -> list[Point]:
        """All points of the history up to now, for a service that cannot be asked what it has.

        Of a very long run, the history has no longer the points of every batch.
        """
        points = [
            Point(batch, self._named(name), value)
            for name, series in run.history.series.items()
            for batch, value in zip(series.batches, series.values, strict=True)
        ]
        points += self._of_rows(run.history.rows[: self._handed], 0)
        return later(sorted(points, key=attrgetter("at")), {})[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Session:
    """What a `RowLog` takes for its file: one run as the service keeps it."""

    def __init__(self, log: ServiceLog) -> None:
        self.log = log
        self.run: Any = None
        self._begin()

    def _begin(self) -> None:
        self.place: Any = None
        self.connected, self.offset = False, 0
        self.last: dict[str, int] = {}
        self.held: list[Point] = []
        self.in_doubt = False  # whether some of what could not be sent has arrived

    def open(self, *, resuming: bool = False) -> None:
        """A run begins; it is connected with when there is something to send."""
        self._begin()

    def connect(self) -> None:
        """Connect with the service, if that was not done yet."""
        if self.connected:
            return
        begins = self.place is None
        self.place, known = self.log.connect(self.run, self.place)
        self.connected, self.last = True, dict(known)
        if begins and known:  # an earlier fit is there
            self.offset = max(known.values()) + 1

    def send(self, points: Sequence[Point], *, last: bool = False) -> None:
        """Send those that are later than what the service has of their column.

        Args:
            points: in the order of their batches.
            last: whether nothing is held back for the points of the same batch that may come.
        """
        if self.in_doubt and (known := self.log.known()) is not None:
            self.last = dict(known)
        moved = [point._replace(at=point.at + self.offset) for point in points]
        new, last_points = later([*self.held, *moved], self.last)
        held: list[Point] = []
        if self.log.once_a_batch and not last:
            newest = max((point.at for point in new), default=0)
            held = [point for point in new if point.at == newest]
            new, last_points = later([p for p in new if p.at < newest], self.last)
        if new:
            self.in_doubt = True
            self.log.send(sorted(new, key=attrgetter("at")))
        self.last, self.held, self.in_doubt = last_points, held, False

    def sync(self) -> None:
        """Let what was sent outlive the process."""
        if self.connected:
            self.log.flush()

    def mark(self) -> dict[str, Any]:
        """Where the run is to be found."""
        held = [list(point) for point in self.held]
        return {"place": self.place, "offset": self.offset, "held": held}

    def cut(self, mark: Mapping[str, Any]) -> None:
        """Go on with the run that was there when `mark` was called."""
        if mark["place"] != self.place:
            self.connected = False
        self.place, self.offset = mark["place"], mark["offset"]
        self.held = [Point(*point) for point in mark["held"]]

    def claim(self) -> None:
        """Nothing: a run of a service is nobody else's."""

    def close(self, *, failed: bool) -> None:
        """Send what is held, and let go of the connection."""
        if self.connected:
            try:
                self.send([], last=True)
            finally:
                self.connected = False
                self.log.disconnect(failed)


_MISTAKES = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(NameError, NotImplementedError, TypeError, ValueError),
)


def _is_mistake(error: Exception, log: type) -> bool:
    """Whether an error is one of a callback's own code, and was raised in that code itself."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raised_in = None if trace is None else trace.tb_frame.f_globals.get("__name__")
    own = {kind.__module__ for kind in log.__mro__}
    return isinstance(error, _MISTAKES) and not isinstance(error, OSError) and raised_in in own
