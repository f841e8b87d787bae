"""CSVLog leaves the same table as the history would write, row by row."""

import csv
import shutil
import signal

import pytest

from lehr import Callback, CancelFit, accuracy
from lehr.callbacks import Checkpoint, CSVLog
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from lehr.testing import tiny_learner


def table(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


class LineCounts(Callback):
    """Notes how many lines the file has at the end of every batch."""

    phase = 4

    def __init__(self, path):
        self.path, self.seen = path, []

    def begin_batch(self, run):
        self.seen.append(len(table(self.path)))


@pytest.mark.parametrize("every", [None, "3 steps", "2 epochs"])
def test_the_file_is_what_the_history_would_write(tmp_path, every):
    path = tmp_path / "log.csv"
    run = tiny_learner([CSVLog(path)], metrics=[accuracy]).fit(3, validate_every=every)
    run.history.to_csv(tmp_path / "own.csv")
    assert path.read_bytes() == (tmp_path / "own.csv").read_bytes()
    assert len(table(path)) == len(run.history) + 1


def test_a_row_is_there_when_its_epoch_is_over(tmp_path):
    path = tmp_path / "log.csv"
    counts = LineCounts(path)
    tiny_learner([CSVLog(path), counts], items=8).fit(3)
    assert counts.seen == [0, 0, 2, 2, 3, 3]  # a training and a validation batch each


def test_what_other_listeners_add_late_is_in_the_row(tmp_path):
    class Late(Callback):
        phase = 4

        def after_epoch(self, run):
            run.log("late", run.epoch + 0.5)

        def after_fit(self, run):
            run.log("end", 7.0)

    path = tmp_path / "log.csv"
    run = tiny_learner([CSVLog(path), Late()]).fit(2)
    run.history.to_csv(tmp_path / "own.csv")
    assert table(path) == table(tmp_path / "own.csv")
    header, *rows = table(path)
    assert [row[header.index("late")] for row in rows] == ["0.5", "1.5", ""]
    assert rows[-1][header.index("end")] == "7.0"


def test_a_column_that_comes_later_widens_the_file(tmp_path):
    class Sometimes(Callback):
        def after_epoch(self, run):
            if run.epoch == 1:
                run.log("a, b", 0.25)

    path = tmp_path / "log.csv"
    tiny_learner([CSVLog(path), Sometimes()]).fit(3)
    header, *rows = table(path)
    assert header[-1] == "a, b"
    assert [row[-1] for row in rows] == ["", "0.25", ""]
    assert [len(row) for row in rows] == [len(header)] * 3
    assert list(tmp_path.iterdir()) == [path]


class Formulas(Callback):
    """Logs names and texts that a spreadsheet would run, one of them late."""

    def after_epoch(self, run):
        run.history.log_row("=1+1", "@SUM(A1)")
        if run.epoch == 1:
            run.history.log_row("-late", "-1.5")


def test_a_safe_file_has_no_formulas_and_is_gone_on_with(tmp_path):
    path, plain = tmp_path / "log.csv", tmp_path / "plain.csv"
    run = tiny_learner([CSVLog(path, safe=True), CSVLog(plain), Formulas()]).fit(2)
    run.history.to_csv(tmp_path / "own.csv", safe=True)
    assert table(path) == table(tmp_path / "own.csv")
    header, *rows = table(path)
    assert header[-2:] == ["'=1+1", "'-late"]
    assert [row[-2:] for row in rows] == [["'@SUM(A1)", ""], ["'@SUM(A1)", "-1.5"]]
    assert table(plain)[0][-2:] == ["=1+1", "-late"]
    tiny_learner([CSVLog(path, append=True, safe=True), Formulas()]).fit(1)
    assert table(path)[0] == header
    assert len(table(path)) == 4


def test_an_existing_file_is_refused_before_anything_trains(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("mine")
    learn = tiny_learner([CSVLog(path)])
    with pytest.raises(FileExistsError, match=r"CSVLog does not overwrite.*append=True"):
        learn.fit(1)
    assert learn.run.n_iter == 0
    assert path.read_text() == "mine"
    with pytest.raises(FileNotFoundError, match=r"CSVLog cannot write .* Make the folder"):
        tiny_learner([CSVLog(tmp_path / "no" / "log.csv")]).fit(1)


def test_several_fits_go_on_in_one_file_and_so_does_append(tmp_path):
    path = tmp_path / "log.csv"
    log = CSVLog(path)
    learn = tiny_learner([log])
    learn.fit(2)
    learn.fit(1)
    assert [row[0] for row in table(path)] == ["epoch", "0", "1", "0"]
    more = tiny_learner([CSVLog(path, append=True)], metrics=[accuracy])
    more.fit(1)
    header, *rows = table(path)
    assert [row[0] for row in rows] == ["0", "1", "0", "0"]
    assert "accuracy" in header
    assert [bool(row[header.index("accuracy")]) for row in rows] == [False, False, False, True]


@pytest.mark.parametrize("text", ["a,b\n1,2,3\n", "a,,b\n1,2,3\n", "\n1\n", '"torn', b"\xff\x00"])
def test_what_is_no_table_is_not_gone_on_with(tmp_path, text):
    path = tmp_path / "log.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"CSVLog cannot go on with .* Give another path"):
        tiny_learner([CSVLog(path, append=True)]).fit(1)
    assert path.read_bytes() == before


def test_a_cancelled_epoch_has_its_row_and_one_with_an_error_has_none(tmp_path):
    class End(Callback):
        def __init__(self, error):
            self.error = error

        def after_step(self, run):
            if run.epoch == 1:
                raise self.error

    path = tmp_path / "cancelled.csv"
    tiny_learner([CSVLog(path), End(CancelFit("enough"))]).fit(3)
    assert [row[0] for row in table(path)] == ["epoch", "0", "1"]
    path = tmp_path / "error.csv"
    with pytest.raises(ZeroDivisionError):
        tiny_learner([CSVLog(path), End(ZeroDivisionError())]).fit(3)
    assert [row[0] for row in table(path)] == ["epoch", "0"]


@pytest.mark.slow
def test_what_a_killed_process_leaves_is_whole_rows(tmp_path, nursery):
    script = f"""
import os, signal
from lehr import Callback
from lehr.callbacks import CSVLog
from lehr.testing import tiny_learner
class Kill(Callback):
    def after_step(self, run):
        if run.n_steps == 10:
            os.kill(os.getpid(), signal.SIGKILL)
tiny_learner([CSVLog({str(tmp_path / "log.csv")!r}), Kill()]).fit(5)
"""
    done = nursery.run(code=script)
    assert done.returncode == -signal.SIGKILL
    assert [row[0] for row in table(tmp_path / "log.csv")] == ["epoch", "0", "1"]


def test_it_prints_as_it_was_written(tmp_path):
    assert repr(CSVLog("runs/log.csv")) == "CSVLog('runs/log.csv')"
    with pytest.raises(TypeError, match="path must be the path of a file; got None"):
        CSVLog(None)


class Stop(Callback):
    """Interrupts after a step."""

    state = ()
    replays = False

    def __init__(self, last):
        self.last = last

    def after_step(self, run):
        if run.n_steps == self.last:
            run.interrupt("test")


class Late(Callback):
    """Adds a column from an epoch on."""

    state = ()

    def __init__(self, epoch):
        self.epoch = epoch

    def after_epoch(self, run):
        if run.epoch >= self.epoch:
            run.log("late", run.epoch / 4)


def fit(folder, *callbacks, epochs=4, every="3 steps", **arguments):
    log = CSVLog(folder / "log.csv", **arguments)
    saver = Checkpoint(folder / "saved", every="5 steps", keep=9)
    learn = tiny_learner([log, saver, *callbacks])
    return learn.fit(epochs, validate_every=every, resume="auto")


def timeless(path):
    header, *rows = table(path)
    time = header.index("seconds")
    return [line[:time] + line[time + 1 :] for line in (header, *rows)]


@pytest.fixture
def straight(tmp_path):
    (tmp_path / "straight").mkdir()
    fit(tmp_path / "straight", Late(2))
    return timeless(tmp_path / "straight" / "log.csv")


def stopped(folder, step=7):
    folder.mkdir()
    fit(folder, Late(2), Stop(step))
    return folder


@pytest.mark.parametrize("step", [1, 3, 4, 7, 12, 13, 15])
def test_a_resumed_run_writes_the_same_table(tmp_path, straight, step):
    folder = stopped(tmp_path / "stopped", step)
    partly = timeless(folder / "log.csv")
    fit(folder, Late(2))
    assert timeless(folder / "log.csv") == straight
    assert partly != straight


@pytest.mark.parametrize("torn", ["0,9,0.1", '"', "0,9\n1,2,3,4,5,6,7,8\n", "\x00\n"])
def test_what_came_after_the_checkpoint_is_let_go_of_even_if_torn(tmp_path, straight, torn):
    folder = stopped(tmp_path / "stopped")
    with (folder / "log.csv").open("a", newline="") as file:
        file.write(torn)
    fit(folder, Late(2))
    assert timeless(folder / "log.csv") == straight


def test_a_column_that_came_after_the_checkpoint_is_let_go_of(tmp_path):
    (tmp_path / "straight").mkdir()
    fit(tmp_path / "straight", Late(3))
    folder = stopped(tmp_path / "stopped")
    fit(folder, Late(2))
    assert table(folder / "log.csv")[0][-1] == "late"
    for one in CheckpointFolder(folder / "saved").all()[2:]:
        shutil.rmtree(one.path)
    fit(folder, Late(3))
    assert timeless(folder / "log.csv") == timeless(tmp_path / "straight" / "log.csv")
    assert [row[-1] for row in table(folder / "log.csv") if row[-1]] == ["late", "0.75"]


def gone(path):
    path.unlink()


def shortened(path):
    header = path.read_text().splitlines()[0]
    path.write_text(header + "\n")


def altered(path):
    text = path.read_text()
    path.write_text(text.replace("0,3,", "0,2,", 1))


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (gone, "it has 0 of 3 rows"),
        (shortened, "it has 0 of 3 rows"),
        (altered, "it holds something else"),
    ],
)
def test_a_table_that_is_not_the_one_that_was_written_is_not_gone_on_with(tmp_path, harm, text):
    folder = stopped(tmp_path / "stopped")
    harm(folder / "log.csv")
    before = (folder / "log.csv").read_bytes() if (folder / "log.csv").exists() else b""
    with pytest.raises(ValueError, match=f"CSVLog cannot go on where the state says .*: {text}"):
        fit(folder, Late(2))
    assert (folder / "log.csv").read_bytes() == before


def test_a_table_is_gone_on_with_over_a_resume(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,mine\n7,8\n")
    fit(tmp_path, Stop(6), append=True)
    fit(tmp_path, append=True)
    header, *rows = table(tmp_path / "log.csv")
    assert header[:2] == ["epoch", "mine"]
    assert rows[0][:2] == ["7", "8"]
    steps = [int(row[header.index("step")]) for row in rows[1:]]
    assert steps == sorted(set(steps))
    assert steps[-1] == 16


def test_its_state_is_how_far_it_has_written(tmp_path):
    log = CSVLog(tmp_path / "log.csv")
    assert "written" not in log.state_dict()
    run = tiny_learner([log]).fit(3)
    assert log.state_dict()["written"]["rows"] == 3
    assert log.state_dict()["written"]["file"]["columns"] == list(run.history.rows[0])
    assert log.state_dict()["written"]["file"]["records"] == 4
