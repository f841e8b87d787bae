import pytest
import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import Dataset, IterableDataset

from lehr import DataBunch
from lehr.data.loading.single import about_items
from lehr.testing import tiny_learner


class Stream(IterableDataset):
    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


class Indexed(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return torch.zeros(3), index


X = torch.zeros(8, 3)
Y = torch.zeros(8, dtype=torch.long)


@pytest.mark.parametrize(
    ("first", "items"),
    [
        ((X[0], 1), True),
        ((X[0], Y[0]), True),
        ({"x": X[0], "label": 3}, True),
        ({"text": "a line", "label": 3}, True),
        ((X, Y), False),
        ({"text": ["a", "b"], "label": Y}, False),
        (({"x": X}, Y), False),
        (X, False),
        ([X[0]], False),
        ((X[0], torch.zeros(2)), True),  # no target has another length than its batch
        ((X, torch.zeros(8, 5)), False),
        ((X, torch.zeros(2, 5), Y), False),
    ],
)
def test_an_item_is_known_by_a_part_that_is_one_number_or_one_text(first, items):
    assert (about_items(Stream([]), "train_dl", first) is not None) is items


def test_of_what_makes_batches_nothing_is_said():
    item = (X[0], 1)
    assert about_items(TorchLoader([1]), "x", item) is None
    assert about_items(list, "x", item) is None
    assert about_items(TorchLoader(Indexed(), batch_size=None), "x", item) is not None


class Table:
    """A data set of nobody's class, as those of the package datasets are."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]

    def __iter__(self):
        return iter(self.rows)


class Rows:
    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


IMAGE, SCALE = torch.zeros(3, 8, 8), torch.tensor(0.5)


@pytest.mark.parametrize(
    ("first", "indexed", "any_other"),
    [
        ((X[0], Y[0]), True, True),
        ([X[0], Y[0]], True, True),
        ({"x": X[0], "label": Y[0]}, True, True),
        ({"ids": X[0], "mask": X[0], "labels": Y[0]}, True, True),
        ({"x": [0.0, 1.0], "label": 3}, True, False),
        ((IMAGE, Y[0]), True, False),
        ({"pixels": IMAGE, "label": 3}, True, False),
        ((X, Y), False, False),
        ((X, Y, SCALE), False, False),
        ({"x": X, "y": Y, "scale": SCALE, "name": "first"}, False, False),
        ({"x": Y, "y": Y, "scale": SCALE}, False, False),
        ({"x": X, "scale": SCALE}, False, False),
        (((X, SCALE), Y), False, False),
        ((X[0], torch.zeros(2)), False, False),
        (X, False, False),
        (X[0], False, False),
    ],
)
def test_elsewhere_an_item_is_known_by_its_target(first, indexed, any_other):
    assert (about_items(Table([]), "train_dl", first) is not None) is indexed
    for loader in ([], Rows([]), lambda: iter([]), Rows([]).__iter__):
        assert (about_items(loader, "train_dl", first) is not None) is any_other


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (Table, r"^train_dl is a Table, and yields single items, such as \[\(3,\) float32 cpu, "),
        (Rows, r"^train_dl yields single items, such as \[\(3,\) float32 cpu, \(\) int64 cpu\]: "),
        (lambda rows: lambda: (row for row in rows), r"^train_dl yields single items, such as "),
        (list, r"^train_dl yields single items, such as "),
    ],
)
def test_items_of_anything_are_warned_of_in_a_fit(made, words):
    rows = [(x, y) for x, y in zip(torch.randn(6, 3), Y[:6], strict=True)]
    with pytest.warns(UserWarning, match=words + ".*DataLoader") as warned:
        tiny_learner(data=DataBunch(made(rows))).fit(1)
    assert len(warned) == 1
    assert tiny_learner(data=DataBunch(made([(X, Y)] * 2))).fit(1).n_steps == 2


def test_a_stream_of_items_says_once_what_to_wrap_it_in():
    def learner(loader):
        return tiny_learner(data=DataBunch(loader))

    rows = [(x, y) for x, y in zip(torch.randn(6, 3), Y[:6], strict=True)]
    words = (
        r"^train_dl is a Stream, and yields single items, such as \[\(3,\) float32 cpu, \(\) int64 "
        r"cpu\]: every item would be a batch, and a step\. Wrap the data set: torch\.utils\.data\."
        r"DataLoader\(dataset, batch_size=64\)\. If these are batches, let it yield no bare "
        r"numbers or texts\.$"
    )
    with pytest.warns(UserWarning, match=words) as warned:
        learner(Stream(rows)).fit(2)
    assert len(warned) == 1
    with pytest.warns(UserWarning, match="is a DataLoader with batch_size=None, and yields single"):
        learner(TorchLoader(Stream(rows), batch_size=None)).fit(1)
    assert learner(TorchLoader(Stream(rows), batch_size=4)).fit(1).n_steps == 2
    assert learner(Stream([(X, Y)] * 3)).fit(1).n_steps == 3


def test_an_indexed_data_set_is_no_loader():
    with pytest.raises(TypeError, match=r"got Indexed\. Pass a DataLoader \(a dataset needs one\)"):
        tiny_learner(data=DataBunch(Indexed())).fit(1)
