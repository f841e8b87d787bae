"""Randomness: keys that never change, streams without influence on each other, scopes without
trace."""

import random

import numpy as np
import pytest
import torch

from lehr.state.differences import first_difference
from lehr.state.streams import (
    Streams,
    check_seed,
    default_state,
    draw_seed,
    forked,
    mix,
    name_key,
    rekeying,
    rng_state,
    seed,
    seed_globals,
    set_default_state,
    set_rng_state,
    shuffled,
)


@pytest.fixture(autouse=True)
def _no_trace():
    before = rng_state()
    yield
    set_rng_state(before)


def draws():
    """One draw from each global generator."""
    return torch.rand(()).item(), float(np.random.rand()), random.random()


# Keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "expected"), [(0, 0xE220A8397B1DCDAF), (1234567, 6457827717110365317)]
)
def test_mix_of_one_part_is_the_published_splitmix64(part, expected):
    assert mix(part) == expected


def test_mix_depends_on_every_part_on_their_order_and_on_their_number():
    keys = [mix(), mix(1), mix(2), mix(1, 0), mix(0, 1), mix(1, 2), mix(2, 1), mix(-1), mix(1, -1)]
    assert len(set(keys)) == len(keys)
    assert all(0 <= key < 2**64 for key in keys)


def test_names_are_hashed_the_same_in_every_process():
    assert name_key("123456789") == 0xCBF43926  # the check value of CRC-32
    assert name_key("order") != name_key("batch")


# The process's seed -----------------------------------------------------------------------------


def test_seed_governs_python_numpy_torch_and_every_learner():
    seed(42)
    first = draws()
    assert draw_seed() == 42
    seed(42)
    assert draws() == first
    seed(43)
    assert not set(draws()) & set(first)
    assert draw_seed() == 43


@pytest.mark.parametrize("value", [0, -1, 2**70])
def test_seed_takes_any_integer(value):
    seed(value)
    first = draws()
    seed(value)
    assert draws() == first


@pytest.mark.parametrize("value", [1.5, "42", True, (1,)])
def test_seed_refuses_what_is_no_integer_and_changes_nothing(value):
    seed(7)
    before = torch.get_rng_state()
    with pytest.raises(TypeError, match=r"^seed must be an int or None; got .*lehr\.seed\(42\)"):
        seed(value)
    assert draw_seed() == 7
    assert torch.equal(before, torch.get_rng_state())


def test_what_can_be_a_seed_comes_back():
    assert [check_seed(value) for value in (42, -1, None)] == [42, -1, None]
    with pytest.raises(TypeError, match=r"got 0\.5\. Use e\.g\. "):
        check_seed(0.5)


def test_a_forgotten_seed_is_drawn_from_torch_again():
    seed(42)
    seed(None)
    torch.manual_seed(1)
    drawn = [draw_seed(), draw_seed()]
    torch.manual_seed(1)
    assert [draw_seed(), draw_seed()] == drawn
    assert drawn[0] != drawn[1]
    torch.manual_seed(2)
    assert draw_seed() not in drawn
    assert all(0 <= value < 2**31 for value in drawn)


# The default generators -------------------------------------------------------------------------


def test_rekeying_is_what_manual_seed_does():
    rekeying(5)(0)
    ours = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(ours, torch.rand(3))
    rekeying(6)(0)
    assert not torch.equal(ours, torch.rand(3))


def test_rekeying_takes_every_key_that_mix_can_make():
    rekeying(2**64 - 1)(0)
    first = torch.rand(3)
    rekeying(2**64 - 1)(0)
    assert torch.equal(first, torch.rand(3))


def test_the_default_state_can_be_put_back():
    state = default_state()
    first = torch.rand(3)
    assert not torch.equal(first, torch.rand(3))
    set_default_state(state)
    assert torch.equal(first, torch.rand(3))


