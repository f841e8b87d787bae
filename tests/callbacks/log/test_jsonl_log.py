"""JSONLLog leaves everything that the history holds, in the history's own format."""

import itertools
import json
import os
import shutil

import pytest

from lehr import Callback, accuracy
from lehr.callbacks import Checkpoint, CSVLog, JSONLLog
from lehr.callbacks.log import step_log
from lehr.callbacks.measure import recorder
from lehr.record.log_file import LogFile
from lehr.state.disk.checkpoint import read
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from lehr.testing import tiny_learner


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def kinds(path):
    return "".join(line["kind"][0] for line in lines(path))


class Norm(Callback):
    """Logs by batch, now and then."""

    state = ()

    def after_step(self, run):
        if run.n_steps % 3 == 0:
            run.log("norm", float(run.n_steps))


@pytest.mark.parametrize("every", [None, "3 steps"])
def test_the_lines_are_those_of_the_history(tmp_path, every):
    path = tmp_path / "log.jsonl"
    learn = tiny_learner([JSONLLog(path), Norm()], metrics=[accuracy])
    run = learn.fit(3, validate_every=every)
    run.history.to_jsonl(tmp_path / "own.jsonl")
    own, mine = lines(tmp_path / "own.jsonl"), lines(path)
    for kind in ("meta", "row", "step"):
        pick = [[line for line in some if line["kind"] == kind] for some in (own, mine)]
        assert pick[0] == pick[1]
        assert pick[0]
    assert len(own) == len(mine)
    assert mine[0] == {"kind": "meta", "seed": 0}


def test_the_batches_of_a_row_stand_before_it_and_only_once(tmp_path):
    path = tmp_path / "log.jsonl"
    tiny_learner([JSONLLog(path)]).fit(2)
    assert kinds(path) == "m" + 2 * "ssssr"
    path = tmp_path / "other.jsonl"
    tiny_learner([JSONLLog(path)]).fit(2, validate_every="3 steps")
    assert kinds(path) == "msssrsrssrssr"


class KindsInFile(Callback):
    """Notes what is in the file before every training batch."""

    phase = 4

    def __init__(self, path):
        self.path, self.seen = path, []

    def begin_batch(self, run):
        if run.training:
            self.seen.append(kinds(self.path))


def test_everything_is_there_when_its_epoch_is_over(tmp_path):
    path = tmp_path / "log.jsonl"
    written = KindsInFile(path)
    tiny_learner([JSONLLog(path), written], items=16).fit(2)
    assert written.seen == ["", "", "mssr", "mssr"]


def test_after_an_error_the_batches_up_to_it_are_there(tmp_path):
    class Boom(Callback):
        def after_step(self, run):
            if run.n_steps == 7:
                raise ZeroDivisionError

    path = tmp_path / "log.jsonl"
    with pytest.raises(ZeroDivisionError):
        tiny_learner([JSONLLog(path), Boom()]).fit(3)
    assert kinds(path) == "mssssrss"
    assert lines(path)[-1]["batch"] == 5


def test_nan_becomes_null(tmp_path):
    class Odd(Callback):
        def after_epoch(self, run):
            run.log("odd", float("nan"))

        def after_step(self, run):
            run.log("wild", float("inf"))

    path = tmp_path / "log.jsonl"
    tiny_learner([JSONLLog(path), Odd()]).fit(1)
    assert lines(path)[-1]["odd"] is None
    assert lines(path)[1]["wild"] is None


def test_late_words_are_in_the_row_and_after_fit_has_one(tmp_path):
    class Late(Callback):
        phase = 4

        def begin_fit(self, run):
            run.log("before", 1.0)

        def after_validate(self, run):
            run.log("late", 2.0)

        def after_fit(self, run):
            run.log("after", 3.0)

    path = tmp_path / "log.jsonl"
    run = tiny_learner([JSONLLog(path), Late()]).fit(1)
    rows = [line for line in lines(path) if line.pop("kind") == "row"]
    assert rows == run.history.rows
    assert (rows[0], rows[1]["late"], rows[2]) == ({"before": 1.0}, 2.0, {"after": 3.0})


