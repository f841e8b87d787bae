"""A live table while fitting: in the terminal, in a notebook, or as plain lines."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from lehr.base.html import fill, lines
from lehr.base.notebook import in_notebook
from lehr.base.output import Output
from lehr.base.rows import Row, columns, fitting, header, html_rows, line
from lehr.callback import Callback
from lehr.events import Phase

if TYPE_CHECKING:
    from markupsafe import Markup

    from lehr.loop.run import Run

_REFRESH_SECONDS = 0.5  # a refresh costs about a millisecond
_WIDE = 80  # columns of a terminal in which there is room for a bar and items per second

_BAR = (
    '{% if total %}<progress max="{{ total }}" value="{{ done }}"></progress>{% endif %}'
    " {{ status }}"
)


class Progress(Callback):
    """Shows a row for every epoch or validation, and where the run stands in between.

    In a terminal, finished rows are printed once and a bar with time left, items per second and
    loss is redrawn at most twice a second; in a notebook the table updates in place; elsewhere
    there are plain lines. It says when a step is compiled, for that takes seconds. The loss is read
    from its device only when it is shown. A character that standard output has none for is
    replaced; if it cannot be written to, because it is closed or full, the fit goes on in silence,
    and a warning at its end says so.

    Args:
        mode: ``"terminal"``, ``"notebook"`` or ``"plain"``; ``"auto"`` looks where it is.
        title: a line in the place of the plan, and of every row and word after it. What is left is
            the bar: for `lehr.Learner.rehearse` and `lehr.Learner.find_lr`.
        console: the ``rich`` console to draw on in a terminal; None makes one on standard output.

    Raises:
        ValueError: ``mode`` is none of these.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> _ = tiny_learner().fit(1, callbacks=[Progress("plain")])
        1 epoch of 4 batches, seed 0
        epoch  train_loss  valid_loss        time
            0      0.7231      0.6961       ...s
    """

    phase = Phase.REPORT
    replays = False
    everywhere = False
    state = ("shown",)

    def __init__(
        self,
        mode: Literal["auto", "terminal", "notebook", "plain"] = "auto",
        *,
        title: str | None = None,
        console: Any = None,
    ) -> None:
        if mode not in ("auto", "terminal", "notebook", "plain"):
            raise ValueError(
                f"mode must be 'auto', 'terminal', 'notebook' or 'plain'; got {mode!r}. Leave it "
                "out."
            )
        self.mode = mode
        self.title = title
        self.console = console

    def __getstate__(self) -> dict[str, Any]:
        """All but the view, which is closed, unless a fit is under way.

        Raises:
            TypeError: it was given a console, which has an open file.
        """
        if self.console is not None:
            raise TypeError(
                "a Progress with a console cannot be pickled or copied, for the console writes to "
                "an open file. Leave console out; or set it to None before, and again afterwards."
            )
        return {name: value for name, value in vars(self).items() if name != "_view"}

    @contextmanager
    def around_fit(self, run: "Run") -> Generator[None]:
        """Open the view; it is closed however the fit ends."""
        self.shown, self._resumed = 0, getattr(run, "resuming", False)
        out = Output(sys.stdout, forgiving=True)
        if run.epochs == 0:
            self._view, self._next = _Plain(out), float("inf")
            yield
            return
        mode = _where(out) if self.mode == "auto" else self.mode
        made = {"terminal": partial(_Terminal, console=self.console), "notebook": _Notebook}
        self._view = view = made.get(mode, _Plain)(out)
        self._items, self._begin = 0.0, perf_counter()
        self._next = self._begin + _REFRESH_SECONDS if view.live else float("inf")
        if self._resumed:
            self._next = 0.0  # the first batch tells where the run goes on
        view.open(_plan(run) if self.title is None else self.title, _total(run))
        run.notices.append(view.wait)
        try:
            yield
        finally:
            run.notices.remove(view.wait)
            view.close()
        view.out.tell_loss("The fit")

    def after_batch(self, run: "Run") -> None:
        """Redraw, at most twice a second."""
        self._items += run.weight or 0
        if (now := perf_counter()) < self._next:
            return
        if self._resumed:
            self._tell_resumed(run)
        self._next = now + _REFRESH_SECONDS if self._view.live else float("inf")
        loss = "" if run.loss is None else f"loss {float(run.mean_loss.detach()):.4f}"
        rate = f"{self._items / (now - self._begin):,.0f} items/s" if run.training else ""
        self._items, self._begin = 0.0, now
        done = run.n_iter if run.steps is None else run.n_steps
        self._view.update(self._where(run), done, rate, loss)

    def after_validate(self, run: "Run") -> None:
        """Show a row that ends in the middle of an epoch."""
        self._show(run)

    def after_epoch(self, run: "Run") -> None:
        """Show the epoch's row."""
        self._show(run)

    def after_fit(self, run: "Run") -> None:
        """Say why the run ended before its time."""
        self._show(run)
        if run.stop_reason is not None and self.title is None:
            self._view.say(f"stopped: {run.stop_reason}")

    def _tell_resumed(self, run: "Run") -> None:
        self._resumed = False
        before = run.n_steps - (run.training and run.stepped)
        batch = f", batch {run.batch_index}" if run.training and run.batch is not None else ""
        self._view.say(f"resumed at step {before} (epoch {run.epoch}{batch})")
        self._items = 0.0
        self._view.start(run.n_iter if run.steps is None else run.n_steps)

    def _where(self, run: "Run") -> str:
        if self.title is not None:
            return f"batch {run.n_iter}"
        of = "" if run.epochs is None else f" of {run.epochs}"
        valid = f", valid {run.batch_index + 1}/{run.num_batches or '?'}"
        return f"epoch {run.epoch}{of}{'' if run.training else valid}"

    def _show(self, run: "Run") -> None:
        if self._resumed:
            self._tell_resumed(run)
        if self.title is not None:
            return
        rows = run.history.finished(self.shown)
        self.shown += len(rows)
        for row in rows:
            if "seconds" in row:  # else it was logged outside of epochs
                self._view.row(row)


