"""What data hold, in short."""

from types import SimpleNamespace

import pytest
import torch

from lehr.data import DataLoader, Dataset
from lehr.data.loading.feed import Feed
from lehr.distributed.contents import in_words, of_feed
from lehr.engine import Engine


def shared(loader, **options):
    """What is said of a loader in one of two processes."""
    engine = Engine()
    vars(engine).update(world=2, **options)
    return of_feed(Feed(loader, engine=engine))


X = torch.arange(24.0).reshape(8, 3)

OTHERS = {
    "a number": X.clone().index_fill(0, torch.tensor(7), 1.0),
    "a shape": X.reshape(8, 3, 1),
    "a dtype": X.double(),
    "an order": X.flip(0),
    "a sign": X.neg(),
    "a text": ["a", "b"],
    "another text": ["a", "c"],
    "fewer": X[:7],
    "sparse": X.to_sparse(),
    "nothing": X[:0],
    "complex": X.to(torch.complex64),
    "conjugate": (X * 1j).conj(),
}


def test_each_is_another_one():
    said = [in_words([(x, None)]) for x in [X, *OTHERS.values()]]
    assert len(set(said)) == len(said)


@pytest.mark.parametrize("x", [X, X.t(), X.neg(), (X * 1j).conj(), X.bfloat16(), X.to(torch.bool)])
def test_a_copy_is_the_same_however_it_lies_in_memory(x):
    copy = torch.empty(x.shape, dtype=x.dtype).copy_(x)
    assert in_words({"x": x}) == in_words({"x": copy})


def test_of_many_tensors_the_first_are_shown():
    assert in_words([X] * 9).startswith("(8, 3) float32, (8, 3) float32, (8, 3) float32, … with")
    assert in_words(["a text"]).startswith("with checksum ")


def test_of_data_in_memory_a_few_items_are_looked_at():
    x = torch.arange(100.0)
    said = shared(DataLoader(Dataset(x), 8, shuffle=True))
    assert said == shared(torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x.clone()), 4))
    assert said.startswith("(4,) float32 with checksum ")
    assert said.endswith(" of items 0, 33, 66, 99")
    assert said != shared(DataLoader(Dataset(x.flip(0)), 8))
    assert shared(DataLoader(Dataset(x[:1]), 8)).endswith(" of items 0")


def test_of_a_list_all_is_looked_at():
    batches = list(X)
    assert shared(batches) == in_words(list(X.clone()))
    assert shared(batches) != shared([*batches[:4], batches[4] + 1, *batches[5:]])


def test_what_would_have_to_be_read_is_not():
    class Items(torch.utils.data.Dataset):
        def __len__(self):
            return 3

    assert shared(DataLoader(Items(), 1)) is None
    assert shared(lambda: iter([X])) is None


def test_what_each_has_for_itself_is_not_looked_at():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), 4)
    own = SimpleNamespace(own=True, engine=SimpleNamespace(world=2), loader=loader)
    assert of_feed(own) is None
    assert of_feed(Feed([X])) is None


def test_the_data_can_be_resized_afterwards():
    x = torch.zeros(5000)
    in_words([x])
    x.resize_(10000)