def test_an_existing_file_is_refused_unless_it_is_to_be_gone_on_with(tmp_path):
    path = tmp_path / "log.jsonl"
    learn = tiny_learner([JSONLLog(path)])
    learn.fit(1)
    learn.fit(1)
    assert kinds(path) == 2 * "mssssr"
    other = tiny_learner([JSONLLog(path)])
    with pytest.raises(FileExistsError, match=r"JSONLLog does not overwrite.*append=True"):
        other.fit(1)
    assert other.run.n_iter == 0
    tiny_learner([JSONLLog(path, append=True)]).fit(1)
    assert kinds(path) == 3 * "mssssr"


@pytest.mark.parametrize("text", ["epoch,loss\n", '{"a": 1}\n', "7\n", b"\xff\n"])
def test_what_is_no_log_is_not_gone_on_with(tmp_path, text):
    path = tmp_path / "log.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"JSONLLog cannot go on with .*log.jsonl'.* Give another"):
        tiny_learner([JSONLLog(path, append=True)]).fit(1)


def test_it_prints_as_it_was_written():
    assert repr(JSONLLog("log.jsonl")) == "JSONLLog('log.jsonl')"


class Stop(Callback):
    """Interrupts after a step."""

    state = ()
    replays = False

    def __init__(self, last):
        self.last = last

    def after_step(self, run):
        if run.n_steps == self.last:
            run.interrupt("test")


def fit(folder, *callbacks, **arguments):
    log = JSONLLog(folder / "log.jsonl", **arguments)
    saver = Checkpoint(folder / "saved", every="5 steps", keep=9)
    learn = tiny_learner([log, Norm(), saver, *callbacks])
    return learn.fit(4, validate_every="3 steps", resume="auto")


def timeless(path):
    found = lines(path)
    for line in found:
        line.pop("seconds", None)
    return found


@pytest.fixture
def straight(tmp_path):
    (tmp_path / "straight").mkdir()
    fit(tmp_path / "straight")
    return timeless(tmp_path / "straight" / "log.jsonl")


def stopped(folder, step=7):
    folder.mkdir()
    fit(folder, Stop(step))
    return folder


@pytest.mark.parametrize("step", [1, 3, 4, 7, 12, 13, 15])
def test_a_resumed_run_writes_the_same_lines(tmp_path, straight, step):
    folder = stopped(tmp_path / "stopped", step)
    partly = timeless(folder / "log.jsonl")
    fit(folder)
    assert timeless(folder / "log.jsonl") == straight
    assert partly != straight
    batches = [line["batch"] for line in straight if line["kind"] == "step"]
    assert batches == list(range(16))


def test_from_any_checkpoint_every_line_is_there_once(tmp_path, straight):
    folder = tmp_path / "again"
    folder.mkdir()
    fit(folder)
    for left in (4, 3, 2, 1):
        for one in CheckpointFolder(folder / "saved").all()[left:]:
            shutil.rmtree(one.path)
        fit(folder)
        assert timeless(folder / "log.jsonl") == straight


@pytest.mark.parametrize("torn", ['{"kind": "ro', "\n\n", "nonsense\n", "\x00\xff"])
def test_what_came_after_the_checkpoint_is_let_go_of_even_if_torn(tmp_path, straight, torn):
    folder = stopped(tmp_path / "stopped")
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(torn)
    fit(folder)
    assert timeless(folder / "log.jsonl") == straight


def test_what_was_logged_and_not_written_yet_is_in_the_state(tmp_path):
    folder = stopped(tmp_path / "stopped", 5)
    [*_, newest] = CheckpointFolder(folder / "saved").all()
    held = read(newest.path).snapshot["callbacks.jsonl_log"]["written"]
    assert held["rows"] == 2
    assert [line["kind"] for line in lines(folder / "log.jsonl")] != []
    (folder / "log.jsonl").write_bytes(
        (folder / "log.jsonl").read_bytes()[: held["file"]["size"]]
    )  # as if the process had been killed at the checkpoint
    fit(folder)
    batches = [line["batch"] for line in lines(folder / "log.jsonl") if line["kind"] == "step"]
    assert batches == list(range(16))


def gone(path):
    path.unlink()


def altered(path):
    path.write_text(path.read_text().replace('"batch": 1', '"batch": 2', 1))