def _plan(run: "Run") -> str:
    many = run.num_batches
    batches = "" if many is None else f" of {many} batch{'es' * (many != 1)}"
    feed = run.plan.train
    together = run.engine.processes_text(getattr(feed.loader, "batch_size", None), own=feed.own)
    end = f", seed {run.seed}" + (f"; {together}" if together else "")
    if run.epochs is None:
        return f"{run.steps} steps, epochs{batches or ' of unknown length'}{end}"
    return f"{run.epochs} epoch{'s' * (run.epochs > 1)}{batches}{end}"


def _total(run: "Run") -> int | None:
    if run.epochs is None:
        return run.steps
    return None if run.num_batches is None else run.epochs * run.num_batches


def _where(out: Output) -> str:
    if in_notebook():
        return "notebook"
    return "terminal" if out.isatty() else "plain"


class _Plain:
    """Lines on standard output."""

    live = False
    width = sys.maxsize  # of the table, in characters

    def __init__(self, out: Output) -> None:
        self.out, self.names = out, list[str]()

    def open(self, plan: str, total: int | None) -> None:
        self.say(plan)

    def start(self, done: int) -> None: ...

    def update(self, where: str, done: int, rate: str, loss: str) -> None: ...

    def wait(self, what: str) -> None:
        self.say(f"{what} …")

    def row(self, row: Row) -> None:
        if not self.names:
            self.names = fitting(columns(row), self.width)
            self.say(header(self.names))
        self.say(line(self.names, row))

    def say(self, text: str) -> None:
        self.out.write(f"{text}\n")
        self.out.flush()

    def close(self) -> None: ...


class _Terminal(_Plain):
    """Rows printed once, above a bar."""

    live = True

    def __init__(self, out: Any, console: Any) -> None:
        from rich import progress
        from rich.console import Console

        console = console or Console(file=out)
        self.own_file = console.file
        super().__init__(out if console.file is out else Output(console.file, forgiving=True))
        console.file = self.out
        self.width = console.width
        wide = self.width >= _WIDE
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            *([progress.BarColumn()] if wide else []),
            progress.TaskProgressColumn("{task.percentage:>3.0f}% of all"),
            progress.TimeRemainingColumn(),
            *([progress.TextColumn("{task.fields[rate]}")] if wide else []),
            progress.TextColumn("{task.fields[loss]}"),
            console=console,
            auto_refresh=False,
            transient=True,
        )

    def open(self, plan: str, total: int | None) -> None:
        self.say(plan)
        self.bar.start()
        self.task = self.bar.add_task("", total=total, rate="", loss="")

    def start(self, done: int) -> None:
        self.bar.reset(self.task, completed=done)  # what was done before tells no speed

    def update(self, where: str, done: int, rate: str, loss: str) -> None:
        fields: dict[str, Any] = {"rate": rate, "loss": loss}
        self.bar.update(self.task, description=where, completed=done, refresh=True, **fields)

    def wait(self, what: str) -> None:
        self.bar.update(self.task, description=f"{what} …", refresh=True)

    def say(self, text: str) -> None:
        self.bar.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        self.bar.stop()
        self.bar.console.file = self.own_file


class _Notebook(_Plain):
    """A table that is redrawn in place."""

    live = True

    def __init__(self, out: Output) -> None:
        super().__init__(out)
        self.rows: list[Row] = []
        self.lines: list[str] = []

    def open(self, plan: str, total: int | None) -> None:
        from IPython.display import HTML, display  # type: ignore[reportUnknownVariableType]

        self.total, self.html = total, HTML
        self.lines.append(plan)
        self.handle: Any = display(HTML(self._page()), display_id=True)

    def update(self, where: str, done: int, rate: str, loss: str) -> None:
        bar = fill(_BAR, total=self.total, done=done, status=f"{where} {rate}  {loss}")
        self.handle.update(self.html(self._page(bar)))

    def wait(self, what: str) -> None:
        self.handle.update(self.html(self._page(fill("{{ what }} …", what=what))))

    def row(self, row: Row) -> None:
        self.rows.append(row)
        self.handle.update(self.html(self._page()))

    def say(self, text: str) -> None:
        self.lines.append(text)

    def close(self) -> None:
        self.handle.update(self.html(self._page()))

    def _page(self, bar: "Markup | None" = None) -> str:
        rows = html_rows(self.rows) if self.rows else None
        said = lines(self.lines)
        return fill("<small>{{ said }}</small>{{ rows }}{{ bar }}", said=said, rows=rows, bar=bar)
