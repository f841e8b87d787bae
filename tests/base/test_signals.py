"""Ctrl-C and SIGTERM: the first asks, the second insists, and the handlers before come back."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from lehr.base import interrupts, signals
from lehr.base.signals import interruptible, on_interrupt, patient

REASON = "interrupted by Ctrl-C"
INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
REASONS = {INT: REASON, TERM: "asked to end by SIGTERM", HUP: "asked to end by SIGHUP"}


class Ended(Exception):
    """What the program's own handler of SIGTERM raises."""


def end(number, frame):
    raise Ended


def press(number=INT):
    signal.raise_signal(number)


@pytest.fixture(autouse=True)
def _handler():
    """Python's own handlers, whatever the test runner has."""
    before = {INT: signal.default_int_handler, TERM: signal.SIG_DFL, HUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in before.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", REASONS)
def test_the_first_only_asks(number):
    asked = []
    with on_interrupt(asked.append) as received:
        assert (asked, received) == ([], [])
        press(number)
        assert asked == [REASONS[number]]
    assert received == [number]


@pytest.mark.parametrize("first", REASONS)
@pytest.mark.parametrize(("second", "error"), [(INT, KeyboardInterrupt), (TERM, Ended)])
def test_the_second_of_either_kind_raises_and_does_not_ask_again(first, second, error):
    signal.signal(TERM, end)
    asked = []
    with pytest.raises(error), on_interrupt(asked.append) as received:
        press(first)
        press(second)
    assert asked == [REASONS[first]]
    assert received == [first, second]
    assert signal.getsignal(INT) is signal.default_int_handler
    assert signal.getsignal(TERM) is end


def test_without_the_scope_the_first_raises():
    with on_interrupt(lambda reason: None):
        pass
    with pytest.raises(KeyboardInterrupt):
        press()


def test_the_second_is_left_to_whatever_handler_was_there():
    heard, asked = [], []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    with on_interrupt(asked.append):
        press()
        assert heard == []
        press()
        press()
    assert asked == [REASON]
    assert heard == [signal.SIGINT] * 2


@pytest.mark.parametrize("presses", [0, 1])
def test_the_handler_before_comes_back(presses):
    with on_interrupt(lambda reason: None):
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(TERM) is not signal.SIG_DFL
        for _ in range(presses):
            press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(TERM) is signal.SIG_DFL


def test_the_handler_before_comes_back_after_an_error():
    with pytest.raises(ZeroDivisionError), on_interrupt(lambda reason: None):
        1 / 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_handler_before_comes_back_after_the_second():
    with pytest.raises(KeyboardInterrupt), on_interrupt(lambda reason: None):
        press()
        press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_of_two_scopes_the_inner_is_asked_first():
    outer, inner = [], []
    with on_interrupt(outer.append):
        with on_interrupt(inner.append):
            press()
            assert (outer, inner) == ([], [REASON])
            press()  # the inner leaves it to the outer
            assert (outer, inner) == ([REASON], [REASON])
        with pytest.raises(KeyboardInterrupt):
            press()


def test_outside_the_main_thread_nothing_is_installed():
    seen = []

    def work():
        with on_interrupt(seen.append) as received:
            seen.extend(map(signal.getsignal, (INT, TERM)))
            seen.append(received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler, signal.SIG_DFL, []]


@pytest.mark.parametrize(("ignored", "other"), [(INT, TERM), (TERM, INT)])
def test_an_ignored_signal_stays_ignored_and_the_other_asks(ignored, other):
    signal.signal(ignored, signal.SIG_IGN)
    asked = []
    with on_interrupt(asked.append) as received:
        assert signal.getsignal(ignored) is signal.SIG_IGN
        press(ignored)
        assert (asked, received) == ([], [])
        press(other)
    assert (asked, received) == ([REASONS[other]], [other])
    assert signal.getsignal(ignored) is signal.SIG_IGN


def test_a_handler_that_python_does_not_know_is_left_alone(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    installed = []
    monkeypatch.setattr(signal, "signal", lambda *arguments: installed.append(arguments))
    with on_interrupt(installed.append):
        pass
    assert installed == []
    monkeypatch.undo()


# Work that ends early --------------------------------------------------------------------------


def test_work_without_a_signal_ends_as_it_does():
    with interruptible(lambda reason: None):
        pass
    with pytest.raises(ZeroDivisionError) as caught, interruptible(lambda reason: None):
        1 / 0
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("interactive", [False, True])
def test_ctrl_c_is_told_to_a_script_and_not_at_a_prompt(interactive, monkeypatch):
    monkeypatch.setattr(signals, "is_interactive", lambda: interactive)
    asked, done = [], []

    def work():
        with interruptible(asked.append):
            press()
            done.append("work")
        done.append("returned")

    if interactive:
        work()
    else:
        with pytest.raises(KeyboardInterrupt, match=f"^{REASON}$"):
            work()
    assert asked == [REASON]
    assert done == ["work", "returned"][: 1 + interactive]


@pytest.mark.parametrize("number", [TERM, HUP])
@pytest.mark.parametrize("interactive", [False, True])
def test_sigterm_and_sighup_end_the_program_when_the_work_is_done(interactive, number, monkeypatch):
    monkeypatch.setattr(signals, "is_interactive", lambda: interactive)
    done = []
    with pytest.raises(SystemExit) as caught:
        with interruptible(done.append):
            press(number)
            done.append("work")
        done.append("never")
    assert caught.value.code == 128 + number
    assert done == [REASONS[number], "work"]
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_sighup_that_is_ignored_stays_so():
    signal.signal(HUP, signal.SIG_IGN)  # as nohup does
    with interruptible(pytest.fail):
        press(HUP)


@pytest.mark.parametrize(("number", "code"), [(TERM, 143), (HUP, 129)])
def test_a_reason_tells_how_the_program_ends(number, code):
    assert signals.interruption(REASONS[number]).code == code
    assert isinstance(signals.interruption(REASON), KeyboardInterrupt)


@pytest.mark.parametrize("raises", [False, True])
def test_the_programs_own_handler_hears_of_a_sigterm_when_the_work_is_done(raises):
    heard = []

    def own(number, frame):
        heard.append(signal.getsignal(number))
        if raises:
            raise Ended

    signal.signal(TERM, own)

    def work():
        with interruptible(heard.append):
            press(TERM)
            heard.append("work")
        heard.append("returned")

    if raises:
        with pytest.raises(Ended):
            work()
    else:
        work()
    assert heard == [REASONS[TERM], "work", own, "returned"][: 4 - raises]


def test_an_error_of_the_work_wins_and_tells_of_the_sigterm():
    with pytest.raises(ZeroDivisionError) as caught, interruptible(lambda reason: None):
        press(TERM)
        1 / 0
    assert caught.value.__notes__ == ["This process was asked to end by SIGTERM before."]


def test_after_an_error_the_programs_own_handler_hears_of_a_sigterm_too():
    heard = []
    signal.signal(TERM, lambda number, frame: heard.append(number))
    with pytest.raises(ZeroDivisionError) as caught, interruptible(lambda reason: None):
        press(TERM)
        1 / 0
    assert heard == [TERM]
    assert len(caught.value.__notes__) == 1
    with pytest.raises(ZeroDivisionError), interruptible(lambda reason: None):
        press()
        1 / 0
    assert heard == [TERM]


def test_a_second_that_was_handed_on_is_not_handed_on_again():
    heard = []
    signal.signal(TERM, lambda number, frame: heard.append(number))
    with pytest.raises(KeyboardInterrupt, match=REASON), interruptible(lambda reason: None):
        press()
        press(TERM)
        assert heard == [TERM]
    assert heard == [TERM]


def test_of_two_scopes_the_outer_is_asked_when_the_inner_is_done():
    asked = []
    with pytest.raises(SystemExit), interruptible(lambda reason: asked.append("outer")):
        with interruptible(lambda reason: asked.append("inner")):
            press(TERM)
            assert asked == ["inner"]
        assert asked == ["inner", "outer"]


# Processes -------------------------------------------------------------------------------------

slow = pytest.mark.slow  # a process takes a moment to start


def script(text, *arguments):
    """The exit status and the output of a program, which has ``on_interrupt`` and ``signal``."""
    start = "import os, signal, sys, time\nfrom lehr.base import signals\n"
    start += "from lehr.base.signals import interruptible, on_interrupt\n"
    done = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(text), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@slow
@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM"])
def test_the_second_ends_a_program_at_once_with_its_signal(second):
    code, out, err = script(
        f"""
        with interruptible(lambda reason: print(reason, flush=True)):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.{second})
            print("never")
        """
    )
    assert code == -getattr(signal, second)
    assert out == "asked to end by SIGTERM\n"
    assert ("KeyboardInterrupt" in err) == (second == "SIGINT")


FORKS = """
    import threading

    def fork(where):
        found = []
        def go():
            pid = os.fork()
            if pid == 0:
                time.sleep(30)  # unless it is ended
                os._exit(3)
            os.kill(pid, signal.SIGINT)
            time.sleep(0.2)
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), "Ctrl-C ended it"
            os.kill(pid, signal.SIGTERM)
            found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        thread = threading.Thread(target=go)
        thread.start() if where == "thread" else go()
        if where == "thread":
            thread.join()
        return found

    with on_interrupt(print) as received:
        if sys.argv[1] == "early":  # as if the signal came before the child has its own handlers
            signals._IN_A_CHILD, kept = {}, signals._IN_A_CHILD
            os.register_at_fork(after_in_child=lambda: setattr(signals, '_IN_A_CHILD', kept))
        print(fork(sys.argv[1]), received)
        signal.raise_signal(signal.SIGTERM)
"""


@slow
@pytest.mark.parametrize("where", ["main", "thread", "early"])
def test_a_forked_process_is_ended_by_sigterm_and_leaves_ctrl_c_alone(where):
    code, out, err = script(FORKS, where)
    assert (code, out) == (0, "[-15] []\nasked to end by SIGTERM\n"), err


@slow
def test_a_forked_process_keeps_handlers_that_are_not_ours():
    code, out, err = script(
        """
        with on_interrupt(print):
            signal.signal(signal.SIGTERM, lambda number, frame: os._exit(5))
            if (pid := os.fork()) == 0:
                signal.raise_signal(signal.SIGTERM)
                os._exit(3)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert (code, out) == (0, "5\n"), err


TRAINING = """
    import multiprocessing, sys, time
    import torch
    from lehr import Learner
    from lehr.callback import Callback
    from lehr.data import DataBunch, DataLoader

    class Items:
        def __len__(self):
            return 100_000

        def __getitem__(self, i):
            return torch.zeros(3), torch.tensor(1)

    class Say(Callback):
        def after_batch(self, run):
            if run.n_iter == 3:
                print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            time.sleep(0.01)

        def after_fit(self, run):
            print("after_fit:", run.interrupted, flush=True)

    kind = DataLoader if sys.argv[1] == "ours" else torch.utils.data.DataLoader
    model = torch.nn.Linear(3, 2)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    data = DataBunch(kind(Items(), 8, num_workers=2))
    loss_func = torch.nn.CrossEntropyLoss()
    Learner(model, opt, loss_func, data, progress=False).fit(1, [Say()])
    print("never")
"""


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("loader", ["ours", "torch"])
@pytest.mark.parametrize(
    ("number", "group", "code"),
    [(INT, False, -INT), (INT, True, -INT), (TERM, False, 143), (HUP, True, 129)],
)
def test_a_training_with_workers_ends_when_asked_and_leaves_nobody_behind(
    nursery, loader, number, group, code
):
    process = nursery.start(loader, code=textwrap.dedent(TRAINING), group=True)
    workers = [int(word) for word in process.stdout.readline().split()]
    assert len(workers) == 2
    (os.killpg if group else os.kill)(process.pid, number)
    out, err = (said.decode() for said in process.communicate())
    assert process.wait() == code, err
    assert out == f"after_fit: {REASONS[number]}\n"
    assert re.search(r"KeyboardInterrupt: interrupted by Ctrl-C", err) or number != INT
    deadline = time.monotonic() + 10
    while not all(map(is_gone, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(is_gone, workers))


@slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("loader", ["ours", "torch"])
def test_a_worker_that_is_ended_alone_fails_the_training_instead_of_hanging(nursery, loader):
    process = nursery.start(loader, code=textwrap.dedent(TRAINING))
    workers = [int(word) for word in process.stdout.readline().split()]
    os.kill(workers[0], TERM)
    out, err = (said.decode() for said in process.communicate())
    assert (process.wait(), out) == (1, "")
    killed = f"DataLoader worker (pid {workers[0]}) is killed by signal: Terminated"
    assert killed in err or "ConnectionResetError" in err  # if it was just sending a batch


def test_what_a_second_press_has_overtaken_is_not_heeded_by_another_operation():
    interrupts._waiting.append(lambda frame: signal.raise_signal(INT))
    with patient(), patient():
        assert interrupts._waiting == []
    interrupts._waiting.append(lambda frame: signal.raise_signal(INT))
    with pytest.raises(KeyboardInterrupt):
        interrupts.call_uninterrupted(lambda: None)
