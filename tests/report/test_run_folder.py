import csv
import json
import os
import re
import signal
import sys
from itertools import count

import matplotlib
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from lehr import Callback, Learner
from lehr.base import files
from lehr.callbacks import Checkpoint, CSVLog, EarlyStopping, ParamScheduler, Timer
from lehr.events import Phase
from lehr.report import RunFolder, RunRecord, run_folder, write_report
from lehr.report.run_folder import environment
from lehr.schedules import one_cycle, sched_lin
from lehr.testing import tiny_learner

pytestmark = pytest.mark.usefixtures("drawn_once")


class RaiseAt(Callback):
    """Raises at one training batch; Ctrl-C itself is tested with the command line."""

    replays = False  # a run that goes on may do without

    def __init__(self, error, batch=5):
        self.error, self.batch = error, batch

    def after_loss(self, run):
        if run.training and run.n_iter == self.batch:
            raise self.error


def read(folder, name="config.json"):
    return json.loads((folder.path / name).read_text(encoding="utf-8"))


def history(folder):
    lines = (folder.path / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_finished_run(tmp_path):
    learn = tiny_learner()
    folder = RunFolder.create(tmp_path / "a" / "b")
    schedule = one_cycle(0.5)
    with folder.keep(learn, {"schedule": schedule, "out": tmp_path}):
        assert read(folder)["status"] == "running"
        run = learn.fit(
            2, [ParamScheduler("lr", schedule), ParamScheduler("momentum", sched_lin(0.9, 0.8))]
        )
    config = read(folder)
    assert config["status"] == "finished"
    assert config["error"] is config["stop_reason"] is None
    assert config["settings"] == {"schedule": "one_cycle(0.5)", "out": str(tmp_path)}
    assert config["seed"] == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+", config["lehr"])
    assert config["started"] <= config["ended"]
    files = {file.name for file in folder.path.iterdir()}
    plots = {"loss.png", "lr.png", "momentum.png"}
    written = {"config.json", "environment.json", "history.csv", "history.jsonl"}
    written |= {"first_items.json"}
    evaluated = {"evaluation.json", "evaluation.safetensors", "report.html"}
    assert files == plots | written | evaluated | {"model.safetensors"}
    assert "preparation" not in config
    assert "Finished after 2 epochs" in (folder.path / "report.html").read_text(encoding="utf-8")

    lines = history(folder)
    epoch = ["step"] * 4 + ["row"]
    assert [line["kind"] for line in lines] == ["meta", *epoch, *epoch]
    assert [line["lr"] for line in lines if line["kind"] == "step"] == run.history["lr"]
    with (folder.path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["valid_loss"]) for row in rows] == run.history["valid_loss"]

    weights = load_file(folder.path / "model.safetensors")
    assert weights.keys() == learn.model.state_dict().keys()
    assert all(torch.equal(weights[key], value) for key, value in learn.model.state_dict().items())
    with torch.no_grad():
        learn.model[0].bias.add_(1)  # the control: the file does not follow
    assert not torch.equal(weights["0.bias"], learn.model[0].bias)


def test_plots_have_ink_and_leave_the_backend_alone(tmp_path, pictures_drawn):
    before = matplotlib.rcParams._get("backend")  # reading it the usual way would choose one
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with folder.keep(learn, {}):
        learn.fit(3)
    assert matplotlib.rcParams._get("backend") == before
    for name in ("loss", "lr"):
        with Image.open(folder.path / f"{name}.png") as image:
            assert image.size == (840, 480)
            assert len(image.convert("RGB").getcolors(1 << 20)) > 20


def test_a_series_with_a_path_for_a_name(tmp_path):
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with folder.keep(learn, {}):
        learn.fit(1, [ParamScheduler("weight_decay", sched_lin(0.1, 0), group=0)])
    assert (folder.path / "weight_decay_0_.png").is_file()


