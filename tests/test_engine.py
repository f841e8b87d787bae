"""The engine of one process does nothing."""

import copy
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from lehr import Callback, Phase
from lehr.base.sharing import WHOLE
from lehr.engine import ALONE, Engine
from lehr.testing import tiny_learner


def test_alone_nothing_happens():
    model, own = nn.Linear(1, 1), {"step": print}
    before = [p.clone() for p in model.parameters()]
    ALONE.prepare(model)
    assert all(map(torch.equal, before, model.parameters()))
    with ALONE.opened(None), ALONE.telling():
        assert ALONE.actions(None, own) is own
        ALONE.exchange(None)
    snapshot = {"model": {}}
    assert ALONE.own(snapshot) is ALONE.whole(snapshot) is snapshot
    values = torch.ones(3)
    assert ALONE.sum(values) is values
    assert (ALONE.gather(1), ALONE.same(1), ALONE.processes_text(8), ALONE.key) == ([1], 1, "", ())
    assert (ALONE.rank, ALONE.world, ALONE.share) == (0, 1, WHOLE)
    batches = iter([1])
    assert ALONE.shares(batches, "loader") is batches


def test_a_wish_is_heard_at_once():
    run = tiny_learner().fit(1)
    ALONE.ask(run, "stop_reason", "first")
    ALONE.ask(run, "stop_reason", "second")
    assert run.stop_reason == "first"
    assert run.wishes == {}


def test_the_other_processes_have_random_numbers_of_their_own():
    second = Engine()
    second.rank = 1
    assert (second.key, ALONE.key) == ((1,), ())


def test_a_learner_has_this_one_unless_it_is_given_another():
    other = Engine()
    assert tiny_learner().engine is ALONE
    assert tiny_learner(engine=other).fit(1).engine is other


class Two(Engine):
    """Seems to be one of two."""

    world = 2

    def processes_text(self, batch_size=None, *, own=False):
        return "2 processes"


def test_what_is_no_engine_is_refused():
    with pytest.raises(TypeError, match=r"engine must be a lehr.distributed.Distributed; got 2"):
        tiny_learner(engine=2)


def test_what_only_one_process_can_do_is_refused():
    learn = tiny_learner(engine=Two())
    with pytest.raises(RuntimeError, match=r"check_resume works in one process; this is one of 2"):
        learn.check_resume()
    with pytest.raises(RuntimeError, match=r"replay works in one process; this is one of 2"):
        tiny_learner(engine=Two()).fit(1).replay(0)


def test_what_a_clean_up_raises_is_raised_before_the_processes_part():
    said = []

    class Notes(Engine):
        @contextmanager
        def opened(self, run):
            yield
            said.append("parted")

    class Defers(Callback):
        def begin_fit(self, run):
            run.defer(lambda: said.append("cleaned up"))

    tiny_learner([Defers()], engine=Notes()).fit(1)
    assert said[-2:] == ["cleaned up", "parted"]


def test_explain_says_what_is_shared():
    alone, together = tiny_learner().explain(), tiny_learner(engine=Two()).explain()
    assert "processes" not in alone
    said = "fit, in 2 processes: each has the model, batches are shared out, gradients averaged\n"
    assert together.startswith(said)
    assert "    for batch in train_dl: each process reads its part\n" in together
    assert "when the update window closes: gradients and weights are those of all" in together
    assert "then after_batch; each process reads its part, and numbers are merged\n" in together
    assert together.count("-- rest; all processes agree whether the run ends") == 3


def test_who_exists_in_the_first_process_alone_is_declared_and_not_guessed_from_the_phase():
    class Other(Engine):
        rank, world = 1, 2

    class Shows(Callback):
        everywhere = False

        def after_batch(self, run): ...

    class Late(Callback):
        phase = Phase.REPORT

        def after_batch(self, run): ...

    names = [
        [type(one).__name__ for one in tiny_learner([Shows(), Late()], engine=engine).everybody()]
        for engine in (Other(), ALONE)
    ]
    assert names[0] == [name for name in names[1] if name != "Shows"]
    assert {"Shows", "Late"} < {*names[1]}


def test_a_copy_of_what_holds_an_engine_has_the_same():
    engine = Two()
    assert copy.deepcopy([engine])[0] is engine
