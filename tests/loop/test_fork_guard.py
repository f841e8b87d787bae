"""A process that is forked in the middle of a fit does not go on with it."""

import os

import pytest

FORKED = """
import os, sys
import torch
from lehr import Callback
from lehr.testing import tiny_learner

class Forks(Callback):
    def {moment}(self, run):
        if run.n_iter == 2 and not hasattr(self, "pid"):
            self.pid = os.fork()
            if self.pid == 0 and {work}:
                scores = run.learn.validate(), tiny_learner().fit(1).n_steps
                os._exit(7 if scores[1] == 4 else 8)

forks = Forks()
learn = tiny_learner([forks])
try:
    learn.fit(2)
except RuntimeError as error:
    assert forks.pid == 0
    print("child:", error, flush=True)
    os._exit(9)
assert forks.pid
print("parent:", os.waitstatus_to_exitcode(os.waitpid(forks.pid, 0)[1]), learn.steps_done)
straight = tiny_learner()
straight.fit(2)
assert all(torch.equal(a, b) for a, b in zip(learn.model.parameters(), straight.model.parameters()))
"""


@pytest.fixture
def forked(nursery):
    def run(moment, *, work):
        done = nursery.run(code=FORKED.format(moment=moment, work=work))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.decode()

    return run


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")


@needs_fork
@pytest.mark.parametrize("moment", ["begin_batch", "after_loss", "after_batch"])
def test_a_process_that_was_forked_in_the_middle_of_a_fit_does_not_go_on_with_it(forked, moment):
    assert forked(moment, work=False).splitlines() == [
        "child: this process was forked in the middle of a fit, and cannot go on with it: two "
        "processes would train one model and write the same files. Let the child do its own work "
        "and end with os._exit, as multiprocessing does.",
        "parent: 9 8",
    ]


@needs_fork
def test_a_forked_process_may_evaluate_and_train_a_learner_of_its_own(forked):
    assert forked("after_batch", work=True).splitlines() == ["parent: 7 8"]
