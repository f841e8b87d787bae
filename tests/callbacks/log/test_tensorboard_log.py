"""TensorBoardLog against TensorBoard's own reader."""

import warnings

import pytest

from lehr.callbacks import TensorBoardLog
from lehr.testing import tiny_learner

from . import services

pytest.importorskip("tensorboard", reason="tensorboard is not installed: make test-clients")


def points(folder):
    """What TensorBoard shows of a folder: batches and values, by column."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    return {
        name: [(point.step, point.value) for point in read.Scalars(name)]
        for name in read.Tags()["scalars"]
    }


def axes(folder):
    return {name: [at for at, _ in column] for name, column in points(folder).items()}


def test_every_number_is_there(tmp_path):
    run = tiny_learner([TensorBoardLog(tmp_path)]).fit(3, validate_every="2 steps")
    shown = points(tmp_path)
    assert [value for _, value in shown["loss"]] == pytest.approx(run.history["loss"])
    assert [value for _, value in shown["valid_loss"]] == pytest.approx(
        [row["valid_loss"] for row in run.history.rows if row["valid_loss"] is not None]
    )
    assert axes(tmp_path) == services.expected()


def test_a_fit_that_is_killed_and_resumed_has_each_point_once(tmp_path):
    services.killed_and_resumed("TensorBoardLog", tmp_path)
    assert axes(tmp_path / "tensorboard") == services.expected()


def test_what_a_killed_fit_has_sent_is_there(tmp_path):
    """The control: without a resume, the end is missing."""
    services.run_script("TensorBoardLog", tmp_path, 5)
    assert axes(tmp_path / "tensorboard")["loss"] == [0, 1, 2, 3]


def test_a_second_fit_goes_on_where_the_first_has_ended(tmp_path):
    log = TensorBoardLog(tmp_path)
    learn = tiny_learner([log])
    learn.fit(1)
    learn.fit(1)
    assert axes(tmp_path)["loss"] == list(range(8))
    tiny_learner([TensorBoardLog(tmp_path, append=True)]).fit(1)
    assert axes(tmp_path)["loss"] == list(range(12))


def test_a_folder_with_another_run_is_refused(tmp_path):
    tiny_learner([TensorBoardLog(tmp_path)]).fit(1)
    with pytest.raises(FileExistsError, match=r"which holds another run\. Give another folder"):
        tiny_learner([TensorBoardLog(tmp_path)]).fit(1)


@pytest.mark.parametrize("after", [2, 7, 13])
def test_a_writer_that_fails_halfway_doubles_no_point(tmp_path, monkeypatch, after):
    from torch.utils.tensorboard import SummaryWriter

    real, calls = SummaryWriter.add_scalar, []

    def fails_once(writer, *args):
        calls.append(args)
        if len(calls) == after:
            raise OSError("the disk is gone")
        real(writer, *args)

    monkeypatch.setattr(SummaryWriter, "add_scalar", fails_once)
    with pytest.warns(UserWarning, match="cannot reach its service: OSError, the disk is gone"):
        tiny_learner([TensorBoardLog(tmp_path)]).fit(3, validate_every="2 steps")
    found = {name: sorted(axis) for name, axis in axes(tmp_path).items()}
    assert found == services.expected()  # files of one second may be read in another order


def test_a_folder_that_cannot_be_written_to_ends_no_fit(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = tiny_learner([TensorBoardLog(tmp_path / "file" / "folder")]).fit(1)
    assert run.n_steps == 4
    ours = [str(one.message) for one in caught if "TensorBoardLog" in str(one.message)]
    assert len(ours) == 1
    assert ours[0].startswith("TensorBoardLog cannot reach its service: NotADirectoryError")


def test_no_path():
    with pytest.raises(TypeError, match=r"folder must be the path of a folder; got 3"):
        TensorBoardLog(3)