def test_after_an_error_the_folder_holds_what_there_is(tmp_path):
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with pytest.raises(ZeroDivisionError), folder.keep(learn, {}):
        learn.fit(2, [RaiseAt(ZeroDivisionError("no batch can be divided"))])
    config = read(folder)
    assert config["status"] == "failed"
    assert config["error"].startswith("ZeroDivisionError: no batch can be divided\n")
    assert "RaiseAt" in config["error"]  # the note that the loop added
    assert [line["kind"] for line in history(folder)].count("step") == 5
    files = {file.name for file in folder.path.iterdir()}
    assert {"loss.png", "model.safetensors"} <= files
    assert "evaluation.json" not in files
    page = (folder.path / "report.html").read_text(encoding="utf-8")
    assert "Failed in epoch 1, after 5 batches" in page
    assert "ZeroDivisionError: no batch can be divided" in page


def test_after_an_interrupt(tmp_path):
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with pytest.raises(KeyboardInterrupt), folder.keep(learn, {}):
        learn.fit(2, [RaiseAt(KeyboardInterrupt())])
    assert read(folder)["status"] == "interrupted"
    assert (folder.path / "evaluation.json").is_file()
    assert "Interrupted in epoch 1" in (folder.path / "report.html").read_text(encoding="utf-8")
    assert (folder.path / "model.safetensors").is_file()


def test_stopped_by_a_callback_is_finished_with_a_reason(tmp_path):
    class Enough(Callback):
        def after_batch(self, run):
            run.stop("good enough")

    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with folder.keep(learn, {}):
        learn.fit(2, [Enough()])
    assert (read(folder)["status"], read(folder)["stop_reason"]) == ("finished", "good enough")


def test_an_error_before_the_fit_keeps_no_earlier_history(tmp_path):
    learn = tiny_learner()
    learn.fit(1)
    folder = RunFolder.create(tmp_path / "x")
    with pytest.raises(ValueError, match="epochs"), folder.keep(learn, {}):
        learn.fit(-1)
    assert read(folder)["status"] == "failed"
    assert not (folder.path / "history.csv").exists()
    assert (folder.path / "model.safetensors").is_file()


def test_ctrl_c_before_early_stopping_has_begun_leaves_a_whole_folder(tmp_path):
    class Early(Callback):
        phase = Phase.PREPARE

        def begin_fit(self, run):
            raise KeyboardInterrupt

    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with pytest.raises(KeyboardInterrupt), folder.keep(learn, {}):
        learn.fit(2, [Early(), EarlyStopping(restore_best=True)])
    assert (read(folder)["status"], read(folder)["kept"]) == ("interrupted", None)
    assert (folder.path / "model.safetensors").is_file()


def test_tied_weights_and_strided_weights_are_saved(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.Linear(3, 2))
    model[1].weight = model[0].weight
    model[2].weight = nn.Parameter(torch.randn(3, 2).T)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    learn = tiny_learner(model=model, opt=opt)
    folder = RunFolder.create(tmp_path / "x")
    with folder.keep(learn, {}):
        learn.fit(1)
    weights = load_file(folder.path / "model.safetensors")
    assert torch.equal(weights["0.weight"], weights["1.weight"])
    assert torch.equal(weights["2.weight"], model[2].weight)


def test_the_names_are_those_of_the_bare_model(tmp_path):
    bare = tiny_learner().model
    wrapped = torch.compile(bare, backend="eager")
    learn = Learner(
        wrapped,
        torch.optim.SGD(bare.parameters(), lr=0.1),
        nn.functional.cross_entropy,
        tiny_learner().data,
        progress=False,
    )
    folder = RunFolder.create(tmp_path / "x")
    with folder.keep(learn, {}):
        pass
    assert load_file(folder.path / "model.safetensors").keys() == bare.state_dict().keys()


def test_create_refuses_what_exists(tmp_path):
    RunFolder.create(tmp_path / "x")
    with pytest.raises(FileExistsError, match=r"must be new; .*x exists\. Choose another name, or"):
        RunFolder.create(tmp_path / "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match=r"must be new; .*file exists"):
        RunFolder.create(tmp_path / "file")


def test_create_says_where_nothing_can_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        NotADirectoryError, match=r"x cannot be made: Not a directory\. Choose a place that can be"
    ):
        RunFolder.create(tmp_path / "file" / "x")


def test_unique_names(tmp_path):
    folders = [RunFolder.create_unique("digits", tmp_path / "runs") for _ in range(3)]
    names = [folder.path.name for folder in folders]
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"digits-\d{8}-\d{6}(-[23])?", name) for name in names)
    assert repr(folders[0]) == f"RunFolder({str(folders[0].path)!r})"


