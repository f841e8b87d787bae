"""The default random generators belong to one thread at a time."""

import os
import threading

import pytest

from lehr.state.ownership import is_mine, owned


def in_another_thread(work):
    """What ``work`` returns, or raises, in a thread of its own."""
    found = []

    def run():
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, name="the other")
    thread.start()
    thread.join()
    return found[0]


def enters():
    with owned():
        return is_mine()


def test_a_thread_enters_as_often_as_it_likes_and_leaves_as_often():
    assert not is_mine()
    with owned():
        with owned():
            assert is_mine()
        assert is_mine()
    assert not is_mine()


def test_another_thread_is_refused_in_between_and_let_in_after():
    with owned():
        error = in_another_thread(enters)
        assert not in_another_thread(is_mine)
    message = (
        f"the thread {threading.current_thread().name!r} of this process is training or "
        "evaluating, so 'the other' cannot: both would draw from the default random generators of "
        "torch, which belong to the whole process, and change each other's numbers. Train one "
        "after the other, or in processes of their own."
    )
    assert isinstance(error, RuntimeError)
    assert str(error) == message
    assert in_another_thread(enters) is True


def test_an_error_leaves_nothing_locked():
    with pytest.raises(ZeroDivisionError), owned():
        raise ZeroDivisionError
    assert in_another_thread(enters) is True


FORKS = """
import os, threading
from lehr.state.ownership import is_mine, owned

def child():
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        mine = is_mine()
        with owned(), owned():
            os._exit(10 + mine)
    except BaseException as error:
        print(error, flush=True)
        os._exit(1)

with owned():
    assert child() == 11  # what this thread had, it has in the child
    found = []
    thread = threading.Thread(target=lambda: found.append(child()))
    thread.start(); thread.join()
    assert found == [10], found  # who had it is not in the child
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_forked_process_has_what_the_thread_that_forked_had(nursery):
    done = nursery.run(code=FORKS)
    assert done.returncode == 0, done.stdout + done.stderr
