"""Progress shows every row once, in a terminal, in a notebook and as plain lines."""

import io
import re
import sys
import time
import types
from itertools import chain, repeat

import pytest
from rich.console import Console

from lehr import Callback, CancelFit, DataBunch, accuracy
from lehr.base.output import Output
from lehr.callbacks import Progress
from lehr.callbacks.log import progress
from lehr.testing import tiny_learner


def fit(callbacks=(), **kwargs):
    arguments = {"metrics": [accuracy], **kwargs}
    return tiny_learner(callbacks, **arguments)


def test_plain_lines(capsys):
    fit([Progress("plain")]).fit(3)
    plan, header, *rows = capsys.readouterr().out.splitlines()
    assert plan == "3 epochs of 4 batches, seed 0"
    assert header.split() == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert [row.split()[0] for row in rows] == ["0", "1", "2"]
    assert len({len(line) for line in [header, *rows]}) == 1  # aligned


def test_a_learner_shows_progress_unless_told_not_to(capsys):
    fit(progress=True).fit(1)
    assert "train_loss" in capsys.readouterr().out
    fit(progress=False).fit(1)
    assert capsys.readouterr().out == ""


def test_ones_own_progress_replaces_the_default(capsys):
    fit([Progress("plain")], progress=True).fit(1)
    assert capsys.readouterr().out.count("train_loss") == 1


def test_length_in_steps_and_unknown_length(capsys):
    fit([Progress("plain")]).fit(steps=6)
    assert capsys.readouterr().out.startswith("6 steps, epochs of 4 batches, seed 0")
    batch = next(tiny_learner().data.train_dl.batches(0, 0))
    fit([Progress("plain")], data=DataBunch(lambda: iter([batch])), metrics=[]).fit(1)
    assert capsys.readouterr().out.startswith("1 epoch, seed 0")


def test_validation_in_the_middle_of_an_epoch_has_a_row(capsys):
    fit([Progress("plain")]).fit(1, validate_every="2 steps")
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 2


def test_what_is_logged_outside_of_epochs_is_no_row_of_the_table(capsys):
    class Before(Callback):
        def begin_fit(self, run):
            run.log("items", 32)

    fit([Progress("plain"), Before()]).fit(2)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["0", "1"]


def test_a_missing_number_is_a_dash_and_the_reason_is_told(capsys):
    class End(Callback):
        def after_batch(self, run):
            if not run.training:
                raise CancelFit("seen enough")

    fit([Progress("plain"), End()]).fit(2)
    assert capsys.readouterr().out.splitlines()[-1] == "stopped: seen enough"


def terminal(monkeypatch, seconds=0.0):
    monkeypatch.setattr(progress, "_REFRESH_SECONDS", seconds)
    return Console(file=io.StringIO(), force_terminal=True, width=110, color_system=None)


def text(console):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", console.file.getvalue())


def test_the_terminal_prints_finished_rows_once_above_a_bar(monkeypatch):
    console = terminal(monkeypatch)
    fit([Progress("terminal", console=console)]).fit(2)
    shown = text(console)
    assert len(re.findall(r"  0  +\d\.\d{4} +\d\.\d{4} +\d\.\d{4}", shown)) == 1
    assert shown.count("train_loss") == 1
    assert re.search(r"epoch 0 of 2 .*25% of all.*items/s +loss \d\.\d{4}", shown)
    assert "epoch 0 of 2, valid 1/1" in shown
    assert "100% of all" in shown


@pytest.mark.parametrize("width", [60, 200])
def test_a_bar_fits_into_its_line(monkeypatch, width):
    console = terminal(monkeypatch)
    console.width = width
    fit([Progress("terminal", console=console)]).fit(12)
    bars = [line for line in text(console).splitlines() if "of all" in line and "epoch" in line]
    assert bars
    assert "…" not in "".join(bars)
    assert ("━" in "".join(bars)) is (width == 200)


def test_the_rate_counts_the_items_of_all_batches_since_it_was_last_shown(monkeypatch):
    console = terminal(monkeypatch, seconds=10.0)
    now = chain([0.0, *[1.0] * 4], repeat(20.0))  # it begins; four full batches; one of 1 item
    monkeypatch.setattr(progress, "perf_counter", lambda: next(now))
    learn = fit([Progress("terminal", console=console)], items=4 * 16 + 1, batch_size=16)
    learn.fit(steps=5)
    assert f"{65 / 20:,.0f} items/s" in text(console)


def test_with_a_title_there_is_nothing_but_the_bar(monkeypatch, capsys):
    console = terminal(monkeypatch)
    tiny_learner().find_lr(callbacks=[Progress("terminal", console=console, title="looking")])
    shown = text(console)
    assert shown.startswith("looking\n")
    assert re.search(r"batch 50 .*50% of all", shown)
    assert "train_loss" not in shown
    tiny_learner().find_lr(end=1e6, callbacks=[Progress("plain", title="looking")])
    assert capsys.readouterr().out == "looking\n"  # not that the loss has diverged


def test_one_batch_is_no_batches(capsys):
    fit([Progress("plain")], batch_size=64).fit(1)
    assert capsys.readouterr().out.startswith("1 epoch of 1 batch, seed 0\n")


def test_the_terminal_is_redrawn_at_most_twice_a_second(monkeypatch):
    console = terminal(monkeypatch, seconds=0.5)
    updates = []
    original = progress._Terminal.update
    monkeypatch.setattr(
        progress._Terminal, "update", lambda *args: updates.append(args) or original(*args)
    )
    began = time.perf_counter()
    fit([Progress("terminal", console=console)], items=400).fit(2)
    assert len(updates) <= 2 * (time.perf_counter() - began)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_the_terminal_is_given_back_however_the_fit_ends(monkeypatch, error):
    console = terminal(monkeypatch)

    class Boom(Callback):
        def after_step(self, run):
            raise error

    bar = Progress("terminal", console=console)
    with pytest.raises(error):
        fit([bar, Boom()]).fit(1)
    assert not bar._view.bar.live.is_started
    assert console.file.getvalue().rstrip().endswith(("\x1b[2K", "\x1b[?25h\x1b[1A\x1b[2K"))


