"""What is drawn for a batch of images."""

import pytest
import torch

from lehr import data
from lehr.callbacks.augmenting.draws import coins, drawn, whole


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def test_what_a_change_is_given_is_uniform_and_left_out_as_often_as_its_chance_says():
    turn = drawn(["turn", "move"], 20_000, 0.3, seeded())["turn"]
    assert turn.happens.float().mean() == pytest.approx(0.3, abs=0.01)
    assert not turn.ways[:, ~turn.happens].any()
    for numbers, low in ((turn.luck, 0), *((way[turn.happens], -1) for way in turn.ways)):
        parts = torch.histc(numbers, 5, low, 1) / len(numbers)
        torch.testing.assert_close(parts, torch.full((5,), 0.2), atol=0.02, rtol=0)


def test_each_item_and_each_change_has_its_own_numbers():
    draws = drawn(["turn", "move"], 50, 1.0, seeded())
    assert len(draws["turn"].ways.unique()) == 100
    assert not torch.equal(draws["turn"].ways, draws["move"].ways)
    assert not torch.equal(draws["turn"].ways[0], draws["turn"].ways[1])


def test_whole_numbers_are_as_likely_each():
    way = torch.rand(50_000, generator=seeded()) * 2 - 1
    counts = whole(way, 2).long().add(2).bincount() / 50_000
    torch.testing.assert_close(counts, torch.full((5,), 0.2), atol=0.01, rtol=0)
    assert whole(torch.tensor([-1.0, 1.0]), 3).tolist() == [-3, 3]
    assert not whole(way, 0).any()


DIGITS = data.digits().train_ds.x.view(-1, 1, 8, 8)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32])
def test_coins_fall_to_either_side_and_to_others_with_another_key(dtype):
    images = (DIGITS * 16).to(dtype)
    sides = torch.stack([coins(images, key) for key in (1, 2, 3, 2**64 - 1)]).float()
    assert sides.mean(1).sub(0.5).abs().max() < 0.05
    assert len(images) > 1000
    alike = torch.stack([(a == b).float().mean() for a in sides for b in sides]).view(4, 4)
    assert (alike - torch.eye(4) * 0.5 - 0.5).abs().max() < 0.06


def test_a_coin_hangs_on_the_pixels_of_its_image_alone():
    fall = coins(DIGITS, 7)
    order = torch.randperm(len(DIGITS), generator=seeded())
    assert torch.equal(coins(DIGITS[order], 7), fall[order])
    assert torch.equal(coins(DIGITS[3:4], 7), fall[3:4])
    last = DIGITS.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    assert torch.equal(coins(last, 7), coins(last.contiguous(), 7))
    nudged = DIGITS.clone()
    nudged[:, 0, 4, 4] += 0.01
    assert 0.4 < (coins(nudged, 7) == fall).float().mean() < 0.6
