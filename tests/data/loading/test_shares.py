"""What a process reads of every batch is its share, however the items are read."""

import pytest
import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

from lehr.base.sharing import Share
from lehr.data import DataLoader, Dataset
from lehr.data.loading.feed import Feed
from lehr.engine import Engine


class Items:
    """Items that are read one by one; with noise, from the global generator."""

    def __init__(self, noise: float = 0.0):
        self.noise, self.read = noise, []

    def __len__(self):
        return 7

    def __getitem__(self, i):
        self.read.append(i)
        return torch.tensor([float(i)]) + self.noise * torch.rand(1), i


class Gathers(Items):
    def gather(self, indices):
        return indices.float()[:, None], indices


class Second(Engine):
    """The second of two processes."""

    rank, world = 1, 2

    @property
    def share(self):
        return Share(1, 2)

    def shares(self, batches, name, *, entered=False):
        return ((name, batch) for batch in batches)


LOADERS = {
    "in memory": lambda: DataLoader(Dataset(torch.arange(7.0), torch.arange(7)), 3, shuffle=True),
    "tensors of torch": lambda: DataLoader(
        TensorDataset(torch.arange(7.0), torch.arange(7)), 3, shuffle=True
    ),
    "one by one": lambda: DataLoader(Items(), 3, shuffle=True),
    "gathered": lambda: DataLoader(Gathers(), 3, shuffle=True),
    "by workers": lambda: DataLoader(Items(), 3, shuffle=True, num_workers=1),
    "random, by item": lambda: DataLoader(Items(0.5), 3, shuffle=True, item_seeds=True),
}


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("kind", LOADERS)
def test_shares_make_the_batch(kind, world):
    whole = list(LOADERS[kind]().batches(1, 2))
    parts = [list(LOADERS[kind]().batches(1, 2, share=Share(r, world))) for r in range(world)]
    for number, (x, y) in enumerate(whole):
        xs, ys = zip(*(part[number] for part in parts), strict=True)
        assert torch.equal(torch.cat(xs), x)
        assert torch.equal(torch.cat(ys), y)
        assert all(part.shape[1:] == x.shape[1:] for part in xs)


def test_nothing_but_the_share_is_read():
    items = Items()
    list(DataLoader(items, 7).batches(1, 2, share=Share(1, 2)))
    assert items.read == [4, 5, 6]


def test_another_process_draws_other_numbers_for_its_items():
    loader = DataLoader(Items(0.5), 6)
    first, second = (next(loader.batches(1, 2, share=Share(r, 2)))[0] for r in (0, 1))
    assert not torch.allclose(
        first - torch.arange(3.0)[:, None], second - torch.arange(3.0, 6)[:, None]
    )


def test_a_share_can_begin_in_the_middle():
    loader = LOADERS["one by one"]()
    share = Share(1, 2)
    later = list(loader.batches(1, 2, start=1, share=share))
    assert [y.tolist() for _, y in later] == [
        y.tolist() for _, y in list(loader.batches(1, 2, share=share))[1:]
    ]


def test_a_feed_shares_out_what_does_not_do_it_itself():
    batches = [(torch.arange(4), torch.arange(4)), (torch.arange(1), torch.arange(1))]
    read = [batch[0].tolist() for batch, _ in Feed(batches, engine=Second()).epoch(0, 0)]
    assert read == [[2, 3], []]
    foreign = TorchLoader(TensorDataset(torch.arange(2)), batch_size=2)
    ((name, _), _), *_ = Feed(foreign, "train_dl", engine=Second()).epoch(0, 0)
    assert name == "train_dl"


def test_a_feed_of_one_process_reads_all():
    batches = [(torch.arange(4), torch.arange(4))]
    assert next(Feed(batches).epoch(0, 0))[0][0].tolist() == [0, 1, 2, 3]
