"""A weak reference is copied, and pickled, with what it refers to."""

import copy
import gc
import pickle

import pytest

from lehr.base.weak import Weak


class Thing:
    """Knows itself, as a run knows its Learner."""

    def __init__(self):
        self.own = Weak(self)


COPIES = {"pickle": lambda thing: pickle.loads(pickle.dumps(thing)), "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_it_refers_to_the_copy_of_the_thing(copied):
    thing = Thing()
    other = copied(thing)
    assert other.own() is other
    assert thing.own() is thing


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_it_keeps_nothing_alive(copied):
    reference = Thing().own
    gc.collect()
    assert reference() is None
    assert copied(reference)() is None
    alone = copied(Thing())
    only = alone.own
    del alone
    gc.collect()
    assert only() is None
