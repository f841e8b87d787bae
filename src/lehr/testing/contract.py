"""What every callback promises, those of lehr and yours: checked on a small training."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import nn

from lehr.callback import Callback
from lehr.events import ACTIONS, EVENTS, CancelBatch, CancelEpoch, CancelFit
from lehr.learner import Learner
from lehr.loop.check import METHODS, check
from lehr.optim import optimizers
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.state.streams import forked
from lehr.testing.small import tiny_learner

Make = Callable[[], Callback]
MakeLearner = Callable[[list[Callback]], Learner]
ENDINGS: tuple[type[Exception], ...] = (ZeroDivisionError, CancelBatch, CancelEpoch, CancelFit)


def check_callback(
    callback: Callback | Make,
    *,
    learner: MakeLearner | None = None,
    changes_training: bool = False,
    changes_validation: bool = False,
) -> None:
    """See that a callback keeps the promises that those of lehr keep; about 200 small trainings.

    It can be attached and is called at all; it serves two fits alike; it leaves modes, gradients,
    random state, hyper-parameters and hooks as they were, however a fit ends (by an error, or by a
    cancel, in every event and action, in its first epoch or in a later one); its state round-trips;
    a run that was stopped and goes on in a new process ends in the same bits; and, unless it is
    there to change the training, the losses, the weights and the state of the optimizer are those
    of a training without it.

    Args:
        callback: a class that needs no arguments, a function that makes a callback, or one that
            was not used yet: it is copied for each training.
        learner: makes the Learner for a list of callbacks, always the same; by default a small
            classifier of pictures with batch normalisation and dropout.
        changes_training: whether it is there to change losses or weights, as mixing and clipping
            do.
        changes_validation: whether it is there to change the losses of validations, and the
            weights after the fit, as an average of the weights does; those that train are
            compared all the same.

    Raises:
        AssertionError: a promise is not kept; the message says which, and where. Or ``learner``
            does not make the same Learner twice.
        TypeError, AttributeError, ValueError: it cannot be attached.

    Example:
        >>> from lehr import Callback
        >>> class Halve(Callback):
        ...     state = ()
        ...     def after_epoch(self, run):
        ...         run.opt.param_groups[0]["lr"] /= 2
        >>> check_callback(Halve, changes_training=True)
        Traceback (most recent call last):
        AssertionError: Halve does not leave everything as it was after a fit: hyper[0].lr: 0.1
        against 0.025. Put back what you change with run.defer, or in around_fit after its yield.
    """
    make = partial(deepcopy, callback) if isinstance(callback, Callback) else callback
    learner = small_learner if learner is None else learner
    _is_the_same_twice(learner)
    can_be_attached(make)
    serves_two_fits_alike(make, learner)
    leaves_everything_clean(make, learner)
    has_a_state_that_round_trips(make, learner)
    if not changes_training:
        does_not_change_the_training(make, learner, validation=not changes_validation)
    goes_on_after_a_stop(make, learner)
    for moment, ending, epoch in moments():
        leaves_everything_clean(make, learner, moment, ending, epoch)


def moments() -> list[tuple[str, type[Exception], int]]:
    """Where a fit of two epochs is ended and how: event or action, what is raised, and the epoch.

    Example:
        >>> moments()[0]
        ('begin_fit', <class 'ZeroDivisionError'>, 0)
    """
    once = ("begin_fit", "after_fit")
    return [
        (moment, ending, epoch)
        for moment in (*EVENTS, *ACTIONS)
        for epoch in ((0,) if moment in once else (0, 1))
        for ending in ENDINGS
    ]


def small_learner(callbacks: list[Callback]) -> Learner:
    """A Learner of small pictures, with batch normalisation, dropout and momentum.

    Example:
        >>> small_learner([]).fit(1).n_steps
        4
    """
    with forked(key=0):
        layers = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 2)
        model = nn.Sequential(nn.Flatten(), *layers)
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return tiny_learner(callbacks, model=model, opt=opt, split_batch=_as_pictures)


def _as_pictures(batch: Any) -> tuple[Any, Any]:
    """The numbers of each item as a picture, so that there is something to cut."""
    return batch[0][:, None, :, None], batch[1]


# The promises, one a function --------------------------------------------------------------------


def can_be_attached(make: Make) -> None:
    """It is a callback, no method is misspelt, and some method is called."""
    callback = make()
    check(callback)
    if not any(hasattr(callback, name) for name in METHODS):
        raise AssertionError(
            f"{_name(callback)} would never be called: it has no event and no action. Define one, "
            "e.g. def after_batch(self, run)."
        )


def serves_two_fits_alike(make: Make, learner: MakeLearner) -> None:
    """A second fit from the same place gives the same losses and weights."""
    callback = make()
    learn = learner([callback])
    with learn.probe():
        first = _outcome(learn, 2)
    if difference := first_difference(first, _outcome(learn, 2)):
        raise AssertionError(
            f"{_name(callback)} does not serve a second fit as the first: {difference}. Make anew "
            "in begin_fit what belongs to one fit."
        )


def leaves_everything_clean(
    make: Make,
    learner: MakeLearner,
    moment: str | None = None,
    ending: type[Exception] = ZeroDivisionError,
    epoch: int = 0,
) -> None:
    """Modes, gradients, random state, hyper-parameters and hooks are as before the fit.

    Args:
        make: makes the callback.
        learner: makes the Learner.
        moment: the event or action in which the fit is ended; None lets it end by itself.
        ending: what is raised there.
        epoch: in which of two epochs; without meaning at the beginning and the end of the fit.
    """
    callback = make()
    ends = [] if moment is None else [_end(moment, ending, epoch)]
    learn = learner([callback, *ends])
    learn.rehearsal = False  # which would meet the end first
    before = surroundings(learn)
    with suppress(ZeroDivisionError, RuntimeError):  # a misplaced cancel is a RuntimeError
        learn.fit(2)
    if difference := first_difference(before, surroundings(learn)):
        how = f" that {ending.__name__} in {moment} of epoch {epoch} ended" if moment else ""
        raise AssertionError(
            f"{_name(callback)} does not leave everything as it was after a fit{how}: "
            f"{difference}. Put back what you change with run.defer, or in around_fit after its "
            "yield."
        )
    learn.fit(1)


def has_a_state_that_round_trips(make: Make, learner: MakeLearner) -> None:
    """What it was can be put into a new one."""
    used, fresh = make(), make()
    learner([used]).fit(1)
    state = capture({"it": used})["it"]
    fresh.load_state_dict(state)
    if difference := first_difference(state, capture({"it": fresh})["it"]):
        raise AssertionError(
            f"{_name(used)} is not what it was when its state is put into a new one: {difference}."
        )


def goes_on_after_a_stop(make: Make, learner: MakeLearner) -> None:
    """A run that was stopped, and goes on with new objects, ends in the same bits."""
    callback = make()
    check = learner([callback]).check_resume(epochs=3, batches=4)
    if not check.ok:
        raise AssertionError(
            f"{_name(callback)} does not go on after a stop as if there had been none: {check!r}. "
            'Name what must survive: state = ("…",); what the run knows by itself need not.'
        )


def does_not_change_the_training(
    make: Make, learner: MakeLearner, *, validation: bool = True
) -> None:
    """Losses and weights are those without it: no random number is drawn, no batch left out.

    Args:
        make: makes the callback.
        learner: makes the Learner.
        validation: whether the losses of validations, and the weights after the fit, are compared
            as well as what trains.
    """
    callback = make()
    with_it, without = _outcome(learner([callback]), 2), _outcome(learner([]), 2)
    apart = () if validation else ("valid_loss", "left")
    compared = [name for name in without if not name.endswith(apart)]
    got, expected = ({name: one.get(name) for name in compared} for one in (with_it, without))
    if difference := first_difference(got, expected):
        raise AssertionError(
            f"{_name(callback)} changes the training: {difference}. If it is there to do so, say "
            "check_callback(…, changes_training=True), or changes_validation=True if it changes "
            "validations alone; else draw random numbers from run.stream, and measure in "
            "learn.probe()."
        )


def surroundings(learn: Learner) -> dict[str, Any]:
    """What no callback may leave changed: modes, flags, random state, hyper-parameters, hooks.

    Example:
        >>> list(surroundings(tiny_learner()))
        ['modes', 'random', 'gradients', 'hyper', 'hooks']
    """
    entries = learn.state_entries()
    states = capture({name: entries[name] for name in ("modes", "random", "gradients")})
    states["hyper"] = [
        {key: value for key, value in group.items() if key != "params"}
        for opt in optimizers.each(learn.opt)
        for group in opt.param_groups
    ]
    states["hooks"] = [sum(map(len, _hooks(module))) for module in learn.model.modules()]
    return states


def _is_the_same_twice(learner: MakeLearner) -> None:
    first, second = (_outcome(learner([]), 1) for _ in range(2))
    if difference := first_difference(first, second):
        raise AssertionError(
            f"learner must make the same Learner each time; the fits of two differ: {difference}."
            " Seed what it draws, e.g. with torch.manual_seed(0) before it makes the model."
        )


def _hooks(module: nn.Module) -> Iterator[Any]:
    return (value for name, value in vars(module).items() if name.endswith("_hooks"))


def _end(moment: str, ending: type[Exception], epoch: int) -> Callback:
    left = [1]

    def end(self: Callback, run: Any, proceed: Callable[[], None] = lambda: None) -> None:
        if run.epoch == epoch or moment == "after_fit":
            left[0] -= 1  # also where a copy of it takes part
            if left[0] == 0:
                raise ending
        proceed()

    return type("End", (Callback,), {"state": (), moment: end})()


def _outcome(learn: Learner, epochs: int) -> dict[str, Any]:
    """The losses of a fit, what was trained when each epoch's training was over, and in the end."""
    trained: list[dict[str, Any]] = []

    class Look(Callback):
        state = ()
        replays = False

        def after_train(self, run: Any) -> None:
            trained.append(_trained(learn))

    history = learn.fit(epochs, callbacks=[Look()]).history
    names = [name for name in history.names if name == "loss" or name.endswith("_loss")]
    losses = {  # rows may be added
        name: [value for value in history[name] if value is not None]
        for name in sorted(names, key=lambda name: name != "loss")
    }
    return {**losses, "trained": trained, "left": _trained(learn)}


def _trained(learn: Learner) -> dict[str, Any]:
    trained = ("model", "opt", "loss_func", "counters")
    entries = learn.state_entries()
    return capture({n: e for n, e in entries.items() if n.partition(".")[0] in trained})


def _name(callback: Callback) -> str:
    return type(callback).__name__