def test_unique_names_when_somebody_is_faster(tmp_path, monkeypatch):
    first = RunFolder.create_unique("x", tmp_path)
    monkeypatch.setattr("pathlib.Path.exists", lambda self: False)
    second = RunFolder.create_unique("x", tmp_path)
    assert first.path != second.path


def test_a_thousand_runs_of_one_name(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.exists", lambda self: True)
    with pytest.raises(FileExistsError, match=r"holds a thousand runs called x-\d"):
        RunFolder.create_unique("x", tmp_path)


def test_environment():
    found = environment(nn.Linear(1, 1))
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["cpu_count"] == os.cpu_count()
    assert (found["device"], found["device_name"]) == ("cpu", None)


class Prepared:
    """The part of a preparation that a run folder needs."""

    classes = ("no", "yes")

    def to_dict(self):
        return {"kind": "array", "mean": [0.5]}

    def picture(self, x):
        return None

    def in_words(self, x):
        return "an item"


def test_the_preparation_is_kept(tmp_path):
    learn = tiny_learner()
    learn.data.preparation = Prepared()
    folder = RunFolder.create(tmp_path / "x")
    with folder.keep(learn, {}):
        learn.fit(1)
    assert read(folder)["preparation"] == {"kind": "array", "mean": [0.5]}
    assert read(folder, "evaluation.json")["classes"] == ["no", "yes"]


def broken(*args):
    raise OSError("the disk is full.")


def test_a_report_that_fails_is_one_warning(tmp_path, monkeypatch):
    monkeypatch.setattr("lehr.report.run_folder.write_report", broken)
    monkeypatch.setattr("lehr.report.run_folder.evaluate", broken)
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    told = (
        r"^the evaluation could not be written: OSError: the disk is full; report\.html could not "
        r"be written: OSError: the disk is full\. Everything else is in .*x\.$"
    )
    with pytest.warns(UserWarning, match=told) as caught, folder.keep(learn, {}):
        learn.fit(1)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert read(folder)["status"] == "finished"
    assert (folder.path / "history.csv").is_file()


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), KeyboardInterrupt()])
def test_a_report_that_fails_hides_no_error_even_where_warnings_are_errors(
    tmp_path, monkeypatch, error
):
    monkeypatch.setattr("lehr.report.run_folder.write_report", broken)
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with pytest.raises(type(error)), folder.keep(learn, {}):
        learn.fit(2, [RaiseAt(error)])
    assert (folder.path / "history.csv").is_file()


def test_without_a_fit_nothing_is_evaluated(tmp_path):
    folder = RunFolder.create(tmp_path / "x")
    with folder.keep(tiny_learner(), {}):
        pass
    assert not (folder.path / "evaluation.json").exists()
    page = (folder.path / "report.html").read_text(encoding="utf-8")
    assert "Finished before anything was recorded." in page


def test_plots_that_fail_do_not_take_the_report_with_them(tmp_path):
    folder = RunFolder.create(tmp_path / "x")
    (folder.path / "loss.png").mkdir()
    with pytest.warns(UserWarning, match="^the plots could not be written"):
        with folder.keep(learn := tiny_learner(), {}):
            learn.fit(1)
    assert (folder.path / "report.html").is_file()
    assert (folder.path / "evaluation.json").is_file()


