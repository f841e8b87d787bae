"""The contract finds whoever does not keep it, says where, and passes who does."""

import pytest
import torch

from lehr import Callback
from lehr.callbacks import EMA, MixUp
from lehr.testing import check_callback, contract, tiny_learner


class CountsSteps(Callback):
    state = ("steps",)

    def begin_fit(self, run):
        self.steps = 0

    def after_step(self, run):
        self.steps += 1


class Nothing(Callback):
    state = ()


class LeavesTheRate(Callback):
    state = ()

    def after_epoch(self, run):
        run.opt.param_groups[0]["lr"] /= 2


class LeavesAHookAfterAnError(Callback):
    state = ()

    def begin_fit(self, run):
        self.hook = run.model.register_forward_hook(lambda *_: None)

    def after_fit(self, run):
        self.hook.remove()


class LeavesAHook(Callback):
    state = ()

    def begin_fit(self, run):
        run.model.register_forward_pre_hook(lambda *_: None)


class RemembersTheFitBefore(Callback):
    state = ()
    fits = 0

    def begin_fit(self, run):
        self.fits += 1

    def compute_loss(self, run, proceed):
        proceed()
        if self.fits == 2:
            run.loss = run.loss * 2


class ForgetsToDeclare(Callback):
    state = ()

    def begin_fit(self, run):
        self.steps = 0
        rate = run.opt.param_groups[0]["lr"]
        run.defer(lambda: run.opt.param_groups[0].update(lr=rate))

    def after_step(self, run):
        self.steps += 1
        if self.steps % 3 == 0:
            run.opt.param_groups[0]["lr"] *= 0.5


class Declares(ForgetsToDeclare):
    state = ("steps",)


class LosesItsState(CountsSteps):
    def load_state_dict(self, state_dict):
        super().load_state_dict({name: value + 1 for name, value in state_dict.items()})


class Doubles(Callback):
    state = ()

    def compute_loss(self, run, proceed):
        proceed()
        run.loss = run.loss * 2


@pytest.mark.parametrize(
    ("kind", "changes_training", "message"),
    [
        (Nothing, False, "Nothing would never be called"),
        (LeavesTheRate, True, r"does not leave everything as it was after a fit: hyper\[0\].lr"),
        (LeavesAHookAfterAnError, False, r"a fit that ZeroDivisionError in begin_fit ended: hooks"),
        (LeavesAHook, False, r"as it was after a fit: hooks\[0\]: 0 against 1"),
        (RemembersTheFitBefore, True, r"does not serve a second fit as the first: loss\[0\]"),
        (ForgetsToDeclare, True, "does not go on after a stop as if there had been none"),
        (
            LosesItsState,
            False,
            r"is not what it was when its state is put into a new one: steps",
        ),
        (Doubles, False, r"Doubles changes the training: loss\[0\]"),
    ],
)
def test_who_breaks_a_promise_is_found(kind, changes_training, message):
    with pytest.raises(AssertionError, match=message):
        check_callback(kind, changes_training=changes_training)


def test_who_keeps_them_passes_as_a_class_a_function_or_an_object():
    check_callback(CountsSteps)
    check_callback(lambda: EMA(0.9))
    check_callback(Doubles(), changes_training=True)
    check_callback(MixUp, changes_training=True)
    contract.goes_on_after_a_stop(Declares, contract.small_learner)


def test_an_object_is_not_touched():
    callback = CountsSteps()
    check_callback(callback)
    assert vars(callback) == {}


def test_a_learner_of_ones_own_is_used():
    made = []

    def learner(callbacks):
        made.append(len(callbacks))
        torch.manual_seed(0)
        return tiny_learner(callbacks, model=torch.nn.Linear(3, 2))

    check_callback(CountsSteps, learner=learner)
    assert len(made) > 80


def test_a_learner_that_is_another_each_time_is_named():
    def learner(callbacks):
        return tiny_learner(callbacks, model=torch.nn.Linear(3, 2))

    with pytest.raises(AssertionError, match="must make the same Learner each time"):
        check_callback(CountsSteps, learner=learner)


def test_what_cannot_be_attached_is_refused_with_the_loop_s_words():
    class Typo(Callback):
        state = ()

        def after_backwards(self, run): ...

    with pytest.raises(AttributeError, match="after_backwards would never be called"):
        check_callback(Typo)
