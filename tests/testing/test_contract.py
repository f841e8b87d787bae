"""The contract finds whoever does not keep it, says where, and passes who does."""

import pytest
import torch

from lehr import Callback, DataBunch
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


class ValidatesOtherwise(Callback):
    """Leaves the training as it is, and halves the losses of validations."""

    state = ()

    def compute_loss(self, run, proceed):
        proceed()
        if not run.training:
            run.loss = run.loss / 2


class MovesAWeight(Callback):
    """Changes the last weights, which no training loss shows any more."""

    state = ()

    def after_validate(self, run):
        if run.epoch == 1:
            with torch.no_grad():
                run.model[-1].bias += 1


class MovesTheLastWeight(Callback):
    """Changes the weights with the last step, which only a validation shows."""

    state = ()

    def after_step(self, run):
        if run.n_steps == 8:
            with torch.no_grad():
                run.model[-1].bias += 1


class SpoilsTheMomentum(Callback):
    state = ()

    def after_epoch(self, run):
        if run.epoch == 1:
            for state in run.opt.state.values():
                state["momentum_buffer"] += 1


class MovesAWeightInTheSecondFit(MovesAWeight):
    fits = 0

    def begin_fit(self, run):
        self.fits += 1

    def after_validate(self, run):
        if self.fits == 2:
            super().after_validate(run)


class LeavesAHookInTheSecondEpoch(Callback):
    """Puts its hook back, but not where the second epoch of a fit is cut short."""

    state = ()

    def begin_epoch(self, run):
        self.hook = run.model.register_forward_hook(lambda *_: None)
        if run.epoch == 0:
            run.defer(self.hook.remove)

    def after_epoch(self, run):
        self.hook.remove()


@pytest.mark.parametrize(
    ("kind", "changes_training", "message"),
    [
        (Nothing, False, "Nothing would never be called"),
        (LeavesTheRate, True, r"does not leave everything as it was after a fit: hyper\[0\].lr"),
        (
            LeavesAHookAfterAnError,
            False,
            r"that ZeroDivisionError in begin_fit of epoch 0 ended: hoo",
        ),
        (LeavesAHookInTheSecondEpoch, False, r"Error in begin_epoch of epoch 1 ended: hooks\[0\]"),
        (LeavesAHook, False, r"as it was after a fit: hooks\[0\]: 0 against 1"),
        (RemembersTheFitBefore, True, r"does not serve a second fit as the first: loss\[0\]"),
        (ForgetsToDeclare, True, "does not go on after a stop as if there had been none"),
        (
            LosesItsState,
            False,
            r"is not what it was when its state is put into a new one: steps",
        ),
        (Doubles, False, r"Doubles changes the training: loss\[0\]"),
        (ValidatesOtherwise, False, r"ValidatesOtherwise changes the training: valid_loss\[0\]"),
        (MovesAWeight, False, r"MovesAWeight changes the training: left\.model\.4\.bias"),
        (SpoilsTheMomentum, False, r"SpoilsTheMomentum changes the training: left\.opt\."),
        (
            MovesAWeightInTheSecondFit,
            True,
            r"does not serve a second fit as the first: left\.model\.4",
        ),
    ],
)
def test_who_breaks_a_promise_is_found(kind, changes_training, message):
    with pytest.raises(AssertionError, match=message):
        check_callback(kind, changes_training=changes_training)


@pytest.fixture
def few_moments(monkeypatch):
    """Ends fits at every seventh moment alone: what is tested is not who is clean at each."""
    every = contract.moments()
    monkeypatch.setattr(contract, "moments", lambda: every[::7])


def test_who_keeps_them_passes():
    check_callback(CountsSteps)


@pytest.mark.usefixtures("few_moments")
def test_a_class_a_function_and_an_object_can_be_given():
    check_callback(lambda: EMA(0.9), changes_validation=True)
    check_callback(Doubles(), changes_training=True)
    check_callback(MixUp, changes_training=True)
    contract.goes_on_after_a_stop(Declares, contract.small_learner)


def test_a_validation_alone_may_be_meant_to_be_another():
    contract.does_not_change_the_training(
        ValidatesOtherwise, contract.small_learner, validation=False
    )
    with pytest.raises(
        AssertionError, match="or changes_validation=True if it changes validations"
    ):
        contract.does_not_change_the_training(ValidatesOtherwise, contract.small_learner)
    with pytest.raises(AssertionError, match=r"changes the training: trained\[1\]\.model\.4\.bias"):
        contract.does_not_change_the_training(
            MovesTheLastWeight, contract.small_learner, validation=False
        )


def test_a_learner_that_does_not_validate_can_be_used():
    def learner(callbacks):
        return tiny_learner(callbacks, data=DataBunch(tiny_learner().data.train_dl))

    contract.does_not_change_the_training(CountsSteps, learner)
    contract.serves_two_fits_alike(CountsSteps, learner)


@pytest.mark.usefixtures("few_moments")
def test_an_object_is_not_touched():
    callback = CountsSteps()
    check_callback(callback)
    assert vars(callback) == {}


@pytest.mark.usefixtures("few_moments")
def test_a_learner_of_ones_own_is_used():
    made = []

    def learner(callbacks):
        made.append(len(callbacks))
        torch.manual_seed(0)
        return tiny_learner(callbacks, model=torch.nn.Linear(3, 2))

    check_callback(CountsSteps, learner=learner)
    assert len(made) > 30


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