def test_a_run_that_still_goes_on_shows_what_there_is(tmp_path):
    folder, learn, seen = RunFolder.create(tmp_path / "x"), tiny_learner(), []

    class Reader(Callback):
        def begin_epoch(self, run):
            record = RunRecord.read(folder.path)
            seen.append((len(record.rows), record.batches))
            if run.epoch == 2:
                write_report(folder.path)
                page = (folder.path / "report.html").read_text(encoding="utf-8")
                assert "Still running, or killed, in epoch 1 (of 3), after 8 batches" in page
                with (folder.path / "history.csv").open() as file:
                    assert len(list(csv.DictReader(file))) == 2

    mine = Reader()
    learn.callbacks.append(mine)
    with folder.keep(learn, {"epochs": 3}):
        run = learn.fit(3)
    assert seen == [(0, 0), (1, 4), (2, 8)]
    assert learn.callbacks == [mine]
    for name in ("jsonl", "csv"):  # in the end the files say what the history itself does
        getattr(run.history, f"to_{name}")(tmp_path / name)
        lines, own = (
            sorted((place / name).read_text().splitlines())
            for place, name in ((folder.path, f"history.{name}"), (tmp_path, name))
        )
        assert lines == own
    assert not [path for path in folder.path.iterdir() if path.name.endswith(".part")]


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), KeyboardInterrupt()])
def test_the_callbacks_are_the_users_own_again_however_it_ends(tmp_path, error):
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner(callbacks=[RaiseAt(error)])
    before = list(learn.callbacks)
    with pytest.raises(type(error)), folder.keep(learn, {}):
        assert len(learn.callbacks) == len(before) + 2
        learn.fit(2)
    assert learn.callbacks == before


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_its_history(tmp_path, nursery):
    script = f"""
import os, signal
from lehr import Callback
from lehr.report import RunFolder
from lehr.testing import tiny_learner

class Kill(Callback):
    def after_batch(self, run):
        if run.training and run.epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)

learn = tiny_learner()
with RunFolder.create({str(tmp_path / "x")!r}).keep(learn, {{}}):
    learn.fit(5, [Kill()])
"""
    done = nursery.run(code=script)
    assert done.returncode == -signal.SIGKILL
    record = RunRecord.read(tmp_path / "x")
    assert (record.status, len(record.rows), record.batches) == ("running", 2, 8)
    assert "Still running, or killed" in write_report(tmp_path / "x").read_text(encoding="utf-8")


def full(*args, **kwargs):
    raise OSError("no space left")


def test_what_cannot_be_kept_is_an_error_once_the_rest_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(RunFolder, "_write_weights", full)
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with pytest.raises(OSError, match="no space left") as caught, folder.keep(learn, {}):
        learn.fit(2)
    note = r"the weights could not be written: OSError: no space left\. Everything else is in .*x\."
    assert re.fullmatch(note, caught.value.__notes__[-1])
    files = {file.name for file in folder.path.iterdir()}
    kept = {"history.jsonl", "history.csv", "loss.png", "evaluation.json", "report.html"}
    assert kept <= files
    assert "model.safetensors" not in files
    assert read(folder)["status"] == "failed"
    assert read(folder)["error"] == "the weights could not be written: OSError: no space left"
    page = (folder.path / "report.html").read_text(encoding="utf-8")
    assert "the weights could not be written" in page


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), KeyboardInterrupt()])
@pytest.mark.filterwarnings("ignore:the ")
def test_what_cannot_be_kept_hides_no_error_of_the_training(tmp_path, monkeypatch, error):
    monkeypatch.setattr(RunFolder, "_write_weights", full)
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with pytest.raises(type(error)), folder.keep(learn, {}):
        learn.fit(2, [RaiseAt(error)])
    assert (folder.path / "report.html").is_file()


def test_a_log_that_cannot_be_written_is_the_error_and_the_rest_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(CSVLog, "write_rows", full)
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with (
        pytest.warns(UserWarning, match=r"no space left The fit goes on") as caught,
        pytest.raises(OSError, match="no space left"),
        folder.keep(learn, {}),
    ):
        learn.fit(2)
    assert len(caught) == 1
    assert read(folder)["status"] == "failed"
    assert [line["kind"] for line in history(folder)] == ["meta", *[*["step"] * 4, "row"] * 2]
    assert (folder.path / "model.safetensors").is_file()


def test_the_row_that_an_error_cut_short_is_kept_too(tmp_path):
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with pytest.raises(ZeroDivisionError), folder.keep(learn, {}):
        learn.fit(2, [RaiseAt(ZeroDivisionError("mine"))])
    assert [line["epoch"] for line in history(folder) if line["kind"] == "row"] == [0, 1]
    with (folder.path / "history.csv").open() as file:
        assert [row["valid_loss"] != "" for row in csv.DictReader(file)] == [True, False]


def begun(tmp_path, error):
    """A folder with a run that an error stopped in its second epoch, and its config."""
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with pytest.raises(type(error)), folder.keep(learn, {"epochs": 3}):
        learn.fit(3, [Checkpoint(folder.path / "checkpoints"), RaiseAt(error, batch=6)])
    return folder, read(folder)


