"""Saving, finding and pruning; who may write; what is said when something is wrong."""

import errno
import gc
import os
import shutil
import signal
import threading
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lehr.base import files
from lehr.state.differences import first_difference
from lehr.state.disk import checkpoint
from lehr.state.disk.checkpoint_folder import CheckpointFolder, Saved, best


def snapshot(step: int) -> dict:
    return {"model": {"w": torch.full((3,), float(step))}, "run": {"step": step}}


def save(folder, *steps, **info):
    return [folder.save(snapshot(n), {"step": n, "epoch": n // 10, **info}) for n in steps]


def names(folder) -> list[str]:
    return sorted(path.name for path in Path(folder.path).iterdir() if path.name != ".lock")


@pytest.fixture
def folder(tmp_path):
    with CheckpointFolder(tmp_path / "runs" / "a").open("one") as made:
        yield made


def damage(saved) -> None:
    path = saved.path / "state.json"
    path.write_bytes(path.read_bytes().replace(b"step", b"stop"))


def test_what_is_saved_is_found(folder):
    assert folder.newest() == (None, [])
    assert folder.all() == []
    first, second = save(folder, 9, 12, value=0.5, note="x")
    assert names(folder) == ["step-00000009", "step-00000012"]
    assert [first.serial, second.serial] == [1, 2]
    assert (second.step, second.epoch, second.run, second.value) == (12, 1, "one", 0.5)
    assert second.manifest["note"] == "x"
    assert folder.all() == [first, second]
    found, problems = folder.newest()
    assert problems == []
    assert found.path == second.path
    assert found.manifest == second.manifest
    assert first_difference(found.snapshot, snapshot(12)) is None
    assert first_difference(found.snapshot, snapshot(9)) is not None


@pytest.mark.parametrize("name", ["file", "/dev/null"])
def test_a_file_is_no_folder_for_checkpoints(tmp_path, name):
    path = tmp_path / name  # an absolute name stays as it is
    if name == "file":
        path.write_text("mine")
    with pytest.raises(NotADirectoryError, match=rf"{name} is a file\. Give another path"):
        CheckpointFolder(path).open("one")
    assert path.exists()


def test_a_value_may_be_left_out(folder):
    (saved,) = save(folder, 1)
    assert saved.value is None


def test_the_highest_serial_is_the_newest_whatever_the_step(folder):
    save(folder, 20, 10)
    assert folder.newest()[0].manifest["step"] == 10
    folder.close()
    with folder.open("two"):
        (saved,) = save(folder, 5)
    assert (saved.serial, saved.run) == (3, "two")
    assert folder.newest()[0].manifest["step"] == 5


def test_a_name_that_exists_is_never_written_into(folder):
    save(folder, 5)
    (folder.path / "step-00000005-2").write_bytes(b"a file")
    (folder.path / "step-00000005-3").symlink_to("nowhere")
    (saved,) = save(folder, 5)
    assert saved.path.name == "step-00000005-4"
    assert folder.newest()[0].path == saved.path


def test_other_things_in_the_folder_are_left_alone(folder):
    (folder.path / "notes.txt").write_bytes(b"mine")
    (folder.path / "step-of-mine").mkdir()
    (folder.path / ".stage").mkdir()
    save(folder, 1)
    assert folder.newest()[1] == []
    folder.close()
    folder.open("one")
    assert names(folder) == [".stage", "notes.txt", "step-00000001", "step-of-mine"]


def test_the_newest_whose_everything_holds(folder):
    saved = save(folder, 1, 2, 3, 4)
    damage(saved[1])
    damage(saved[3])
    (saved[2].path / "manifest.json").write_bytes(b"{}")
    found, problems = folder.newest()
    assert found.path == saved[0].path
    assert len(problems) == 3
    assert f"{saved[2].path} cannot be used: manifest.json is not that of a" in problems[0]
    assert f"{saved[3].path} cannot be used: state.json has the checksum" in problems[1]
    assert f"{saved[1].path} cannot be used: state.json has the checksum" in problems[2]
    assert [one.step for one in folder.all()] == [1, 2, 4]
    damage(saved[0])
    assert folder.newest()[0] is None
    assert len(folder.newest()[1]) == 4


def test_accept_chooses(folder):
    saved = save(folder, 1, 2, 3)
    damage(saved[2])
    found, problems = folder.newest(accept=lambda one: one.step < 3)
    assert (found.path, problems) == (saved[1].path, [])
    assert folder.newest(accept=lambda one: False) == (None, [])


def test_a_link_is_no_checkpoint(folder, tmp_path):
    (saved,) = save(folder, 1)
    shutil.move(saved.path, tmp_path / "elsewhere")
    saved.path.symlink_to(tmp_path / "elsewhere")
    assert folder.newest() == (None, [f"{saved.path} cannot be used: it is a link."])


def test_what_the_disk_says_is_a_problem_too(folder, monkeypatch):
    save(folder, 1, 2)
    real = os.open

    broken = SimpleNamespace()

    def fails(path, *rest):
        if Path(path).name == broken.name and "00000002" in str(path):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, *rest)

    monkeypatch.setattr(os, "open", fails)
    for broken.name in ("manifest.json", "state.json"):
        found, problems = folder.newest()
        assert found.manifest["step"] == 1
        assert "step-00000002 cannot be read: [Errno 5] Input/output error" in problems[0]


def test_reading_needs_no_folder_and_no_lock(folder, tmp_path):
    save(folder, 1)
    other = CheckpointFolder(folder.path)
    assert other.newest()[0].manifest["step"] == 1
    assert CheckpointFolder(tmp_path / "absent").newest() == (None, [])
    assert not (tmp_path / "absent").exists()


def test_best():
    def one(value):
        return Saved(Path("a"), {"value": value, "serial": 1})

    values = [one(v) for v in (None, float("nan"), 2, 1.0, 1.0, 3.0, float("nan"))]
    assert best(values, "min") is values[3]
    assert best(values, "max") is values[5]
    assert best(values[:2], "max") is None
    assert best([], "min") is None
    with pytest.raises(ValueError, match="mode must be 'min' or 'max'; got 'lowest'"):
        best(values, "lowest")


@pytest.fixture
def rewound(tmp_path):
    """Checkpoints of steps 0, 10, 20 and, after going back from 20 to 10, of 15; and a stranger."""
    with CheckpointFolder(tmp_path).open("ours") as store:
        for step, rewinds in ((0, 0), (10, 0), (20, 0), (15, 1)):
            store.save({}, {"step": step, "epoch": 0, "rewinds": rewinds})
    with CheckpointFolder(tmp_path).open("theirs") as store:
        store.save({}, {"step": 3, "epoch": 0, "rewinds": 0})
    return CheckpointFolder(tmp_path)


@pytest.mark.parametrize(("step", "at"), [(0, 0), (5, 0), (10, 10), (14, 10), (15, 15), (99, 15)])
def test_the_nearest_is_the_last_one_of_that_run_that_is_not_later(rewound, step, at):
    assert rewound.nearest("ours", step, [(20, 10)]).manifest["step"] == at


def test_what_the_run_went_back_from_is_no_past_of_its(rewound):
    assert rewound.nearest("ours", 14, [(20, 10)]).manifest["step"] == 10
    assert rewound.nearest("ours", 99, [(20, 10), (15, 5)]).manifest["step"] == 0


def test_the_past_of_a_run_is_where_the_nearest_is_looked_for(rewound):
    def steps(step, rewinds):
        return [saved.step for saved in rewound.past("ours", step, rewinds)]

    assert steps(99, [(20, 10)]) == [0, 10, 15]
    assert steps(14, [(20, 10)]) == [0, 10]
    assert steps(99, []) == [0, 10, 20, 15]


def test_there_may_be_none_near(rewound, tmp_path):
    assert rewound.nearest("another", 99, []) is None
    assert CheckpointFolder(tmp_path / "nowhere").nearest("ours", 99, []) is None


def test_pruning_keeps_the_newest_and_the_first(folder):
    saved = save(folder, *range(1, 8))
    gone = folder.prune(2, run="one")
    assert gone == [one.path for one in saved[1:5]]
    assert [one.step for one in folder.all()] == [1, 6, 7]
    assert names(folder) == ["step-00000001", "step-00000006", "step-00000007"]
    assert folder.prune(2, run="one") == []


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_are_never_pruned(folder, count):
    save(folder, *range(count))
    assert folder.prune(2, run="one") == []
    assert len(folder.all()) == count


def test_pruning_spares_what_is_protected_others_runs_and_the_damaged(folder):
    saved = save(folder, *range(1, 7))
    (saved[2].path / "manifest.json").write_bytes(b"")
    folder.close()
    folder.open("two")
    save(folder, 10, 11, 12, 13, 14)
    relative = Path(os.path.relpath(saved[3].path))
    assert [path.name for path in folder.prune(2, run="two")] == ["step-00000011", "step-00000012"]
    assert folder.prune(2, run="three") == []
    assert folder.prune(2, run="one", protect=[relative]) == [saved[1].path]
    assert [one.step for one in folder.all()] == [1, 4, 5, 6, 10, 13, 14]
    assert saved[2].path.exists()


@pytest.mark.parametrize(("keep", "error"), [(1, ValueError), (0, ValueError), (2.0, TypeError)])
def test_at_least_two_are_kept(folder, keep, error):
    with pytest.raises(error, match="keep must be"):
        folder.prune(keep, run="one")


def test_pruned_names_reach_the_disk_before_anything_is_deleted(folder, monkeypatch):
    save(folder, 1, 2, 3, 4)
    seen = []
    for name in ("rename", "sync_folder", "remove"):
        real = getattr(files, name)
        monkeypatch.setattr(
            files, name, lambda *a, name=name, real=real: (seen.append(name), real(*a))
        )
    folder.prune(2, run="one")
    assert seen[:2] == ["rename", "sync_folder"]
    assert set(seen[2:]) == {"remove"}  # a folder, and all that is in it


def test_leftovers_are_swept_when_it_is_opened(folder):
    save(folder, 1)
    folder.close()
    for name in (".staging-1", ".pruned-1"):
        shutil.copytree(folder.path / "step-00000001", folder.path / name)
    (folder.path / ".staging-2").write_bytes(b"")
    assert [one.step for one in folder.all()] == [1]
    folder.open("one")
    assert names(folder) == ["step-00000001"]


def test_only_one_may_write(folder):
    with pytest.raises(RuntimeError, match=r"another run writes its checkpoints to .*; two"):
        CheckpointFolder(folder.path).open("two")
    with pytest.raises(RuntimeError, match="are being written already"):
        folder.open("one")
    save(folder, 1)
    folder.close()
    folder.close()
    with CheckpointFolder(folder.path).open("two"):
        pass
    with folder.open("one"):
        save(folder, 2)


@pytest.mark.parametrize("call", [lambda f: save(f, 1), lambda f: f.prune(2, run="one")])
def test_writing_needs_it_open(folder, call):
    folder.close()
    with pytest.raises(RuntimeError, match=r"is not open for writing.*Call open\(run\) first"):
        call(folder)


def test_a_folder_that_cannot_be_swept_is_not_left_locked(folder, monkeypatch):
    folder.close()
    (folder.path / ".staging-1").mkdir()
    monkeypatch.setattr(files, "remove", raising(PermissionError(errno.EACCES, "no")))
    with pytest.raises(PermissionError):
        folder.open("one")
    monkeypatch.undo()
    with CheckpointFolder(folder.path).open("two"):
        assert names(folder) == []


def raising(error):
    def call(*args):
        raise error

    return call


def test_the_lock_dies_with_the_object(tmp_path):
    CheckpointFolder(tmp_path).open("one")
    gc.collect()
    CheckpointFolder(tmp_path).open("two").close()


def test_a_process_that_is_killed_leaves_no_lock_although_its_children_live(tmp_path):
    ends, begins = os.pipe(), os.pipe()
    writer = os.fork()
    if writer == 0:
        os.close(ends[1])  # else the child would wait for itself, for ever
        folder = CheckpointFolder(tmp_path).open("one")
        child = os.fork()
        if child == 0:  # as a data-loading worker: it lives on for a while
            os.close(begins[0])
            refused = b"n"
            try:
                save(folder, 1)
            except RuntimeError:
                refused = b"y"
            os.write(begins[1], refused)
            os.read(ends[0], 1)
            os._exit(0)
        os.read(ends[0], 1)
        os._exit(1)
    try:
        assert os.read(begins[0], 1) == b"y"
        with pytest.raises(RuntimeError, match="another run writes"):
            CheckpointFolder(tmp_path).open("two")
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        with CheckpointFolder(tmp_path).open("two") as folder:
            save(folder, 1)
    finally:
        for descriptor in (*ends[::-1], *begins):
            os.close(descriptor)


def test_another_thread_may_save(folder):
    thread = threading.Thread(target=save, args=(folder, 1, 2))
    thread.start()
    thread.join()
    assert [one.step for one in folder.all()] == [1, 2]


Usage = namedtuple("Usage", "total used free")


def test_room_is_asked_for_before_the_first_save(folder, monkeypatch):
    state = {"model": {"w": torch.zeros(1000)}, "l": [(torch.zeros(1000),)], "run": {"x": 1}}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 15_999))
    with pytest.raises(OSError, match="step 3 could not be saved") as caught:
        folder.save(state, {"step": 3, "epoch": 0})
    assert caught.value.errno == errno.ENOSPC
    said = "two checkpoints take 16,000 bytes, and 15,999 are free. Make room, or give a folder"
    assert said in str(caught.value)
    assert names(folder) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 16_000))
    folder.save(state, {"step": 3, "epoch": 0})
    monkeypatch.setattr(shutil, "disk_usage", raising(AssertionError("asked again")))
    folder.save(state, {"step": 4, "epoch": 0})


