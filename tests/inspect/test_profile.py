"""A profile counts every moment once, and leaves no trace."""

import signal

import pytest
import torch

from lehr import Callback, DataBunch, Layer, Phase
from lehr.callbacks import EMA, Accumulate, Checkpoint, ClipGradients, CSVLog, EarlyStopping
from lehr.inspect import profile as profiles
from lehr.inspect.trace import Profile
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class Spy(Callback):
    state = ("seen",)

    def __init__(self):
        self.seen = 0

    def after_loss(self, run):
        self.seen += 1


class Around(Callback):
    layer = Layer.CLIP

    def backward(self, run, proceed):
        proceed()

    def one_batch(self, run, proceed):
        proceed()


def names(profile: Profile, kind: str) -> set[str]:
    return {share.name for share in profile.shares if share.kind == kind}


def test_every_part_of_a_step_is_there_and_all_sum_to_the_whole():
    profile = tiny_learner([Spy(), Around()]).profile(12)
    actions = {"predict", "compute_loss", "backward", "finish_grad", "step", "zero_grad"}
    assert names(profile, "action") == actions
    assert names(profile, "callback") == {"Spy", "Around", "Recorder"}
    assert names(profile, "data")
    assert names(profile, "loop")
    assert profile.steps == 12
    total = sum(share.seconds for share in profile.shares)
    assert total == profile.seconds > 0
    assert sum(profile.share_of(kind) for kind in ("data", "action", "callback", "loop")) == (
        pytest.approx(1.0)
    )


def test_the_steps_are_those_of_a_fit_and_the_warm_up_is_not_counted():
    seen = []

    class Losses(Callback):
        def after_loss(self, run):
            seen.append(run.loss.item())

    learn = tiny_learner()
    assert learn.profile(5, [Losses()]).steps == 5
    losses, trained = seen[:8], learn.fit(2).history["loss"]
    assert losses == trained
    assert losses != trained[::-1]  # the control


def test_it_leaves_no_trace(tmp_path):
    spy = Spy()
    writing = [Checkpoint(tmp_path / "c"), CSVLog(tmp_path / "log.csv")]
    learn = tiny_learner([spy, ClipGradients(1.0), *writing])
    learn.fit(0)
    run, files, before = learn.run, sorted(tmp_path.rglob("*")), capture(learn.state_entries())
    profile = learn.profile(4)
    assert first_difference(before, capture(learn.state_entries())) is None
    assert learn.run is run
    assert spy.seen == 0
    assert sorted(tmp_path.rglob("*")) == files
    assert profile.left_out == ("Checkpoint", "CSVLog")
    assert "took no part: Checkpoint, CSVLog" in str(profile)


def test_what_waits_for_a_validation_takes_no_part():
    profile = tiny_learner([EarlyStopping("valid_loss")]).profile(2)
    assert profile.left_out == ("EarlyStopping",)


def test_who_takes_no_part_is_declared_and_not_guessed_from_the_phase():
    class Shows(Callback):
        everywhere = False

        def after_batch(self, run): ...

    class Late(Callback):
        phase = Phase.REPORT
        replays = False

        def after_batch(self, run): ...

    assert tiny_learner([Shows(), Late()]).profile(2).left_out == ("Shows",)


def test_several_batches_may_make_a_step():
    assert tiny_learner([Accumulate(2)]).profile(3).steps == 3


def test_a_run_that_ends_early_has_the_steps_it_made():
    class Stop(Callback):
        def __init__(self, at):
            self.at = at

        def after_step(self, run):
            if run.n_steps == self.at:
                run.stop("enough")

    assert tiny_learner([Stop(5)]).profile(50).steps == 2
    with pytest.raises(ValueError, match=r"no step was measured: the first 3 .* \(enough\)"):
        tiny_learner([Stop(2)]).profile(50)


def test_a_number_of_steps_that_cannot_be_used_is_refused():
    with pytest.raises(ValueError, match="steps must be"):
        tiny_learner().profile(0)


def test_an_error_of_a_callback_still_says_where_it_was_raised():
    class Bad(Callback):
        def after_loss(self, run):
            raise KeyError("oh")

    with pytest.raises(KeyError) as error:
        tiny_learner([Bad()]).profile(2)
    assert "In Bad.after_loss" in error.value.__notes__[0]


def test_one_thread_is_tried_where_torch_has_several(monkeypatch):
    asked, threads = [], [2]

    def set_num_threads(number):
        asked.append(number)
        threads[0] = number

    monkeypatch.setattr(profiles.torch, "get_num_threads", lambda: threads[0])
    monkeypatch.setattr(profiles.torch, "set_num_threads", set_num_threads)
    profile = tiny_learner().profile(2)
    assert asked == [1, 2, 1, 2]  # and put back
    assert [number for number, _ in profile.by_threads] == [2, 1]
    threads[0] = 1
    assert len(tiny_learner().profile(2).by_threads) == 1


def test_an_interrupt_is_raised_when_all_is_put_back():
    class Press(Callback):
        def after_step(self, run):
            if run.n_steps == 5:
                signal.raise_signal(signal.SIGINT)

    learn = tiny_learner([Press()])
    before = capture(learn.state_entries())
    with pytest.raises(KeyboardInterrupt):
        learn.profile(50)
    assert first_difference(before, capture(learn.state_entries())) is None


def test_a_fused_step_is_profiled_with_the_callbacks_in_its_graph():
    learn = tiny_learner([ClipGradients(1.0), EMA(0.9)], compile="eager")
    text = str(learn.profile(4))
    assert "the fused step" in text
    assert "EMA" in text
    assert "NoneType" not in text


def test_a_warning_says_that_data_that_can_be_read_only_once_are_lost():
    batches = iter([(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))] * 40)
    learn = tiny_learner(data=DataBunch(lambda: batches))
    with pytest.warns(UserWarning, match="lost to a fit afterwards: train_dl holds batches"):
        learn.profile(2)
    assert len(list(batches)) < 40