def gone_on(folder, settings, epochs=3, callbacks=()):
    learn = tiny_learner()
    saving = Checkpoint(folder.path / "checkpoints")
    with folder.keep(learn, settings, resumed=True):
        learn.fit(epochs, [saving, *callbacks], resume=saving.folder)
    return learn


def timeless(folder):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in history(folder)]


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), KeyboardInterrupt()])
def test_a_run_that_goes_on_leaves_what_one_without_a_stop_does(tmp_path, error):
    straight, learn = RunFolder.create(tmp_path / "straight"), tiny_learner()
    with straight.keep(learn, {"epochs": 3}):
        learn.fit(3)
    folder, earlier = begun(tmp_path, error)
    assert timeless(folder) != timeless(straight)  # the control: what is cut short differs
    gone_on(folder, {"epochs": 3})
    config = read(folder)
    assert (config["status"], config["error"]) == ("finished", None)
    assert config["started"] == earlier["started"] < config["ended"]
    assert [resume["changed"] for resume in config["resumes"]] == [{}]
    assert timeless(folder) == timeless(straight)
    for name in ("model.safetensors", "evaluation.safetensors"):
        assert (folder.path / name).read_bytes() == (straight.path / name).read_bytes()
    with (folder.path / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2"]


def test_settings_that_json_has_no_word_for_are_text(tmp_path):
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with folder.keep(learn, {"best": float("nan"), 3: (1, 2.5), "deep": {"a": [float("inf")]}}):
        learn.fit(1)
    settings = {"best": "nan", "3": [1, 2.5], "deep": {"a": ["inf"]}}
    assert RunRecord.read(folder.path).settings == read(folder)["settings"] == settings


@pytest.mark.parametrize("digits", [500, 5000])
def test_a_number_that_no_file_of_json_can_hold_is_refused_before_the_training(tmp_path, digits):
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with (
        pytest.raises(ValueError, match=r"x/config\.json cannot be written: .* digits"),
        folder.keep(learn, {"epochs": 10 ** (digits - 1)}),
    ):
        learn.fit(1)
    assert learn.epochs_done == 0
    assert not (folder.path / "config.json").exists()
    assert RunFolder(folder.path)


def test_what_was_changed_for_going_on_is_told(tmp_path):
    folder, earlier = begun(tmp_path, ZeroDivisionError("mine"))
    gone_on(folder, {"epochs": 4, "schedule": one_cycle(0.5)}, epochs=4)
    (resume,) = read(folder)["resumes"]
    assert resume["changed"] == {"epochs": [3, 4], "schedule": [None, "one_cycle(0.5)"]}
    assert resume["time"] > earlier["started"]


def test_until_the_state_is_loaded_nothing_changes(tmp_path):
    folder, _ = begun(tmp_path, KeyboardInterrupt())
    lines = (folder.path / "history.jsonl").read_text().splitlines(keepends=True)
    (folder.path / "history.jsonl").write_text("".join(lines[:3]))  # somebody lost the rest
    before = {path: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}
    with pytest.raises(ValueError, match=r"JSONLLog cannot go on .* Put the file back"):
        gone_on(folder, {"epochs": 3})
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        with folder.keep(learn := tiny_learner(), {"epochs": 3}, resumed=True):
            learn.fit(3, resume=tmp_path / "nowhere")
    assert before == {path: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}
    assert read(folder)["status"] == "interrupted"


def test_a_failure_leaves_no_evaluation_of_an_earlier_stop(tmp_path):
    folder, _ = begun(tmp_path, KeyboardInterrupt())
    assert (folder.path / "evaluation.json").is_file()
    with pytest.raises(ZeroDivisionError):
        gone_on(folder, {"epochs": 3}, callbacks=[RaiseAt(ZeroDivisionError("mine"), batch=9)])
    assert read(folder)["status"] == "failed"
    assert not list(folder.path.glob("evaluation*"))


def test_a_program_that_is_told_to_exit_is_interrupted(tmp_path):
    folder, _ = begun(tmp_path, SystemExit(143))
    assert read(folder)["status"] == "interrupted"


# Ctrl-C while the folder is written -------------------------------------------------------------

EVERYTHING = {"config.json", "environment.json", "history.jsonl", "history.csv", "lr.png"}
EVERYTHING |= {"model.safetensors", "loss.png", "evaluation.json", "evaluation.safetensors"}
EVERYTHING |= {"report.html", "first_items.json"}
WRITERS = {RunFolder.keep.__wrapped__.__code__, RunFolder._finish.__code__}


@pytest.fixture
def quick(monkeypatch):
    """Plots and report without their contents, which take half a second."""

    def plots(self, run):
        for name in run.history.series:
            (self.path / f"{name}.png").touch()

    monkeypatch.setattr(RunFolder, "_write_plots", plots)
    monkeypatch.setattr(run_folder, "write_report", lambda path, _: (path / "report.html").touch())


def kept_with_ctrl_c(folder, line, presses):
    """Keep a training; before the line of that number in what writes the folder, press Ctrl-C.

    Returns whether there is such a line.
    """
    learn, passed = tiny_learner(), 0

    def trace(frame, event, argument):
        nonlocal passed
        if frame.f_code not in WRITERS:
            return None
        if event == "line":
            passed += 1
            if line <= passed < line + presses:
                signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    try:
        with folder.keep(learn, {}):
            learn.fit(1)
            sys.settrace(trace)
    except KeyboardInterrupt:
        assert passed >= line
    else:
        assert passed < line
    finally:
        sys.settrace(before)
    return passed >= line


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_at_any_line_leaves_no_folder_that_says_more_than_it_has(tmp_path, quick, presses):
    statuses = []
    for line in count(1):
        folder = RunFolder.create(tmp_path / str(line))
        if not kept_with_ctrl_c(folder, line, presses):
            break
        statuses.append(read(folder)["status"])
        files = {path.name for path in folder.path.iterdir()}
        if statuses[-1] == "finished":
            assert files == EVERYTHING, line
        if statuses[-1] != "running":
            assert load_file(folder.path / "model.safetensors").keys(), line
        assert not [name for name in files if name.endswith(".part")]
    assert len(statuses) > 15
    assert statuses.count("finished") > 10 - 7 * (presses - 1)  # the control: both things happen
    assert "interrupted" in statuses


def test_a_sigterm_waits_until_everything_is_written(tmp_path, quick, monkeypatch):
    def end(learn):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(run_folder, "evaluate", end)
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with pytest.raises(SystemExit) as caught, folder.keep(learn, {}):
        learn.fit(1)
    assert caught.value.code == 128 + signal.SIGTERM
    assert read(folder)["status"] == "finished"
    assert (folder.path / "report.html").is_file()


def test_parts_of_files_that_a_killed_process_left_are_swept(tmp_path, quick):
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    part = folder.path / f".loss.png.{'0' * 16}.part"
    part.touch()
    os.utime(part, (0, 0))
    with folder.keep(learn, {}):
        assert not part.exists()
        learn.fit(1)


def test_a_plot_that_the_disk_does_not_take_leaves_nothing(tmp_path, monkeypatch):
    real = files.write_files

    def full(folder, contents):
        for name, parts in contents.items():
            if "png" in name:
                (folder / name).write_bytes(next(iter(parts))[:9])
                raise OSError(28, "No space left on device")
        real(folder, contents)

    monkeypatch.setattr(files, "write_files", full)
    folder, learn = RunFolder.create(tmp_path / "x"), tiny_learner()
    with pytest.warns(UserWarning, match="^the plots could not be written: .*No space left"):
        with folder.keep(learn, {}):
            learn.fit(1)
    assert not [path for path in folder.path.iterdir() if "png" in path.name]
    assert (folder.path / "report.html").is_file()


def test_a_link_in_the_place_of_a_plot_is_replaced_not_followed(tmp_path):
    learn = tiny_learner()
    folder = RunFolder.create(tmp_path / "run")
    (tmp_path / "precious").write_bytes(b"mine")
    (folder.path / "loss.png").symlink_to(tmp_path / "precious")
    with folder.keep(learn, {}):
        learn.fit(1)
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert (folder.path / "loss.png").read_bytes().startswith(b"\x89PNG")


class Silent(ValueError):
    """Says nothing, and takes no notes."""

    def __str__(self):
        raise KeyError("no text")

    @property
    def __notes__(self):
        raise KeyError("no notes")

    __repr__ = __str__


class OddNotes(ValueError):
    __notes__ = (3, "a note")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Silent(), "Silent: what it says cannot be shown"),
        (OddNotes("odd"), "OddNotes: odd\na note"),
    ],
)
def test_an_error_that_cannot_be_shown_comes_out_and_is_kept_as_far_as_it_can(
    tmp_path, error, told
):
    learn, folder = tiny_learner(), RunFolder.create(tmp_path / "a")
    with pytest.raises(type(error)) as caught, folder.keep(learn, {}):
        learn.fit(1, [RaiseAt(error, batch=1)])
    assert caught.value is error
    assert (read(folder)["status"], read(folder)["error"]) == ("failed", told)


