"""bench/data_path.py: the ways that are timed beside each other read the same."""

import argparse
import importlib
from pathlib import Path

import pytest
import torch

from lehr.base import mapped

ROOT = Path(__file__).parents[1]
FORMS = 4


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "bench")
        yield importlib.import_module("data_path")


@pytest.fixture
def seen(bench, monkeypatch):
    """What an epoch gives, item by item, in any order."""
    batches = []
    monkeypatch.setattr(bench, "read", batches.extend)

    def seen(epoch):
        batches.clear()
        epoch()
        return sorted(row for batch in batches for row in rows_of(batch))

    return seen


def rows_of(batch):
    tensors = list(leaves(batch))
    return zip(*[tensor.flatten(1).tolist() if tensor.ndim > 1 else tensor.tolist()
                 for tensor in tensors], strict=True)  # fmt: skip


def leaves(value):
    if isinstance(value, torch.Tensor):
        yield value
    else:
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)


@pytest.mark.parametrize("form", range(FORMS))
def test_every_way_reads_the_same_items(bench, seen, form):
    ways = list(bench.in_memory(130).values())
    assert len(ways) == FORMS
    bare, ours, theirs = (seen(ways[form][way]) for way in (bench.BARE, bench.LEHR, bench.TORCH))
    assert len(bare) == 130
    assert bare == ours == theirs


def test_photos_are_the_same_in_both_loaders(bench, tmp_path):
    paths = bench.photos(tmp_path, 5)
    theirs = bench.Photos(paths)
    ours = bench.image_folder(
        tmp_path / "photos",
        valid_share=0.2,
        size=bench.SIDE,
        normalize=(bench.MEAN, bench.STD),
        in_memory=False,
    )
    for ds in (ours.train_ds, ours.valid_ds):
        for i in range(len(ds)):
            name = Path(ds.name(i))
            assert torch.equal(ds[i][0], theirs[paths.index(name)][0])


@pytest.mark.parametrize("way", ["lehr", "index_select"])
@pytest.mark.parametrize("from_disk", [True, False])
def test_a_mapped_file_is_read(bench, tmp_path, monkeypatch, way, from_disk):
    monkeypatch.setattr(mapped, "RESIDENT", 0)
    bench.new_file(tmp_path / "rows.npy", 1)
    row = bench.read_mapped(way, tmp_path / "rows.npy", from_disk)
    assert row["microseconds"] > 0
    assert row["megabytes"] >= 0


@pytest.mark.slow
def test_all_of_it(bench, monkeypatch):
    monkeypatch.setattr(bench, "MANY", 10**7)
    processes, apart = [], bench.apart

    def one_apart(*words):
        """The first part in a process of its own; to start one for each takes seconds."""
        if processes:
            return bench.run_part([*map(str, words)])
        processes.append(words)
        return apart(*words)

    monkeypatch.setattr(bench, "apart", one_apart)
    options = argparse.Namespace(repeats=2, items=128, images=12, workers=1, megabytes=1)
    rows = bench.measured(options)
    assert len(processes) == 1
    assert {group: len(every) for group, every in rows.items()} == {
        "memory": FORMS,
        "folder": 8,
        "mapped": 2,
        "order": 2,
    }
    for name in ("memory", "folder", "mapped"):
        for row in rows[name].values():
            low, high = row["range"]
            assert 0 < low <= row["ratio"] <= high
    assert all(row["nanoseconds_an_index"] > 0 for row in rows["order"].values())
