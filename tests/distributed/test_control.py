"""The small messages, without other processes."""

import pytest
import torch

from lehr.distributed.control import Control, PartedError, Said, Sent


class Work:
    """What is to be waited for: an answer that has come, or never comes."""

    def __init__(self, error: str = ""):
        self.error = error

    def wait(self):
        if self.error:
            raise RuntimeError(self.error)


class Group:
    """Two processes, of which the other one sends the numbers that it was made with."""

    def __init__(self, other, error=""):
        self.other, self.work = torch.tensor(other, dtype=torch.float64), Work(error)

    def allreduce(self, tensors):
        tensors[0] += self.other
        return self.work


def control(other, error="") -> Control:
    made = Control.__new__(Control)
    made.group, made.world, made.runs = Group(other, error), 2, 1
    made.device = torch.device("cpu")
    return made


STEP = [2, 1, 8, 7, 0]  # kind, run, batches, steps, size


def send(made: Control) -> Sent:
    return made.send("step", Said(4.0, 0.0, 1.0, 9.0), position=(8, 7))


def test_what_is_said_is_added_up():
    assert send(control([*STEP, 3.0, 1.0, 1.0, 0.0])).wait() == Said(7.0, 1.0, 2.0, 9.0)


@pytest.mark.parametrize("number", range(5))
def test_another_place_is_noticed(number):
    other = [*STEP, 0, 0, 0, 0]
    other[number] += 1
    with pytest.raises(PartedError, match=r"the processes are not at the same place"):
        send(control(other)).wait()


def test_the_weight_can_be_had_without_reading_the_rest():
    sent = send(control([STEP[0] + 1, *STEP[1:], 3.0, 0, 0, 0]))  # of another kind
    assert sent.weight().item() == 7.0
    with pytest.raises(PartedError):
        sent.wait()


def test_an_answer_can_be_read_twice():
    sent = send(control([*STEP, 3.0, 0, 0, 0]))
    assert sent.wait() == sent.wait()


def test_one_that_does_not_answer_is_lost_and_has_not_parted():
    made = control([*STEP, 0, 0, 0, 0], error="Timed out")
    with pytest.raises(RuntimeError, match="Timed out") as raised:
        send(made).wait()
    assert not isinstance(raised.value, PartedError)


def test_a_kind_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="not in tuple"):
        control(STEP).send("nonsense")