def test_every_device_in_use_is_rekeyed_read_and_put_back(monkeypatch):
    device = torch.Generator()  # stands for a GPU's
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "default_generators", (device,))
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [device.get_state()])
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda s: device.set_state(s[0]))
    rekeying(9)(0)
    assert device.initial_seed() == 9
    state = default_state()
    first = torch.rand(2, generator=device)
    assert not torch.equal(first, torch.rand(2, generator=device))
    set_default_state(state)
    assert torch.equal(first, torch.rand(2, generator=device))


@pytest.mark.parametrize("forget", [default_state, lambda: rng_state()["torch"]])
def test_a_device_first_used_in_between_gets_the_seed_of_torch(monkeypatch, forget):
    device = torch.Generator().manual_seed(1)  # stands for a GPU's
    with forked():
        torch.manual_seed(5)
        torch.rand(3)
        state, here = forget(), torch.get_rng_state()
        assert len(state) == 1
        set_default_state(state)
        assert device.initial_seed() == 1  # nobody used it
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda, "default_generators", (device,))
        rekeying(9)(0)
        torch.rand(2, generator=device)
        set_default_state(state)
        assert torch.equal(torch.get_rng_state(), here)
        assert torch.equal(device.get_state(), torch.Generator().manual_seed(5).get_state())
        monkeypatch.undo()


# Streams ----------------------------------------------------------------------------------------


def first_draw(seed_, name, *position):
    return torch.rand(4, generator=Streams(seed_).at(name, *position))


@pytest.mark.parametrize(
    "other",
    [(8, "mixup", 0, 5), (7, "cutmix", 0, 5), (7, "mixup", 0, 6), (7, "mixup", 1, 5)]
    + [(7, "mixup", 5, 0), (7, "mixup", 0), (7, "mixup", 0, 5, 0)],
)
def test_seed_name_and_position_each_change_the_draws(other):
    same = first_draw(7, "mixup", 0, 5)
    assert torch.equal(same, first_draw(7, "mixup", 0, 5))
    assert not torch.equal(same, first_draw(*other))


def test_a_second_call_at_a_position_goes_on_and_a_return_to_it_starts_over():
    streams_ = Streams(7)
    a = torch.rand(4, generator=streams_.at("mixup", 0))
    b = torch.rand(4, generator=streams_.at("mixup", 0))
    assert not torch.equal(a, b)
    streams_.at("mixup", 1)
    assert torch.equal(a, torch.rand(4, generator=streams_.at("mixup", 0)))


def test_names_have_generators_of_their_own_which_are_reused():
    streams_ = Streams(7)
    mixup = streams_.at("mixup", 0)
    assert streams_.at("mixup", 1) is mixup
    assert streams_.at("mixup", 1, device=torch.device("cpu")) is mixup
    assert streams_.at("cutmix", 1) is not mixup


def test_streams_leave_the_global_generators_alone():
    before = rng_state()
    torch.rand(4, generator=Streams(7).at("mixup", 0))
    shuffled(10, 3)
    assert torch.equal(before["torch"][0], rng_state()["torch"][0])


def test_the_key_of_a_stream_is_mixed_from_seed_name_and_position():
    assert Streams(7).key("order", 3, 4) == mix(7, name_key("order"), 3, 4)


# Global state -----------------------------------------------------------------------------------


def test_the_global_state_can_be_put_back_cached_gaussians_included():
    np.random.standard_normal()  # each makes two at a time and keeps one
    random.gauss(0, 1)
    state = rng_state()
    first = (*draws(), float(np.random.standard_normal()), random.gauss(0, 1))
    second = (*draws(), float(np.random.standard_normal()), random.gauss(0, 1))
    assert not set(first) & set(second)
    set_rng_state(state)
    assert (*draws(), float(np.random.standard_normal()), random.gauss(0, 1)) == first


def test_a_fork_leaves_no_trace_outside():
    state = rng_state()
    expected = draws()
    set_rng_state(state)
    with forked(key=3):
        draws()
    assert draws() == expected
    set_rng_state(state)
    draws()  # not forked
    assert draws() != expected


