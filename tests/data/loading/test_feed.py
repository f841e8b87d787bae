from copy import deepcopy

import pytest
import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import IterableDataset, RandomSampler, TensorDataset

from lehr.data import DataLoader, Dataset
from lehr.data.loading.feed import Feed

DS = Dataset(torch.arange(10.0), torch.arange(10))


class Sized:
    """Says one length and yields another."""

    def __init__(self, says, yields):
        self.says, self.yields = says, yields

    def __len__(self):
        return self.says

    def __iter__(self):
        return iter(range(self.yields))


class Unsized(IterableDataset):
    def __iter__(self):
        return iter(range(4))


def ends(feed, **kw):
    return [last for _, last in feed.epoch(1, 0, **kw)]


def batches(feed, epoch=0, **kw):
    return [batch for batch, _ in feed.epoch(1, epoch, **kw)]


@pytest.mark.parametrize(
    ("loader", "n", "seekable"),
    [
        ([0, 1, 2, 3], 4, True),
        ((0, 1, 2, 3), 4, True),
        (DataLoader([0, 1, 2, 3], 1), 4, True),
        (TorchLoader([0, 1, 2, 3], 1), 4, False),
        (TorchLoader(Unsized(), batch_size=None), None, False),
        (Sized(4, 4), 4, False),
        (range(4), 4, False),
        (lambda: (i for i in range(4)), None, False),
        (lambda: [0, 1, 2, 3], None, False),
    ],
)
def test_every_kind(loader, n, seekable):
    feed = Feed(loader)
    assert feed.len_or_none == n
    assert feed.seekable is seekable
    for epoch in (0, 1):
        assert [int(batch) for batch in batches(feed, epoch)] == [0, 1, 2, 3]
    assert ends(feed) == [False, False, False, True]
    assert [int(batch) for batch in batches(feed, start=3)] == [3]
    assert ends(feed, start=3) == [True]
    assert ends(feed, start=4) == []


def test_a_seekable_loader_gets_seed_and_epoch():
    dl = DataLoader(DS, 3, shuffle=True)
    for epoch in (0, 1):
        fed = [yb.tolist() for _, yb in batches(Feed(dl), epoch)]
        assert fed == [yb.tolist() for _, yb in dl.batches(1, epoch)]


@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_torchs_loader_leaves_the_generators_alone(shuffle, start):
    feed = Feed(TorchLoader(TensorDataset(torch.arange(10)), 3, shuffle=shuffle))
    before = torch.get_rng_state()
    first = [b.tolist() for [b] in batches(feed, 0)]
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    assert [b.tolist() for [b] in batches(feed, 0, start=start)] == first[start:]
    assert ([b.tolist() for [b] in batches(feed, 1)] != first) is shuffle


def test_a_factorys_shuffle_is_keyed():
    def factory():
        for i in torch.randperm(20).tolist():
            yield i, float(torch.rand(()))

    def order(epoch, start=0):
        return [i for i, _ in batches(Feed(factory), epoch, start=start)]

    before = torch.get_rng_state()
    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0, start=5) == order(0)[5:]
    assert not torch.equal(before, torch.get_rng_state())  # items after the first draw


def test_unsized_is_read_one_ahead_only():
    read = []

    def factory():
        for i in range(4):
            read.append(i)
            yield i

    epoch = Feed(factory).epoch(0, 0)
    assert read == []
    assert next(epoch) == (0, False)
    assert read == [0, 1]


def test_fewer_than_promised():
    with pytest.warns(
        UserWarning, match="the loader says that it has 5 batches, but ended after 3"
    ):
        assert ends(Feed(Sized(5, 3), "the loader")) == [False] * 3
    with pytest.warns(UserWarning, match="5 batches, but ended after 3"):
        assert batches(Feed(Sized(5, 3)), start=2) == [2]


def test_more_than_promised():
    epoch = Feed(Sized(2, 3)).epoch(0, 0)
    assert [next(epoch), next(epoch)] == [(0, False), (1, True)]
    with pytest.raises(ValueError, match="says that it has 2 batches, but yields more"):
        next(epoch)


def test_what_can_be_read_only_once():
    with pytest.raises(
        TypeError, match=r"generator, which can be read only once\. Pass a function"
    ):
        Feed(i for i in range(3))
    with pytest.raises(TypeError, match="list_iterator, which can be read only once"):
        Feed(iter([1]))


@pytest.mark.parametrize("loader", [3, None, "abc", {"a": [1]}, DS, TensorDataset(torch.ones(2))])
def test_what_is_no_iterable_of_batches(loader):
    with pytest.raises(TypeError, match="train_dl must be an iterable of batches; got"):
        Feed(loader, "train_dl")


@pytest.mark.parametrize("loader", [[], DataLoader(DS, 64, drop_last=True), Sized(0, 0)])
def test_known_to_be_empty(loader):
    with pytest.raises(ValueError, match="loader has no batches: its length is 0"):
        Feed(loader).epoch(0, 0)


def test_found_to_be_empty():
    with pytest.raises(ValueError, match="loader has no batches: it ended before its first"):
        next(Feed(list).epoch(0, 0))


def test_a_factory_that_hands_out_the_same_iterator():
    used = iter([1, 2])
    feed = Feed(lambda: used)
    assert ends(feed) == [False, True]
    used_up = (
        r"^loader is used up: it ended before its first batch, but an earlier epoch had batches\. "
        r"It seems that it can be read only once\. Pass a function that makes a fresh iterator "
        r"every time, e\.g\. lambda: batches\(\), or let its __iter__ start over\.$"
    )
    with pytest.raises(ValueError, match=used_up):
        ends(feed)


