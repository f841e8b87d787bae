"""Tensors in parts."""

import pytest
import torch

from lehr.state.pieces import Pieces, Shard, extent

SHAPES = [((7, 5), 0), ((7, 5), 1), ((2, 3, 4), 1), ((1,), 0), ((4, 2), 0)]


def in_pieces(whole, dim, parts):
    """A tensor in parts, and how many numbers of each were looked at."""
    cuts = [extent(whole.shape[dim], part, parts) for part in range(parts)]
    views = [whole.narrow(dim, cut.start, cut.stop - cut.start) for cut in cuts]
    seen = []

    def view(part):
        seen.append(part)
        return views[part]

    return Pieces(view, tuple(whole.shape), whole.dtype, dim, parts), seen


@pytest.mark.parametrize(("size", "parts"), [(0, 1), (1, 3), (7, 3), (8, 4), (5, 4), (3, 7)])
def test_parts_are_those_of_chunk(size, parts):
    whole = torch.arange(size)
    cuts = [whole[extent(size, part, parts)] for part in range(parts)]
    assert torch.cat(cuts).equal(whole)
    if size:
        chunks = [*whole.chunk(parts), *[whole[:0]] * parts][:parts]
        assert all(map(torch.equal, cuts, chunks))


@pytest.mark.parametrize(("shape", "dim"), SHAPES)
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_any_part_is_read_alone(shape, dim, parts):
    whole = torch.randn(shape)
    pieces, _ = in_pieces(whole, dim, parts)
    assert pieces.read().equal(whole)
    for along in range(len(shape)):
        for start in range(shape[along] + 1):
            for stop in range(start, shape[along] + 1):
                expected = whole.narrow(along, start, stop - start)
                assert pieces.rows(along, start, stop).equal(expected)


def test_only_the_files_that_have_a_part_of_it_are_looked_at():
    pieces, seen = in_pieces(torch.randn(8, 2), 0, 4)
    pieces.rows(0, 2, 4)
    assert seen == [1]
    pieces.rows(0, 3, 5)
    assert seen == [1, 1, 2]


def test_what_is_in_one_part_is_copied_out_of_it():
    whole = torch.arange(6.0).reshape(3, 2)
    pieces = Pieces(lambda part: whole, (3, 2), whole.dtype)
    for there in (pieces.read(), pieces.rows(0, 1, 2)):
        there.zero_()
    assert whole.equal(torch.arange(6.0).reshape(3, 2))
    scalar = Pieces(lambda part: torch.tensor(2.0), (), torch.float32)
    assert scalar.read() == 2.0


def test_values_go_to_their_places_in_the_dtype_that_is_there():
    pieces, _ = in_pieces(torch.arange(6.0).reshape(3, 2), 0, 2)
    there = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    pieces.read_into(there)
    assert there.tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    assert repr(pieces) == "2 pieces of a tensor of (3, 2)"


def test_a_part_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 2\), and not \(2, 2\)"):
        Shard(torch.zeros(3, 2), (4, 2), 0, part=0, parts=2)
    assert repr(Shard(torch.zeros(2, 2), (4, 2), 0, part=1, parts=2)) == (
        "part 2 of 2 of a tensor of (4, 2)"
    )