def test_the_notebook_table_is_redrawn_in_place(monkeypatch):
    monkeypatch.setattr(progress, "_REFRESH_SECONDS", 0.0)
    pages = []

    class Handle:
        def update(self, page):
            pages.append(page.data)

    def display(page, display_id):
        assert display_id is True
        pages.append(page.data)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    fit([Progress("notebook")]).fit(2)
    assert any("<progress max=" in page and "items/s" in page for page in pages)
    assert pages[-1].count("<tr>") == 3
    assert "<progress" not in pages[-1]
    assert "2 epochs of 4 batches, seed 0" in pages[-1]


class Waits(Callback):
    def begin_batch(self, run):
        if run.training and not run.n_iter:
            run.tell("compiling <it>")


def test_it_says_what_takes_seconds(monkeypatch, capsys):
    fit([Progress("plain"), Waits()]).fit(1)
    assert capsys.readouterr().out.splitlines()[1] == "compiling <it> …"
    console = terminal(monkeypatch, 99.0)
    learn = fit([Progress("terminal", console=console), Waits()])
    learn.fit(1)
    assert "compiling <it> …" in text(console)
    assert learn.run.notices == []
    pages = []
    handle = types.SimpleNamespace(update=lambda page: pages.append(page.data))
    monkeypatch.setattr("IPython.display.display", lambda page, display_id: handle)
    fit([Progress("notebook"), Waits()]).fit(1)
    assert "compiling &lt;it&gt; …" in pages[0]
    assert "compiling" not in pages[-1]


def test_the_notebook_shows_words_as_they_are_and_runs_none(monkeypatch):
    pages = []
    handle = types.SimpleNamespace(update=lambda page: pages.append(page.data))
    monkeypatch.setattr("IPython.display.display", lambda page, display_id: handle)

    class Stop(Callback):
        def after_batch(self, run):
            run.stop("loss < 1 <script>alert(1)</script>")

    fit([Progress("notebook"), Stop()]).fit(2)
    assert "stopped: loss &lt; 1 &lt;script&gt;" in pages[-1]
    assert "<br>stopped" in pages[-1]  # the control: our own marks are none of the words
    assert "<script" not in pages[-1]


def test_where_it_is_decides(monkeypatch):
    def where(tty):
        return progress._where(Output(types.SimpleNamespace(isatty=lambda: tty)))

    assert where(True) == "terminal"
    assert where(False) == "plain"
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    fake = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", fake)
    assert where(False) == "notebook"
    shell.config = {}
    assert where(False) == "plain"


class Full(io.StringIO):
    """Takes so many lines, and then no more."""

    def __init__(self, lines, error):
        super().__init__()
        self.lines, self.error = lines, error

    def write(self, text):
        if self.getvalue().count("\n") >= self.lines:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (Full(3, OSError(28, "No space left on device")), "no space left on device"),
        (Full(3, BrokenPipeError(32, "Broken pipe")), "broken pipe"),
        (Full(3, ValueError("I/O operation on closed file")), "it is closed"),
        (None, "it is closed"),
    ],
    ids=["full", "pipe", "closed", "none"],
)
@pytest.mark.parametrize("mode", ["auto", "terminal"])
def test_output_that_is_lost_does_not_end_the_fit(monkeypatch, stream, why, mode):
    if stream is not None:
        stream = Full(stream.lines, stream.error)
    monkeypatch.setattr(sys, "stdout", stream)
    told = rf"^standard output could not be written to any more: {why}\. The fit went on without it"
    with pytest.warns(UserWarning, match=told) as caught:
        run = fit([Progress(mode)]).fit(3)
    assert len(caught) == 1
    assert len(run.history) == 3
    assert stream is None or stream.getvalue().count("\n") == 3


def test_an_error_is_not_hidden_by_output_that_is_lost(monkeypatch):
    class Boom(Callback):
        def after_step(self, run):
            raise ZeroDivisionError("mine")

    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ZeroDivisionError, match="mine"):
        fit([Progress(), Boom()]).fit(1)


@pytest.mark.parametrize("mode", ["plain", "terminal"])
def test_letters_that_the_stream_has_none_for_are_replaced(monkeypatch, mode):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)

    class End(Callback):
        def after_batch(self, run):
            run.stop("größer → genug")

    fit([Progress(mode), End()]).fit(2)
    shown = stream.buffer.getvalue().decode("ascii")
    assert "stopped: grosser -> genug\n" in shown
    assert sys.stdout is stream


def test_ones_own_console_is_given_back_as_it_was():
    console = Console(file=io.StringIO(), force_terminal=True, width=110)
    file = console.file
    fit([Progress("terminal", console=console)]).fit(1)
    assert console.file is file
    assert "train_loss" in file.getvalue()


def test_a_narrow_terminal_leaves_columns_out(monkeypatch):
    narrow = Console(file=io.StringIO(), force_terminal=True, width=40, color_system=None)
    fit([Progress("terminal", console=narrow)]).fit(2)
    assert "epoch  valid_loss    accuracy\n" in text(narrow)
    assert "train_loss" not in text(narrow)
    wide = terminal(monkeypatch)
    fit([Progress("terminal", console=wide)]).fit(2)
    assert "epoch  train_loss  valid_loss    accuracy        time" in text(wide)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"mode must be 'auto', .*; got 'html'. Leave it out"):
        Progress("html")
