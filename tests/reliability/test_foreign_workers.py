"""torch's loader with worker processes trains what it trains without them."""

import pytest

from lehr.state.differences import first_difference
from lehr.state.snapshot import capture

from . import foreign
from .test_foreign_probes import empty, learner


@pytest.mark.slow
@pytest.mark.parametrize("stays", [False, True])
def test_workers_change_nothing_also_after_a_look(stays):
    def outcome(shuffle=True, **workers):
        learn, seen = learner(foreign.torchs(shuffle=shuffle, **workers))
        learn.fit(1)
        if workers:
            empty(learn)
            learn.summary()
        learn.fit(1)
        return {"seen": seen.epochs, **capture({"model": learn.model})}

    plain = outcome()
    assert first_difference(plain, outcome(num_workers=1, persistent_workers=stays)) is None
    assert first_difference(plain, outcome(shuffle=False)) is not None