@pytest.mark.parametrize("loader", [[1, 2], DataLoader([1, 2], 1), TorchLoader([1, 2], 1)])
def test_start_outside(loader):
    with pytest.raises(ValueError, match=r"start must be in 0 to 2, .* got 3"):
        Feed(loader).epoch(0, 0, 3)


def test_start_beyond_an_unknown_end():
    with pytest.raises(ValueError, match="got 5, but loader ended after 3"):
        next(Feed(lambda: [1, 2, 3]).epoch(0, 0, 5))


class Positioned:
    """Says where it is, and goes on there when it is next opened; one state for all time."""

    def __init__(self):
        self.live = {"place": 0}

    def __iter__(self):
        place = self.live["place"]
        while place < 5:
            place += 1
            self.live["place"] = place
            yield place
        self.live["place"] = 0

    def state_dict(self):
        return self.live

    def load_state_dict(self, state_dict):
        self.live = dict(state_dict)


def test_what_is_read_ahead_is_not_in_the_state():
    loader = Positioned()
    feed = Feed(loader)
    places = []
    for batch, last in feed.epoch(0, 0):
        assert loader.live["place"] == (0 if last else batch + 1)
        places.append(feed.entries("train_dl")["train_dl"].state_dict()["place"])
    assert places == [1, 2, 3, 4, 5]
    assert feed.entries("train_dl")["train_dl"].state_dict() is loader.live


@pytest.mark.parametrize("place", range(6))
def test_a_loader_with_a_state_skips_nothing(place):
    loader = Positioned()
    Feed(loader).entries("x")["x"].load_state_dict({"place": place})
    assert batches(Feed(loader), start=place) == list(range(place + 1, 6))


def test_left_early_it_holds_the_state_no_more():
    loader = Positioned()
    feed = Feed(loader)
    epoch = feed.epoch(0, 0)
    next(epoch)
    part = feed.entries("x")["x"]
    assert part.state_dict() == {"place": 1}
    epoch.close()
    assert part.state_dict() is None  # the next epoch begins at the beginning
    part.load_state_dict(None)
    assert loader.live == {"place": 2}
    late = feed.epoch(0, 1)
    next(late)
    epoch = feed.epoch(0, 2)
    next(epoch)
    late.close()  # after the next was begun, as a garbage collector may
    assert list(feed._held) == [""]


def test_a_generator_is_had_as_the_epoch_was_opened_with_it():
    loader = TorchLoader(range(10), 2, shuffle=True, generator=torch.Generator().manual_seed(1))
    feed = Feed(loader)
    generator = loader.generator
    before = generator.get_state()
    epoch = feed.epoch(0, 0)
    first = [next(epoch)[0].tolist() for _ in range(3)]
    held = feed.entries("x")["x.generator"].state_dict()["state"].clone()
    assert torch.equal(held, before)
    assert not torch.equal(generator.get_state(), before)
    rest = [batch.tolist() for batch, _ in epoch]
    feed.entries("x")["x.generator"].load_state_dict({"state": held})
    assert [batch.tolist() for batch in batches(feed, start=3)] == rest
    assert rest != first[:2]
    after = feed.entries("x")["x.generator"].state_dict()["state"]
    assert torch.equal(after, generator.get_state())


@pytest.mark.parametrize(
    ("loader", "rereads"),
    [
        ([1], False),
        (DataLoader(DS, 3), False),
        (Positioned(), False),
        (TorchLoader(DS, 3), True),
        (Sized(2, 2), True),
        (lambda: [1], True),
    ],
)
def test_who_is_read_from_the_beginning(loader, rereads):
    assert Feed(loader).rereads is rereads


class Drawing:
    """Ten items, and a generator of the dataset's own."""

    def __init__(self):
        self.own = torch.Generator().manual_seed(3)

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return torch.rand(2, generator=self.own)


def drawn_order():
    return RandomSampler(range(10), generator=torch.Generator().manual_seed(1))


def test_what_draws_within_lehrs_loader_goes_on_where_it_was():
    feed = Feed(DataLoader(Drawing(), 2, sampler=drawn_order()))
    epoch = feed.epoch(0, 0)
    first = [next(epoch)[0] for _ in range(3)]
    saved = {name: deepcopy(one.state_dict()) for name, one in feed.entries("x").items()}
    assert list(saved) == ["x", "x.dataset.own", "x.sampler.indices.generator"]
    rest = [batch for batch, _ in epoch]
    again = Feed(DataLoader(Drawing(), 2, sampler=drawn_order()))
    assert not torch.equal(next(again.epoch(0, 0, start=3))[0], rest[0])  # the negative control
    for name, one in again.entries("x").items():
        one.load_state_dict(saved[name])
    assert all(map(torch.equal, batches(again, start=3), rest))
    assert len(first) == 3
    assert len(rest) == 2


@pytest.mark.parametrize(
    ("make", "drawn"),
    [
        (lambda: DataLoader(Drawing(), 2, num_workers=1), "dataset.own"),
        (lambda: DataLoader(Drawing(), 2), None),
        (lambda: DataLoader([1, 2], num_workers=1), None),
        (lambda: TorchLoader([1, 2], num_workers=1), None),
        (
            lambda: TorchLoader([1, 2], num_workers=1, persistent_workers=True),
            "the global generators in them",
        ),
    ],
    ids=["own", "no_workers", "draws_nothing", "new_workers", "kept_workers"],
)
def test_what_workers_draw_from_out_of_sight_is_known(make, drawn):
    assert Feed(make()).out_of_sight == drawn
