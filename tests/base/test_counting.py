"""Batches as other packages make them, imitated: their items are counted."""

from collections import UserDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_sequence

from lehr import Callback, DataBunch
from lehr.base.counting import count
from lehr.testing import tiny_learner

Pair = namedtuple("Pair", ["image", "label"])


class Graphs:
    """As a batch of PyG: its length is how many attributes it has."""

    def __init__(self, num_graphs):
        self.x, self.num_graphs = torch.zeros(40, 3), num_graphs
        self.num_nodes = 40

    def __len__(self):
        return 7


class Graph:
    """As one graph of PyG."""

    num_nodes = 40

    def __len__(self):
        return 3


class Sampled(Graph):
    """As the batch of a NeighborLoader: loss and targets are of the first nodes alone."""

    batch_size = 16


class OfAnother(Graph):
    """As a graph of DGL, where that is a method."""

    batch_size = 4

    def num_nodes(self):
        return 40


class TensorDict(dict):
    """As that of the tensordict package."""

    def __init__(self, *size, **parts):
        super().__init__(parts)
        self.batch_size = torch.Size(size)


class Encoding(UserDict):
    """As the BatchEncoding of transformers."""

    def __getattr__(self, name):
        try:
            return self.__dict__["data"][name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass
class Batch:
    name: str
    ids: torch.Tensor


def boxes(n):
    return {"boxes": torch.zeros(n, 4), "labels": torch.zeros(n)}


SEQUENCES = [torch.zeros(n, 2) for n in (5, 4, 1)]


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (Graphs(6), 6),
        (Graph(), 40),
        (Sampled(), 16),
        (OfAnother(), 4),
        ((Graphs(6), torch.zeros(2)), 6),
        (pack_sequence(SEQUENCES), 3),
        ((pack_sequence(SEQUENCES), torch.zeros(1, 3, 8)), 3),
        ({"text": pack_sequence(SEQUENCES)}, 3),
        (pad_sequence(SEQUENCES, batch_first=True), 3),
        (TensorDict(9, a=torch.zeros(9, 2)), 9),
        (TensorDict(a=torch.zeros(9, 2)), 9),
        (Encoding({"input_ids": torch.zeros(4, 12)}), 4),
        (Encoding({"input_ids": [[1, 2], [1], [1, 2, 3]]}), 3),
        (Batch("first", torch.zeros(8, 2)), 8),
        ({"name": "first", "ids": torch.zeros(8, 2)}, 8),
        (Pair(torch.zeros(5, 3), 1), 5),
        ([boxes(2), boxes(3), boxes(1)], 3),
        (([torch.zeros(3, 8, 8), torch.zeros(3, 9, 8)], [boxes(2), boxes(2)]), 2),
        (([torch.zeros(3, 8, 8)] * 4, [boxes(n) for n in (1, 2, 1, 1)]), 4),
        ([boxes(5), boxes(5)], 5),  # a pair of inputs
        ((torch.zeros(40, 3), torch.zeros(2, 99)), 40),  # nodes and edges
        ([torch.zeros(6, 5, 3), torch.zeros(1, 6, 8)], 6),  # a sequence and a hidden state
        ((["a", "b"], torch.zeros(2, 3)), 2),
        (None, None),
        (3, None),
        ({"a": "text"}, None),
        (torch.zeros(()), None),
    ],
)
def test_items_are_counted(value, items):
    assert count(value) == items


def test_the_default_weight_of_packed_sequences_is_their_number():
    class Notes(Callback):
        state = ()

        def begin_fit(self, run):
            self.weights = []

        def after_loss(self, run):
            self.weights.append(run.weight)

    class First(nn.Linear):
        """Of each sequence, the first step."""

        def forward(self, *packed):
            packed = packed[0] if len(packed) == 1 else PackedSequence(*packed)
            return super().forward(packed.data[: packed.batch_sizes[0]])

    packed = [pack_sequence(SEQUENCES), pack_sequence(SEQUENCES[:1])]
    batches = [(x, torch.zeros(int(x.batch_sizes[0])).long()) for x in packed]
    notes = Notes()
    tiny_learner([notes], model=First(2, 2), data=DataBunch(batches)).fit(1)
    assert notes.weights == [3, 1]