def test_weights_whose_error_cannot_be_shown_lose_nothing_else(tmp_path, monkeypatch):
    def fail(*args):
        raise Silent

    monkeypatch.setattr(run_folder, "save_weights", fail)
    learn, folder = tiny_learner(), RunFolder.create(tmp_path / "a")
    with pytest.raises(Silent), folder.keep(learn, {}):
        learn.fit(1)
    told = "the weights could not be written: Silent: what it says cannot be shown"
    assert (read(folder)["status"], read(folder)["error"]) == ("failed", told)
    assert (folder.path / "report.html").is_file()


def test_links_in_the_place_of_files_of_a_run_are_replaced_not_followed(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    names = ("model.safetensors", "report.html", "config.json")
    for name in names:
        (folder.path / name).unlink(missing_ok=True)
        (tmp_path / name).write_text("mine")
        (folder.path / name).symlink_to(tmp_path / name)
    with folder.keep(learn := tiny_learner(), {}):
        learn.fit(1)
    assert [(tmp_path / name).read_text() for name in names] == ["mine"] * 3
    assert not any((folder.path / name).is_symlink() for name in names)


# A fit that is over -----------------------------------------------------------------------------


def test_a_fit_that_is_over_is_written_as_one_that_was_kept(tmp_path):
    learn, kept = tiny_learner([Timer()]), RunFolder.create(tmp_path / "kept")
    with kept.keep(learn, {"a": 1}):
        learn.fit(2)
    written = RunFolder.create(tmp_path / "written")
    page = written.write(learn, {"a": 1})
    first, second = RunRecord.read(kept.path), RunRecord.read(written.path)
    assert first.rows == second.rows
    assert first.series == second.series
    assert (kept.path / "history.csv").read_text() == (written.path / "history.csv").read_text()
    assert first.evaluation.mistakes == second.evaluation.mistakes
    assert weights_of(first) == weights_of(second)
    names = {"started", "ended", "memory"}
    one, other = ({k: v for k, v in r.config.items() if k not in names} for r in (first, second))
    assert one == other
    ours, theirs = ({path.name for path in f.path.iterdir()} for f in (kept, written))
    assert ours - theirs == {"first_items.json"}
    assert "date unknown" not in page.read_text(encoding="utf-8")


def weights_of(record):
    return {name: value.tolist() for name, value in load_file(record.weights).items()}


def test_how_it_ended_is_written(tmp_path):
    class Ends(Callback):
        state = ()

        def __init__(self, end):
            self.end = end

        def after_step(self, run):
            self.end(run)

    def fails(run):
        raise ValueError("no more")

    learn = tiny_learner([Ends(fails)])
    with pytest.raises(ValueError, match="no more"):
        learn.fit(1)
    page = RunFolder.create(tmp_path / "failed").write(learn)
    assert RunRecord.read(tmp_path / "failed").status == "failed"
    assert "Failed" in page.read_text(encoding="utf-8")
    learn = tiny_learner([Ends(lambda run: run.stop("seen enough"))])
    learn.fit(1)
    RunFolder.create(tmp_path / "stopped").write(learn)
    record = RunRecord.read(tmp_path / "stopped")
    assert (record.status, record.config["stop_reason"]) == ("finished", "seen enough")


def test_without_a_fit_there_is_nothing_to_write(tmp_path):
    folder = RunFolder.create(tmp_path / "x")
    with pytest.raises(RuntimeError, match=r"Learner has no fit to write about\. Call fit"):
        folder.write(tiny_learner())
    assert list(folder.path.iterdir()) == []