class Now(Callback):
    """Logs numbers that come first in the middle, out of the order of their names."""

    state = ()

    def after_step(self, run):
        if run.n_steps in (3, 4):
            run.log("zeal", 1.0)
            run.log("angle", 2.0)


@pytest.mark.parametrize("ticks", [0.0, 1.0, 2.1, 6.0])
@pytest.mark.parametrize("stop", [None, 1, 3, 6])
def test_when_it_writes_decides_no_byte(tmp_path, monkeypatch, ticks, stop):
    monkeypatch.setattr(recorder, "perf_counter", lambda: 0.0)

    def train(name, ticks, stop):
        clock = itertools.count(0.0, ticks)
        monkeypatch.setattr(step_log, "monotonic", lambda: next(clock))
        folder, path = tmp_path / f"{name} saved", tmp_path / name
        for interrupted in (stop, None)[stop is None :]:
            log = [JSONLLog(path), Norm(), Now(), Checkpoint(folder), Interrupt(interrupted)]
            tiny_learner(log).fit(3, validate_every="3 steps", resume="auto")
        return path.read_bytes()

    assert train("log", ticks, stop) == train("straight", 0.0, None)


class Interrupt(Callback):
    state = ()
    replays = False

    def __init__(self, n):
        self.n = n

    def after_batch(self, run):
        if run.training and run.n_iter == self.n:
            run.interrupt("test")


@pytest.mark.parametrize(
    ("harm", "text"), [(gone, r"it has 0 of \d+ bytes"), (altered, "it holds something else")]
)
def test_a_file_that_is_not_the_one_that_was_written_is_not_gone_on_with(tmp_path, harm, text):
    folder = stopped(tmp_path / "stopped")
    harm(folder / "log.jsonl")
    before = (folder / "log.jsonl").read_bytes() if (folder / "log.jsonl").exists() else b""
    with pytest.raises(ValueError, match=f"JSONLLog cannot go on where the state says .*: {text}"):
        fit(folder)
    assert (folder / "log.jsonl").read_bytes() == before


def test_a_log_is_gone_on_with_over_a_resume(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"kind": "meta", "mine": 1}\n')
    fit(tmp_path, Stop(6), append=True)
    fit(tmp_path, append=True)
    found = lines(tmp_path / "log.jsonl")
    assert found[0] == {"kind": "meta", "mine": 1}
    assert [line["batch"] for line in found if line["kind"] == "step"] == list(range(16))
    assert [line["kind"] for line in found].count("meta") == 2


class Dies(Callback):
    """Ends its process, once everybody else has begun."""

    after = ("JSONLLog", "CSVLog")

    def begin_fit(self, run):
        os._exit(1)


@pytest.mark.parametrize("kind", [JSONLLog, CSVLog])
def test_a_run_that_is_killed_before_it_has_saved_anything_can_be_begun_again(tmp_path, kind):
    path, folder = tmp_path / "log", tmp_path / "saved"
    child = os.fork()
    if child == 0:
        tiny_learner([kind(path), Checkpoint(folder), Dies()]).fit(1, resume="auto")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert path.read_bytes() == b""
    tiny_learner([kind(path), Checkpoint(folder)]).fit(1, resume="auto")
    assert path.read_text()


def test_a_run_that_fails_before_its_first_batch_leaves_nothing_in_the_file(tmp_path):
    class Fails(Callback):
        state = ()
        events = 0

        def begin_train(self, run):
            self.events += 1
            if self.events == 1:
                raise OSError("no")

    path, fails = tmp_path / "log.jsonl", Fails()
    with pytest.raises(OSError, match="no"):
        tiny_learner([JSONLLog(path), fails]).fit(1)
    assert path.read_text() == ""
    tiny_learner([JSONLLog(path), fails]).fit(1)  # so it can be begun again
    assert path.read_text().startswith('{"kind": "meta"')


def test_an_interrupt_as_the_file_is_opened_leaves_a_log_that_knows_what_it_has(
    tmp_path, monkeypatch
):
    opens = LogFile.open

    def interrupted(self, **how):
        opens(self, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(LogFile, "open", interrupted)
    log = JSONLLog(tmp_path / "log.jsonl")
    with pytest.raises(KeyboardInterrupt):
        tiny_learner([log]).fit(1)
    assert log.written["rows"] == 0
