"""A draw is a function of (seed, name, position) and of nothing else."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lehr.state.streams import Streams, forked, mix, rng_state, shuffled

some = settings(max_examples=100, deadline=None)

seeds = st.integers(-(2**63), 2**63 - 1)
names = st.text(max_size=8)
positions = st.lists(st.integers(0, 2**40), max_size=4).map(tuple)
places = st.tuples(names, positions)


def draw(streams, name, position):
    """The first draw at a place."""
    return int(torch.randint(2**62, (), generator=streams.at(name, *position)))


@some
@given(seeds, st.lists(places, min_size=1, max_size=8, unique=True), st.data())
def test_draws_do_not_depend_on_other_draws_nor_on_their_order(seed, visited, data):
    alone = {place: draw(Streams(seed), *place) for place in visited}
    streams = Streams(seed)
    for place in data.draw(st.permutations(visited)):
        assert draw(streams, *place) == alone[place]
        extra = data.draw(st.integers(0, 3))  # as many more draws at this place as anybody likes
        torch.rand(extra, generator=streams.at(place[0], *place[1]))


@some
@given(seeds, names, st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_successive_draws_at_a_place_are_one_sequence(seed, name, sizes):
    streams = Streams(seed)
    parts = [torch.randint(2**62, (n,), generator=streams.at(name, 3)) for n in sizes]
    whole = [int(torch.randint(2**62, (), generator=Streams(seed).at(name, 3)))]
    assert int(parts[0][0]) == whole[0]
    streams = Streams(seed)
    again = [torch.randint(2**62, (n,), generator=streams.at(name, 3)) for n in sizes]
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))


@some
@given(seeds, places, seeds, places)
def test_another_seed_name_or_position_is_another_stream(seed, place, other_seed, other_place):
    same = (seed, place) == (other_seed, other_place)
    keys = [Streams(seed).key(place[0], *place[1])]
    keys.append(Streams(other_seed).key(other_place[0], *other_place[1]))
    assert (keys[0] == keys[1]) == same


@some
@given(seeds, names, positions, st.integers(1, 1000))
def test_neighbouring_positions_and_seeds_draw_differently(seed, name, position, step):
    assume(seed + step < 2**63)
    here = draw(Streams(seed), name, (*position, 0))
    assert here == draw(Streams(seed), name, (*position, 0))
    assert here != draw(Streams(seed), name, (*position, step))
    assert here != draw(Streams(seed + step), name, (*position, 0))


@some
@given(st.lists(st.integers(), max_size=5))
def test_keys_are_64_bits_and_depend_on_the_last_part(parts):
    key = mix(*parts)
    assert 0 <= key < 2**64
    assert key == mix(*parts)
    assert mix(*parts, 0) != mix(*parts, 1)


@some
@given(st.integers(0, 300), st.integers(0, 2**64 - 1))
def test_a_permutation_is_a_function_of_its_length_and_key(n, key):
    order = shuffled(n, key)
    torch.rand(1)
    assert torch.equal(order, shuffled(n, key))
    assert sorted(order.tolist()) == list(range(n))
    if n > 20:
        assert not torch.equal(order, shuffled(n, key ^ 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 5), st.booleans())
def test_forks_leave_no_trace_and_draw_by_their_key_alone(key, drawn_before, fails):
    torch.rand(drawn_before)
    before = rng_state()
    try:
        with forked(key):
            first = int(torch.randint(2**62, ()))
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert torch.equal(before["torch"][0], rng_state()["torch"][0])
    torch.rand(1)
    with forked(key):
        assert int(torch.randint(2**62, ())) == first
    with forked(key ^ 1):
        assert int(torch.randint(2**62, ())) != first
