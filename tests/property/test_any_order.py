"""Whatever is done to a Learner, in whatever order, fits alone change it, and as they would alone.

One Learner is asked for anything; another one only for its fits. After every step both are the
same, bit for bit: weights, optimizer, counters, modes, random generators.
"""

import random
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from torch import nn

from lehr import Callback, CancelBatch, CancelEpoch, CancelFit, accuracy
from lehr.callbacks import EarlyStopping, ParamScheduler, ReduceOnPlateau
from lehr.schedules import one_cycle
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner
from tests.faults import figures
from tests.tier import NIGHTLY

SEQUENCES = 300 if NIGHTLY else 6
CANCELS = (CancelBatch, CancelEpoch, CancelFit, ZeroDivisionError, KeyboardInterrupt)


class Raises(Callback):
    """Ends something, at one step of a fit, in one event."""

    state = ()

    def __init__(self, kind, event, at):
        self.kind, self.at = kind, at
        setattr(self, event, self.act)

    def act(self, run):
        if run.training and run.n_iter == self.at:
            raise self.kind

    def __repr__(self):
        return f"Raises({self.kind.__name__}, {self.at})"


class Mixes(Callback):
    """Changes what the model sees, in every pass; so it takes part in all of them."""

    moves = ("batches",)
    state = ()

    def begin_batch(self, run):
        run.xb = run.xb + 0.1 * torch.randn(run.xb.shape, generator=run.stream("mixes"))


def learner(kind):
    torch.manual_seed(kind)
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.3), nn.Linear(4, 2)
    )
    model[1].eval()  # a mode that is not the model's: it has to stay
    opt = [torch.optim.SGD, torch.optim.AdamW][kind % 2](model.parameters(), lr=0.05)
    return tiny_learner([Mixes()], model=model, opt=opt, metrics=[accuracy], seed=kind)


class AnyOrder(RuleBasedStateMachine):
    """The rules are what may be done; the invariant is what must then be true."""

    @initialize(kind=st.integers(0, 3))
    def begin(self, kind):
        self.busy, self.plain = learner(kind), learner(kind)
        self.saved = None
        torch.manual_seed(5)
        np.random.seed(5)
        random.seed(5)
        self.world = self.generators()

    def generators(self):
        return torch.get_rng_state(), str(np.random.get_state()), random.getstate()

    def both(self, fit):
        for learn in (self.busy, self.plain):
            with suppress(ZeroDivisionError, KeyboardInterrupt):
                fit(learn)
        runs = self.busy.run, self.plain.run
        assert runs[0].recorder.losses == runs[1].recorder.losses
        assert runs[0].stop_reason == runs[1].stop_reason

    @rule(epochs=st.integers(0, 2))
    def fit(self, epochs):
        self.both(lambda learn: learn.fit(epochs))

    @rule(steps=st.integers(1, 6), every=st.integers(1, 3))
    def fit_steps(self, steps, every):
        self.both(lambda learn: learn.fit(steps=steps, validate_every=f"{every} steps"))

    @rule(peak=st.floats(1e-3, 0.3))
    def fit_scheduled(self, peak):
        scheduled = lambda: ParamScheduler("lr", one_cycle(peak))  # noqa: E731
        self.both(lambda learn: learn.fit(2, callbacks=[scheduled()]))

    @rule()
    def fit_decided(self):
        deciders = lambda: [EarlyStopping(patience=1), ReduceOnPlateau(patience=1)]  # noqa: E731
        self.both(lambda learn: learn.fit(3, callbacks=deciders()))

    @rule(
        kind=st.sampled_from(CANCELS),
        event=st.sampled_from(["begin_batch", "after_loss", "after_backward", "after_batch"]),
        at=st.integers(0, 5),
    )
    def fit_ended(self, kind, event, at):
        self.both(lambda learn: learn.fit(2, callbacks=[Raises(kind, event, at)]))

    @rule(data=st.sampled_from([None, "own"]))
    def validate(self, data):
        loader = self.busy.data.train_dl if data else None
        assert self.busy.validate(loader) == self.plain.validate(loader)

    @rule(items=st.integers(1, 9))
    def predict(self, items):
        x = torch.linspace(-1, 1, 3 * items).reshape(items, 3)
        assert torch.equal(self.busy.predict(x), self.plain.predict(x))

    @rule(steps=st.integers(1, 9))
    def rehearse(self, steps):
        self.busy.rehearse(steps)

    @rule()
    def find_lr(self):
        self.busy.find_lr(steps=10)

    @rule()
    def look(self):
        str(self.busy.summary()), str(self.busy.audit()), self.busy.explain()

    @rule()
    def probe(self):
        with self.busy.probe():
            self.busy.fit(1)
            nn.init.ones_(self.busy.model[0].weight)
            torch.rand(3), np.random.rand(3), random.random()

    @rule()
    def check_resume(self):
        assert self.busy.check_resume(epochs=1, batches=2).ok

    @rule()
    def save(self):
        self.saved = {name: value.clone() for name, value in self.busy.model.state_dict().items()}

    @rule()
    def put_back_what_was_saved(self):
        if self.saved is not None:
            for learn in (self.busy, self.plain):
                learn.model.load_state_dict(self.saved)

    @invariant()
    def fits_alone_have_changed_it(self):
        if hasattr(self, "busy"):
            states = [capture(learn.state_entries()) for learn in (self.busy, self.plain)]
            assert first_difference(*states) is None
            now = self.generators()
            assert torch.equal(now[0], self.world[0])
            assert now[1:] == self.world[1:]
            assert not any(module._forward_hooks for module in self.busy.model.modules())


@pytest.mark.slow
def test_whatever_is_done_in_whatever_order_only_fits_change_a_learner():
    run_state_machine_as_test(
        AnyOrder,
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=12,
            deadline=None,
            derandomize=not NIGHTLY,
        ),
    )
    row = {"sequences": SEQUENCES, "traces": 0}  # one that leaves a trace fails above
    figures.keep("any_order", "any order", row, ["any order"])


class Careless(AnyOrder):
    """As `AnyOrder`, but for a look at the model that leaves something."""

    @rule()
    def look(self):
        self.busy.model[3].eval()


def test_what_leaves_something_is_found():
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Careless,
            settings=settings(
                max_examples=30,
                stateful_step_count=8,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],  # the first that is found will do
            ),
        )
