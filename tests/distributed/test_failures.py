"""Whoever fails, every process says so, within seconds: D9 of the guarantees, and more."""

import json

import pytest
import torch

from lehr import Callback, DataBunch
from lehr.callbacks import Checkpoint
from lehr.data import DataLoader
from lehr.distributed import RemoteRankError, failures
from lehr.events import ACTIONS, EVENTS
from lehr.testing import tiny_learner

PLACES = [*EVENTS, *ACTIONS]
SECONDS = (
    5.0  # until others have heard; to wait for a lost process takes 6, the groups' timeout 100
)
QUICK = ("begin_fit", "after_loss", "after_step", "after_validate", "predict")


def moment(text: str) -> float:
    """When an error ended its process, by a clock that all processes of a machine share."""
    return float(text.rpartition("\nat ")[2])


@pytest.mark.parametrize(
    ("number", "place"),
    [
        pytest.param(i, name, id=name, marks=[] if name in QUICK else [pytest.mark.large])
        for i, name in enumerate(PLACES)
    ],
)
def test_an_error_in_one_process_is_named_in_all(number, place, world):
    rank = number % 2
    ended = world(2, "fails", rank=rank, name=place, limit=50)
    assert [kind for kind, _ in ended] == ["error", "error"], ended
    own, other = ended[rank][1], ended[1 - rank][1]
    assert abs(moment(own) - moment(other)) < SECONDS
    assert "ValueError: the disk is full" in own
    assert f"This was rank {rank} of 2." in own
    assert f"RemoteRankError: rank {rank} failed in Fails.{place}" in other
    assert "the disk is full" in other


def test_an_error_that_only_speaks_of_gloo_is_no_lost_process(world):
    text = "gloo and NCCL are not there"
    first, second = world(2, "fails", rank=1, name="after_loss", kind=RuntimeError, text=text)
    assert f"RuntimeError: {text}" in second[1]
    assert "RemoteRankError: rank 1 failed in Fails.after_loss, epoch 1, training" in first[1]
    assert text in first[1]


def test_an_error_outside_of_a_run_is_named_in_all(world):
    first, second = world(2, "fails_in_its_script")
    assert "ValueError: no such column" in second[1]
    assert "RemoteRankError: rank 1 failed in its program: ValueError" in first[1]
    assert "no such column" in first[1]


def test_torch_writes_the_rank_before_each_line_of_an_error_that_ends_a_process(values):
    for rank, shown in enumerate(values(2, "shows_its_error")):
        assert f"[rank{rank}]: ValueError: no such column" in shown
        assert all(line.startswith(f"[rank{rank}]: ") for line in shown.splitlines())


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("model", "0.weight of the model is (2, 3) float32 on rank 0, (3, 3) float32 on rank 1; "),
        ("seed", "the processes differ: the seed is 0 on rank 0, 1 on rank 1. All must make the"),
        ("tensor", "the content of data is (4, 3) float32 with checksum"),
        ("batches", "the content of data is (4, 3) float32, (4,) int64 with checksum"),
        ("loader", "the content of data is (4, 3) float32 with checksum"),
        ("training data", "the content of train_dl is (4, 3) float32, (4,) int64 with checksum"),
    ],
)
def test_what_the_processes_were_given_must_be_the_same(how, text, world):
    for rank, (kind, said) in enumerate(world(2, "differs", how=how)):
        assert kind == "error"
        assert "ValueError: the processes differ: " in said
        assert text in said
        assert f"This was rank {rank} of 2." in said


class Store(dict):
    """What torch's stores do of what is asked of them."""

    def set(self, key, text):
        self[key] = text.encode()

    def check(self, keys):
        return all(key in self for key in keys)


@pytest.fixture
def two(monkeypatch):
    """What tells of failures in each of two processes, without them."""
    monkeypatch.setattr(failures, "_MOMENT", 0.05)
    monkeypatch.setattr(failures, "_SECONDS", 0.05)
    monkeypatch.setattr(failures, "give_up", lambda: None)
    store, made = Store(), []
    for rank in (0, 1):
        made.append(failures.Failures.__new__(failures.Failures))
        vars(made[rank]).update(rank=rank, world=2, groups=[], store=store, over=False)
    return made


WAITED = "[/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 3000ms for recv operation"
CLOSED = "[/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:23737"


def test_a_process_that_is_only_late_is_not_taken_for_a_dead_one(two):
    first, second = two
    text = (
        r"rank 1 said nothing for 3 seconds, in which rank 0 waited in a long sum\. It is stuck, or"
    )
    with pytest.raises(RemoteRankError, match=text):
        first.tell(RuntimeError(WAITED), "a long sum")
    with pytest.raises(RemoteRankError, match=rf"{text}.*\(Rank 1 was in a nap\.\)"):
        second.tell(RuntimeError(CLOSED), "a nap")


def test_who_has_told_does_not_tell_again(two):
    error = ValueError("full")
    for place in ("a sum", "a fit around it"):
        two[1].tell(error, place)
    assert error.__notes__ == ["This was rank 1 of 2."]
    assert two[1].store["failed"] == b"rank 1 failed in a sum: ValueError('full')."