def test_a_fork_leaves_no_trace_after_an_error():
    state = rng_state()
    expected = draws()
    set_rng_state(state)
    with pytest.raises(ZeroDivisionError), forked(key=3):
        draws()
        1 / 0
    assert draws() == expected


def test_a_keyed_fork_draws_the_same_wherever_it_is_opened():
    with forked(key=3):
        first = draws()
    draws()
    with forked(key=3):
        assert draws() == first
    with forked(key=4):
        assert not set(draws()) & set(first)


def test_a_fork_without_key_goes_on_from_where_the_generators_are():
    with forked():
        inside = draws()
    assert draws() == inside


def test_forks_nest():
    with forked(key=3):
        first = draws()
        second = draws()
    with forked(key=3):
        assert draws() == first
        with forked(key=9):
            draws()
        assert draws() == second


def test_one_key_seeds_all_three_generators():
    seed_globals(2**64 - 1)
    first = draws()
    seed_globals(2**64 - 1)
    assert draws() == first
    seed_globals(1)
    assert not set(draws()) & set(first)


# Permutations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_shuffled_is_a_permutation(n):
    order = shuffled(n, 5)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(n))


def test_a_permutation_belongs_to_its_key():
    assert torch.equal(shuffled(1000, 5), shuffled(1000, 5))
    assert not torch.equal(shuffled(1000, 5), shuffled(1000, 6))
    assert not torch.equal(shuffled(1000, 5), torch.arange(1000))


@pytest.fixture
def other_generator(request):
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(request.param)
    yield request.param
    np.random.set_bit_generator(before)


OTHERS = [np.random.PCG64(3), np.random.Philox(3), np.random.SFC64(3), np.random.PCG64DXSM(3)]


@pytest.mark.parametrize("other_generator", OTHERS, indirect=True, ids=lambda g: type(g).__name__)
def test_a_fork_works_with_any_bit_generator_of_numpy(other_generator):
    np.random.standard_normal(3)
    before = rng_state()
    with forked(3):
        first = draws()
    with forked(3):
        assert draws() == first
    with forked(4):
        assert all(a != b for a, b in zip(draws(), first, strict=True))
    assert first_difference(before, rng_state()) is None
    inside = draws()
    assert first_difference(before, rng_state())
    set_rng_state(before)
    assert draws() == inside
    assert np.random.get_bit_generator() is other_generator


def test_a_bit_generator_that_was_exchanged_in_a_fork_is_exchanged_again():
    original, before = np.random.get_bit_generator(), rng_state()
    for first, second in (("MT19937", "PCG64"), ("PCG64", "MT19937"), ("PCG64", "Philox")):
        np.random.set_bit_generator(getattr(np.random, first)(1))
        inside = rng_state()
        with forked():
            np.random.set_bit_generator(getattr(np.random, second)(2))
            assert first_difference(inside, rng_state())
        assert first_difference(inside, rng_state()) is None
    np.random.set_bit_generator(original)
    assert first_difference(before, rng_state()) is None


@pytest.mark.parametrize("broken", ["torch", "numpy", "python"])
def test_a_generator_that_cannot_be_put_back_keeps_no_other_from_it(broken, monkeypatch):
    def fail(*args):
        raise OSError(broken)

    before = rng_state()
    with pytest.raises(OSError, match=broken), monkeypatch.context() as patch, forked(3):
        draws()
        target = {
            "torch": "lehr.state.streams.set_default_state",
            "numpy": "lehr.state.streams.set_numpy_state",
            "python": "random.setstate",
        }[broken]
        patch.setattr(target, fail)
    after = rng_state()
    for name in before:
        assert (first_difference(before[name], after[name]) is None) == (name != broken)
    set_rng_state(before)


def test_a_fork_whose_key_cannot_be_used_changes_nothing(monkeypatch):
    before = rng_state()
    monkeypatch.setattr("random.seed", lambda key: 1 / 0)
    with pytest.raises(ZeroDivisionError), forked(3):
        pass
    assert first_difference(before, rng_state()) is None
