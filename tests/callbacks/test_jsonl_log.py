"""JSONLLog leaves everything that the history holds, in the history's own format."""

import json

import pytest

from lehr import Callback, accuracy
from lehr.callbacks import JSONLLog
from lehr.testing import tiny_learner


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def kinds(path):
    return "".join(line["kind"][0] for line in lines(path))


class Norm(Callback):
    """Logs by batch, now and then."""

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


class Watch(Callback):
    """Notes what is in the file before every training batch."""

    phase = 4

    def __init__(self, path):
        self.path, self.seen = path, []

    def begin_batch(self, run):
        if run.training:
            self.seen.append(kinds(self.path))


def test_everything_is_there_when_its_epoch_is_over(tmp_path):
    path = tmp_path / "log.jsonl"
    watch = Watch(path)
    tiny_learner([JSONLLog(path), watch], items=16).fit(2)
    assert watch.seen == ["m", "m", "mssr", "mssr"]


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