def test_without_a_word_a_process_that_is_gone_was_probably_killed(two):
    with pytest.raises(RemoteRankError, match="rank 1 is lost, and left no word"):
        two[0].tell(RuntimeError(CLOSED), "a sum")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (CLOSED, "ranks 1 and 2 are lost, and left no word: they were probably killed"),
        (WAITED, r"ranks 1 and 2 said nothing for 3 seconds, .*\. They are stuck, or at work"),
    ],
)
def test_several_processes_that_are_gone_are_all_named(error, text, two):
    two[0].world = 3
    with pytest.raises(RemoteRankError, match=text):
        two[0].tell(RuntimeError(error), "a sum")


def test_who_waited_for_a_process_that_failed_says_so(two):
    first, second = two
    second.tell(ValueError("full"), "a sum")
    with pytest.raises(RemoteRankError, match=r"rank 1 failed in a sum: ValueError\('full'\)\."):
        first.tell(RuntimeError(WAITED), "a sum")


class Breaks(torch.utils.data.Dataset):
    """Has one item that cannot be read."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == 4:
            raise ValueError("no such picture")
        return torch.zeros(3), torch.tensor(0)


def test_an_error_of_a_dataset_is_told_with_the_batch_that_was_read(two):
    learn = tiny_learner(data=DataBunch(DataLoader(Breaks(), 2)))
    with pytest.raises(ValueError, match="no such picture") as raised:
        learn.fit(1)
    two[0].tell(raised.value, learn.run)
    told = two[0].store["failed"].decode()
    assert "rank 0 failed in a fit, reading a batch, epoch 0, training batch 2: ValueError" in told
    assert raised.value.__notes__[-1] == "This was rank 0 of 2."


class Forgets(Callback):
    """Cannot say what it knows."""

    state = ("known",)
    known = property(lambda self: 1 / 0)


def test_an_error_of_a_state_is_told_with_who_saves_and_whose_state_it_is(two, tmp_path):
    learn = tiny_learner([Forgets(), Checkpoint(tmp_path)], rehearsal=False)
    with pytest.raises(ZeroDivisionError) as raised:
        learn.fit(1)
    two[0].tell(raised.value, learn.run)
    told = two[0].store["failed"].decode()
    assert "rank 0 failed in Checkpoint" in told
    assert "That was in the state of callbacks.forgets." in told


def test_a_process_that_is_killed_is_named(world):
    first, second = world(2, "dies", after=8)
    assert second[0] == "died"
    assert "RemoteRankError: rank 1 is lost, and left no word: it was probably killed." in first[1]
    assert "Rank 0 was in" in first[1]


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("after_loss", "CancelBatch"),
        pytest.param("after_loss", "CancelFit", marks=pytest.mark.large),
        pytest.param("begin_batch", "CancelEpoch", marks=pytest.mark.large),
    ],
)
def test_a_cancel_in_one_process_alone_is_an_error_that_says_so(place, kind, world):
    for outcome, text in world(2, "cancels", name=place, kind=kind):
        assert outcome == "error"
        assert "RemoteRankError: the processes have parted: rank 0" in text
        assert "a callback must cancel in all of them or in none" in text


def test_a_cancel_in_all_processes_is_none(values):
    first, second = values(2, "cancels", name="after_loss", kind="CancelBatch", ranks=[0, 1])
    assert first == second == 17  # of 18 steps


@pytest.mark.parametrize(
    ("method", "then", "others"),
    [
        ("predict", "", "rank 1 has ended its program"),
        ("predict", "fit", "rank 1 is in a fit"),
        pytest.param("validate", "fit", "rank 1 is in a fit", marks=pytest.mark.large),
        pytest.param("validate", "", "rank 1 has ended its program", marks=pytest.mark.large),
        pytest.param("fit", "", "rank 1 has ended its program", marks=pytest.mark.large),
    ],
)
def test_a_call_in_the_first_process_alone_is_refused_at_once(method, then, others, world):
    first, second = world(2, "first_alone", method=method, then=then, limit=50)
    assert moment(first[1]) - float(first[1].partition("called at ")[2].split()[0]) < SECONDS
    assert first[0] == "error"
    assert (
        f"the processes have parted: rank 0 is in a {'fit' if method == 'fit' else 'valid'}"
        in (first[1])
    )
    assert others in first[1]
    assert second[0] == ("error" if then else "ok")


@pytest.mark.parametrize(
    ("method", "then", "others"),
    [("audit", "fit", "is in a fit"), ("predict", "", "has ended its program")],
)
def test_a_call_in_the_first_process_alone_that_draws_a_seed_is_refused(
    method, then, others, world
):
    first, _ = world(2, "first_alone", method=method, then=then, seed=None, limit=50)
    assert moment(first[1]) - float(first[1].partition("called at ")[2].split()[0]) < SECONDS
    parted = "the processes have parted: rank 0 is in a method of a Learner; rank 1 "
    assert f"RemoteRankError: {parted}{others}" in first[1]


def test_after_a_failure_the_processes_train_no_more(world):
    for _, text in world(2, "goes_on"):
        assert "these processes no longer work together, because one of them failed" in text


def test_the_log_has_the_loss_of_every_batch_before_the_error(world, tmp_path):
    ended = world(2, "logs_and_fails", folder=str(tmp_path))
    assert [kind for kind, _ in ended] == ["error", "error"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "norm" in line]
    assert len(steps) >= 8  # the first epoch has 6
    assert all(isinstance(line.get("loss"), float) for line in steps)
