"""Where a run rests, and what can be done there."""

import pytest

from lehr import Callback, CancelEpoch, CancelFit
from lehr.callbacks import Rewind
from lehr.loop.past import bring
from lehr.loop.rests import Entry, Rest
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class Visits(Callback):
    """Writes down where the run rests, and keeps the state there."""

    replays = False

    def begin_fit(self, run):
        self.places, self.states = [], {}
        run.at_rest(self.visit)

    def visit(self, run, rest):
        self.places.append((rest, run.n_steps))
        self.states[rest.stage, run.n_steps] = capture(run.state_entries())


class Pairs(Callback):
    state = ()
    batches_per_step = 2

    def begin_batch(self, run):
        run.closes = run.batch_index % 2 == 1


def places(learn, *args, **kwargs):
    visits = Visits()
    learn.fit(*args, callbacks=[visits], **kwargs)
    return [(rest.stage, rest.epoch, step) for rest, step in visits.places]


def test_a_run_rests_between_epochs_and_batches_and_around_validations():
    assert places(tiny_learner(items=16), 2) == [
        *[("epoch", 0, 0), ("batch", 0, 1), ("batch", 0, 2), ("trained", 0, 2)],
        *[("epoch", 1, 2), ("batch", 1, 3), ("batch", 1, 4), ("trained", 1, 4)],
        ("epoch", 2, 4),
    ]
    within = places(tiny_learner(items=16), 1, validate_every="1 steps")
    assert within == [
        *[("epoch", 0, 0), ("batch", 0, 1), ("validated", 0, 1)],
        *[("batch", 0, 2), ("validated", 0, 2), ("trained", 0, 2), ("epoch", 1, 2)],
    ]


def test_it_does_not_rest_in_an_open_window():
    found = places(tiny_learner([Pairs()], items=32), 1)
    assert [place for place in found if place[0] == "batch"] == [("batch", 0, 1), ("batch", 0, 2)]


class BackOnce(Visits):
    """Goes back, once, from one step to an earlier one."""

    def __init__(self, left, to):
        self.left, self.to, self.went = left, to, False

    def visit(self, run, rest):
        super().visit(run, rest)
        if rest.stage == "batch" and run.n_steps == self.left and not self.went:
            self.went = True
            kept = self.states["batch", self.to]
            here = next(place for place, step in self.places if step == self.to)
            run.go_back(Entry("batch", here.epoch, lambda run: bring(run, kept, [])))


@pytest.mark.parametrize(("left", "to"), [(3, 1), (7, 6), (7, 2), (4, 4)])
def test_a_run_that_goes_back_ends_as_one_that_did_not(left, to):
    straight = tiny_learner().fit(3)
    back = BackOnce(left, to)
    run = tiny_learner().fit(3, callbacks=[back])
    assert back.went
    assert run.rewinds == [(left, to)] == [tuple(pair) for pair in run.history.meta["rewinds"]]
    states = [capture({"model": r.model, "opt": r.opt}) for r in (straight, run)]
    assert first_difference(*states) is None
    assert straight.history["loss"] == run.history["loss"]
    assert (run.epoch, run.n_iter, run.n_steps) == (straight.epoch, 12, 12)
    visited = [step for rest, step in back.places if rest.stage == "batch"]
    assert visited == [*range(1, left + 1), *range(to + 1, 13)]


def test_an_epoch_that_is_made_again_is_no_epoch_without_a_step():
    class Back(BackOnce):
        def visit(self, run, rest):
            Visits.visit(self, run, rest)
            if rest == ("epoch", 1) and not self.went:
                self.went = True
                run.go_back(Entry("batch", 0, lambda run: bring(run, self.states["batch", 1], [])))

    back = Back(4, 1)
    assert tiny_learner().fit(steps=6, callbacks=[back]).n_steps == 6
    assert back.went


def test_what_is_changed_after_going_back_makes_a_difference():
    class Lowers(BackOnce):
        def after_step(self, run):
            if self.went:
                run.opt.param_groups[0]["lr"] = 0.01

    straight, run = tiny_learner().fit(3), tiny_learner().fit(3, callbacks=[Lowers(3, 1)])
    assert run.history["loss"][:2] == straight.history["loss"][:2]
    assert run.history["loss"][3:] != straight.history["loss"][3:]


def nowhere(run):
    raise AssertionError("nothing was to be loaded")


@pytest.mark.parametrize("event", ["begin_fit", "begin_epoch", "begin_train"])
@pytest.mark.parametrize("cancel", [CancelEpoch, CancelFit])
def test_a_cancel_on_the_way_to_where_a_run_is_entered_is_an_error(event, cancel):
    if (event, cancel) == ("begin_fit", CancelEpoch):
        pytest.skip("a cancel that has no meaning there")

    def cancels(run):
        raise cancel

    callback = Callback()
    setattr(callback, event, cancels)
    learn = tiny_learner()

    class Enters(Callback):
        def begin_fit(self, run):
            run.enter(Entry("batch", 1, nowhere))
            assert run.resuming

    with pytest.raises(RuntimeError, match=r"epoch 1 was left before the state .* Resume without"):
        learn.fit(2, callbacks=[Enters(), callback])


def test_a_rest_is_a_place():
    assert Rest("batch", 2) == ("batch", 2)


def test_a_run_may_be_entered_anew_from_its_very_first_rest():
    class Back(Visits):
        def visit(self, run, rest):
            super().visit(run, rest)
            if len(self.places) == 1:
                kept = self.states["epoch", 0]
                run.go_back(Entry("epoch", 0, lambda run: bring(run, kept, [])))

    run = tiny_learner().fit(1, callbacks=[Back()])
    assert run.rewinds == [(0, 0)]
    assert run.n_steps == 4


def test_a_method_of_a_users_callback_is_not_taken_for_one_that_keeps_states():
    class Neighbours(Callback):
        state = ()

        def nearest(self, point):
            raise AssertionError("nobody asked for neighbours")

        def after_step(self, run):
            if run.n_steps == 3 and not run.rewinds:
                run.rewind(1)

    rewind = Rewind(every="1 steps", keep=5)
    assert tiny_learner().fit(1, callbacks=[Neighbours(), rewind]).rewinds == [(3, 2)]
    with pytest.raises(ValueError, match=r"^no callback keeps states of this run\. Attach a "):
        tiny_learner().fit(1, callbacks=[Neighbours()])