def test_an_error_of_the_disk_keeps_its_kind_and_tells_the_story(folder, monkeypatch):
    for newest in (None, "step-00000001"):
        monkeypatch.setattr(files, "write_files", raising(PermissionError(errno.EACCES, "no")))
        with pytest.raises(PermissionError, match=r"could not be saved in .*: no") as caught:
            save(folder, 5)
        assert caught.value.errno == errno.EACCES
        assert isinstance(caught.value.__cause__, PermissionError)
        left = f"The newest one there is {newest}; it is as it was."
        assert (left if newest else "There is none there yet.") in str(caught.value)
        assert names(folder) == ([newest] if newest else [])
        monkeypatch.undo()
        if not newest:
            save(folder, 1)


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), OSError("no number")])
def test_other_errors_get_a_note(folder, monkeypatch, error):
    save(folder, 1)
    monkeypatch.setattr(files, "write_files", raising(error))
    with pytest.raises(type(error)) as caught:
        save(folder, 5)
    assert caught.value is error
    assert "step 5 could not be saved" in error.__notes__[0]
    assert "The newest one there is step-00000001" in error.__notes__[0]
    assert names(folder) == ["step-00000001"]


def test_a_state_that_cannot_be_written(folder):
    with pytest.raises(TypeError, match=r"opt\.x is of type object"):
        folder.save({"opt": {"x": object()}}, {"step": 1, "epoch": 0})
    with pytest.raises(ValueError, match=r"info must have the fields run, .*; missing: step"):
        folder.save({}, {"epoch": 0})
    assert names(folder) == []


