"""A table of layers keeps few batches, the first and the last among them."""

import torch

from lehr.record.layer_table import LayerTable


def table(n, **more):
    numbers = {"x": torch.arange(n * 2.0).view(n, 2)}
    return LayerTable(title="t", layers=["a", "b"], batches=range(n), numbers=numbers, **more)


def test_a_short_one_stays_as_it_is():
    short = table(3)
    assert short.thinned(3) is short


def test_a_long_one_is_thinned_in_all_its_parts_alike():
    long = table(1001, counts=torch.arange(1001.0).view(1001, 1, 1).expand(1001, 2, 4))
    thin = long.thinned(11)
    assert thin.batches == list(range(0, 1001, 100))
    assert thin.numbers["x"][:, 0].tolist() == [2.0 * batch for batch in thin.batches]
    assert thin.counts[:, 1, 3].tolist() == [float(batch) for batch in thin.batches]
    assert (thin.title, thin.layers, thin.span) == (long.title, long.layers, long.span)
    assert long.thinned().batches[-1] == 1000
    assert table(5).thinned(1).batches == [0]
