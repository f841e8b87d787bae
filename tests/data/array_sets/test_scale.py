import torch

from lehr.data.array_sets.scale import mean_and_std, pieces, undone


def test_the_numbers_are_torchs():
    x = torch.randn(3000, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 7 + 1000
    mean, std = mean_and_std(x)
    flat = x.double().transpose(0, 1).flatten(1)
    assert torch.allclose(torch.tensor(mean).double(), flat.mean(1), rtol=1e-6)
    assert torch.allclose(torch.tensor(std).double(), flat.std(1), rtol=1e-6)
    assert not torch.allclose(torch.tensor(std).double(), flat.std(1, correction=0), rtol=1e-6)


def test_what_never_changes_has_deviation_1():
    assert mean_and_std(torch.full((7, 2), 0.1, dtype=torch.float64))[1] == (1, 1)
    assert mean_and_std(torch.zeros(7, 1)) == ((0,), (1,))
    assert mean_and_std(torch.tensor([[0.0], [1e-20]]))[1][0] < 1e-19


def test_numbers_are_divided_by_white_first():
    x = torch.tensor([[0], [255]], dtype=torch.uint8)
    assert mean_and_std(x, 255.0) == ((0.5,), (0.5**0.5,))


def test_pieces_cover_everything_once():
    x = torch.arange(300_000)[:, None]
    assert len(list(pieces(x))) == 3
    assert torch.equal(torch.cat([piece for _, piece in pieces(x)]), x.double())
    assert all(torch.equal(x[where].double(), piece) for where, piece in pieces(x))


def test_what_was_done_is_undone():
    assert undone((7.25 - 1000) / 300, 1000, 300) == "7.25"
    assert undone(0.3, 0, 1) == "0.3"
    assert undone(1e-9, 0, 1) == "0"
    assert undone(1.0, 1e-9, 1e-9) == "2e-09"


def test_the_rule_is_that_of_images():
    from lehr.data.images.preparation import statistics

    x = torch.randint(256, (50, 3, 4, 4), generator=torch.Generator().manual_seed(0)).byte()
    x[:, 2] = 7
    for ours, images in zip(mean_and_std(x, 255.0), statistics(x), strict=True):
        assert torch.allclose(torch.tensor(ours), torch.tensor(images), rtol=1e-6)
    assert mean_and_std(x, 255.0)[1][2] == statistics(x)[1][2] == 1
    assert mean_and_std(x[:1, :, :1, :1])[1] == statistics(x[:1, :, :1, :1])[1] == (1, 1, 1)