def test_a_commit_that_may_not_have_reached_the_disk_is_undone(folder, monkeypatch):
    save(folder, 1)
    real = files.sync_folder

    def fails(path):
        if path == folder.path:
            raise OSError(errno.EIO, "Input/output error")
        real(path)

    monkeypatch.setattr(files, "sync_folder", fails)
    with pytest.raises(OSError, match="step 5 could not be saved"):
        save(folder, 5)
    assert names(folder) == ["step-00000001"]
    monkeypatch.undo()
    (saved,) = save(folder, 5)
    assert saved.path.name == "step-00000005"
    assert saved.serial == 3


def test_a_disk_that_is_gone_altogether(folder, monkeypatch):
    monkeypatch.setattr(checkpoint, "write", raising(OSError(errno.EIO, "gone")))
    monkeypatch.setattr(Path, "iterdir", raising(OSError(errno.EIO, "gone")))
    with pytest.raises(OSError, match=r"could not be saved in .*: gone. There is none there"):
        save(folder, 5)


@pytest.fixture
def press(monkeypatch):
    """Presses Ctrl-C when a function of `files` is called, as often as it is."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def at(name):
        real = getattr(files, name)

        def pressed(*args):
            signal.raise_signal(signal.SIGINT)
            return real(*args)

        monkeypatch.setattr(files, name, pressed)

    yield at
    signal.signal(signal.SIGINT, before)


def test_a_ctrl_c_while_a_checkpoint_is_written_leaves_nothing_of_it(folder, press):
    save(folder, 1)
    press("write_files")
    press("remove")  # again, while what was begun is deleted
    with pytest.raises(KeyboardInterrupt) as caught:
        save(folder, 2)
    assert names(folder) == ["step-00000001"]
    assert caught.value.__notes__[0].startswith("the checkpoint of step 2 could not be saved")


def test_a_ctrl_c_while_it_gets_its_name_waits_until_it_has_it(folder, press):
    press("rename")
    with pytest.raises(KeyboardInterrupt) as caught:
        save(folder, 1)
    assert names(folder) == ["step-00000001"]
    assert folder.newest()[1] == []
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("where", ["rename", "sync_folder", "remove"])
def test_a_ctrl_c_while_old_ones_are_deleted_waits_until_they_are_gone(folder, press, where):
    save(folder, 1, 2, 3, 4, 5)
    press(where)
    with pytest.raises(KeyboardInterrupt):
        folder.prune(2, run="one")
    assert names(folder) == [f"step-{step:08d}" for step in (1, 4, 5)]
