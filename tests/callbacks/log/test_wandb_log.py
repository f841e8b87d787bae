"""WandbLog against what wandb writes when it is offline."""

import json
import struct
import time

import pytest

from lehr.callbacks import WandbLog
from lehr.testing import tiny_learner

from . import services

pytest.importorskip("wandb", reason="wandb is not installed: make test-clients")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

_BLOCK = 32768


def records(path):
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes."""
    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if _BLOCK - at % _BLOCK < 7:
            at += _BLOCK - at % _BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield whole
            whole = b""


def points(path):
    """Batches and values, by column; wandb's own process may write a little after the end."""
    until = time.monotonic() + 60
    while path.stat().st_size <= 7 and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(0.5)
    from wandb.proto import wandb_internal_pb2 as proto

    found = {}
    for data in records(path):
        record = proto.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") != "history":
            continue
        for item in record.history.item:
            name = item.key or ".".join(item.nested_key)
            if not name.startswith("_"):
                value = json.loads(item.value_json)
                found.setdefault(name, []).append((record.history.step.num, value))
    return found


def to_sync(folder):
    """What ``wandb sync`` would send."""
    found = folder.glob("wandb/offline-run-*/*.wandb")
    return [path for path in found if not path.with_suffix(".wandb.synced").exists()]


def axes(path):
    return {name: [at for at, _ in column] for name, column in points(path).items()}


def test_every_number_is_there(tmp_path):
    learn = tiny_learner([WandbLog("mine", folder=tmp_path, mode="offline")])
    run = learn.fit(3, validate_every="2 steps")
    (path,) = to_sync(tmp_path)
    assert axes(path) == services.expected()
    assert [value for _, value in points(path)["loss"]] == run.history["loss"]


def test_a_fit_that_is_killed_and_resumed_has_each_point_once(tmp_path):
    services.killed_and_resumed("WandbLog", tmp_path)
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 3
    (path,) = to_sync(tmp_path)
    assert axes(path) == services.expected()


def test_each_fit_is_a_run_and_one_of_the_users_own_is_left_alone(tmp_path):
    import wandb

    own = wandb.init(project="own", dir=str(tmp_path), mode="offline")
    learn = tiny_learner([WandbLog(folder=tmp_path, mode="offline", name="mine")])
    learn.fit(1)
    learn.fit(1)
    assert wandb.run is own
    own.log({"a": 1})
    own.finish()
    assert len(to_sync(tmp_path)) == 3


def test_a_folder_that_cannot_be_written_to_ends_no_fit(tmp_path):
    log = WandbLog(folder=tmp_path, mode="no such mode")
    with pytest.warns(UserWarning, match="WandbLog cannot reach its service"):
        assert tiny_learner([log]).fit(1).n_steps == 4
