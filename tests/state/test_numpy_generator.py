"""NumPy's global generator, whatever bit generator it has."""

import numpy as np
import pytest

from lehr.state.differences import first_difference
from lehr.state.disk.plain import flatten, unflatten
from lehr.state.numpy_generator import numpy_state, seed_numpy, set_numpy_state

KINDS = ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"]


@pytest.fixture(autouse=True, params=KINDS)
def kind(request):
    before, state = np.random.get_bit_generator(), numpy_state()
    np.random.set_bit_generator(getattr(np.random, request.param)(5))
    yield request.param
    np.random.set_bit_generator(before)
    set_numpy_state(state)


def test_a_state_can_be_put_back_cached_numbers_included(kind):
    np.random.standard_normal(3)
    state = numpy_state()
    assert state[0] == kind
    first = np.random.standard_normal(3).tolist(), np.random.randint(9, dtype=np.int8)
    assert first_difference(state, numpy_state())
    set_numpy_state(state)
    assert first_difference(state, numpy_state()) is None
    assert (np.random.standard_normal(3).tolist(), np.random.randint(9, dtype=np.int8)) == first


def test_a_state_can_be_written_to_disk():
    state = numpy_state()
    assert first_difference(state, unflatten(*flatten(state))) is None


@pytest.mark.parametrize("key", [0, 3, 2**64 - 1, -7])
def test_a_seed_governs_the_draws(key):
    np.random.standard_normal(1)
    seed_numpy(key)
    first = np.random.standard_normal(3).tolist()
    seed_numpy(key)
    assert np.random.standard_normal(3).tolist() == first
    seed_numpy(key + 1)
    assert np.random.standard_normal(3).tolist() != first


def test_another_bit_generator_is_exchanged_for_one_of_the_former_kind(kind):
    state = numpy_state()
    for other in KINDS:
        np.random.set_bit_generator(getattr(np.random, other)(9))
        set_numpy_state(state)
        assert first_difference(state, numpy_state()) is None
