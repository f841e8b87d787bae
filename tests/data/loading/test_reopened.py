import pytest
import torch
from torch.utils.data import DataLoader as TorchLoader

from lehr.data.loading.feed import Feed
from lehr.data.loading.reopened import draw_as_at_first


class Kept(TorchLoader):
    """As if its workers were there already."""

    def __init__(self, generator=None, *, opened=True):
        super().__init__([1, 2], generator=generator, num_workers=1, persistent_workers=True)
        if opened:
            self._iterator = iter(())


@pytest.mark.parametrize(
    ("loader", "draws"),
    [
        (lambda: Kept(), True),
        (lambda: Kept(opened=False), False),
        (lambda: TorchLoader([1, 2]), False),
        (lambda: [1, 2], False),
        (lambda: Kept(torch.Generator()), False),
    ],
)
def test_only_of_torchs_loader_that_was_opened_with_workers_that_stay(loader, draws):
    loader = loader()
    before = torch.get_rng_state()
    draw_as_at_first(loader)
    assert torch.equal(before, torch.get_rng_state()) is not draws
    torch.set_rng_state(before)


def test_a_generator_of_its_own_is_drawn_from():
    generator = torch.Generator().manual_seed(1)
    draw_as_at_first(Kept(generator))
    expected = torch.Generator().manual_seed(1)
    torch.empty((), dtype=torch.int64).random_(generator=expected)
    assert torch.equal(generator.get_state(), expected.get_state())


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
def test_its_order_does_not_depend_on_who_read_it_before(own):
    def order(*, stays, before):
        generator = torch.Generator().manual_seed(1) if own else None
        loader = TorchLoader(
            range(20),
            shuffle=True,
            generator=generator,
            num_workers=1,
            persistent_workers=stays,
        )
        if before:
            assert list(loader)
            if own:
                generator.manual_seed(1)
        return [int(batch) for batch, _ in Feed(loader).epoch(1, 3)]

    expected = order(stays=False, before=False)
    assert order(stays=True, before=True) == order(stays=True, before=False) == expected
    assert sorted(expected) == list(range(20)) != expected
