"""From data to batches: how fast, beside the barest way and beside torch's DataLoader.

    python bench/data_path.py [--repeats 7] [--items 50048] [--images 1000] [--workers 2]
                              [--megabytes 1024] [--threads 1]

In memory: an epoch of batches of 64 in a new order, beside `index_select` of the same and beside
torch's DataLoader with its defaults. Folder: JPEGs of 256×192 pixels that become 128×128, decoded
by the same function in lehr's loader and in torch's, with as many workers; and once they are in the
cache. Mapped: a file that is made for it and deleted, in processes of their own, beside
`index_select` of the mapped array; what the memory grows by is the highest of an epoch. Order: 10^9
items in a new order, beside `randperm` of 10^7.

Variants take turns in a fresh random order; reported is the median over repeats of the ratio of the
same repeat. The result is also written to bench/results/data_path_<hardware>_<date>.json.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import results
import torch
from side_by_side import BATCH_SIZE, in_turns, ratios, seconds_of, steps_of
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import TensorDataset

from lehr.base.mapped import mapped_tensor
from lehr.data import DataLoader, Dataset, ImagePreparation, Images, Sampler, image_folder
from lehr.data.images.decode import decode, to_image

BARE, LEHR, TORCH = "index_select", "lehr", "DataLoader"
MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.24, 0.26)
SIDE = 128
ROW = 3 * 32 * 32  # bytes of a row of the mapped file
MANY = 10**9

Row = dict[str, object]


def read(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def summed(ones: list[float]) -> Row:
    """The median of some ratios, with the lowest and the highest."""
    return {
        "ratio": round(statistics.median(ones), 3),
        "range": [round(min(ones), 3), round(max(ones), 3)],
    }


# -- in memory


class Items(TorchDataset[Any]):
    """What one would write for torch's DataLoader: an item at a time."""

    def __init__(self, n: int, item: Callable[[int], object]) -> None:
        self.n, self.item = n, item

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> object:
        return self.item(i)


def in_memory(n: int) -> dict[str, dict[str, Callable[[], None]]]:
    """For each form of data, an epoch by each way."""
    x, y = torch.randn(n, 784), torch.randint(10, (n,))
    more, ids = torch.randn(n, 32), torch.randint(30_000, (n, 128))
    mask = torch.ones(n, 128, dtype=torch.bool)
    pixels = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(-1, 1, 1) * 255 for v in (MEAN, STD))
    form = ImagePreparation(tuple("0123456789"), "RGB", (32, 32), mean=MEAN, std=STD)

    def ways(gather: Callable, ours: Any, theirs: Any) -> dict[str, Callable[[], None]]:
        own = DataLoader(ours, BATCH_SIZE, shuffle=True)
        other = TorchLoader(theirs, batch_size=BATCH_SIZE, shuffle=True)
        return {
            BARE: lambda: read(map(gather, torch.randperm(n).split(BATCH_SIZE))),
            LEHR: lambda: read(own),
            TORCH: lambda: read(other),
        }

    def of(tensor: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        return tensor.index_select(0, indices)

    named = {"ids": ids, "mask": mask, "labels": y}
    return {
        "a pair of tensors": ways(
            lambda i: (of(x, i), of(y, i)), Dataset(x, y), TensorDataset(x, y)
        ),
        "a dict of three": ways(
            lambda i: {name: of(tensor, i) for name, tensor in named.items()},
            Dataset(named),
            Items(n, lambda i: {name: tensor[i] for name, tensor in named.items()}),
        ),
        "a tuple of two, and targets": ways(
            lambda i: ((of(x, i), of(more, i)), of(y, i)),
            Dataset((x, more), y),
            Items(n, lambda i: ((x[i], more[i]), y[i])),
        ),
        "uint8 images, normalised by batch": ways(
            lambda i: (of(pixels, i).float().sub_(mean).div_(std), of(y, i)),
            Images(pixels, y, form),
            Items(n, lambda i: (pixels[i].float().sub_(mean).div_(std), y[i])),
        ),
    }


def memory_rows(n: int, repeats: int) -> dict[str, Row]:
    rows = {}
    for name, ways in in_memory(n).items():
        for epoch in ways.values():
            epoch()
        seconds = in_turns(ways, repeats)
        times = ratios(seconds, LEHR)[TORCH]
        rows[name] = {
            **summed(ratios(seconds, BARE)[LEHR]),
            "times_faster": round(statistics.median(times), 1),
            "microseconds_a_batch": round(
                statistics.median(seconds[LEHR]) / steps_of(n, 1) * 1e6, 1
            ),
        }
    return rows


# -- a folder of images


def photos(folder: Path, n: int) -> list[Path]:
    """JPEGs of two classes, as rough as photographs are."""
    generator = torch.Generator().manual_seed(0)
    paths = []
    for i in range(n):
        rough = torch.rand(1, 3, 24, 32, generator=generator) * 255
        fine = torch.nn.functional.interpolate(rough, scale_factor=8, mode="bilinear")[0]
        noise = torch.randn(fine.shape, generator=generator) * 8
        paths.append(folder / "photos" / "ab"[i % 2] / f"{i:05}.jpg")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        to_image((fine + noise).clamp(0, 255).byte()).save(paths[-1], quality=90)
    return sorted(paths)


class Photos(TorchDataset[Any]):
    """The same images for torch's DataLoader: an item at a time, decoded and normalised."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.mean, self.std = (torch.tensor(v).view(-1, 1, 1) * 255 for v in (MEAN, STD))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        pixels = decode(self.paths[i], "RGB", (SIDE, SIDE))
        return pixels.float().sub_(self.mean).div_(self.std), i % 2


def two_epochs(loader: Iterable[object]) -> tuple[float, float]:
    return seconds_of(lambda: read(loader)), seconds_of(lambda: read(loader))


def folder_seconds(root: Path, paths: list[Path], workers: int) -> dict[str, float]:
    """Of one repeat: an epoch with new workers, and one with those that are there, by each way."""
    open_ours = partial(
        image_folder,
        root / "photos",
        BATCH_SIZE,
        valid_share=1 / len(paths),
        in_memory=False,
        preparation=ImagePreparation(("a", "b"), "RGB", (SIDE, SIDE), mean=MEAN, std=STD),
    )
    seconds: dict[str, float] = {}

    def ours(count: int) -> None:
        dl = open_ours(num_workers=count).train_dl
        seconds[f"{LEHR} {count} first"], seconds[f"{LEHR} {count} later"] = two_epochs(dl)

    def theirs(count: int) -> None:
        dl = TorchLoader(
            Photos(paths[1:]),
            batch_size=BATCH_SIZE,
            shuffle=True,
            num_workers=count,
            persistent_workers=bool(count),
        )
        seconds[f"{TORCH} {count} first"], seconds[f"{TORCH} {count} later"] = two_epochs(dl)

    def cached(count: int) -> None:
        with tempfile.TemporaryDirectory(dir=root) as cache:
            start = perf_counter()
            dl = open_ours(num_workers=count, cache=cache).train_dl
            read(dl)
            seconds[f"cache {count} first"] = perf_counter() - start
            seconds[f"cache {count} later"] = seconds_of(lambda: read(dl))

    turns = [partial(way, count) for count in (0, workers) for way in (ours, theirs, cached)]
    for turn in random.sample(turns, len(turns)):
        turn()
    return seconds


def folder_rows(n: int, workers: int, repeats: int) -> dict[str, Row]:
    """How many times as many images a second as torch's DataLoader, with the same workers."""
    with tempfile.TemporaryDirectory() as root:
        paths = photos(Path(root), n)
        every = [folder_seconds(Path(root), paths, workers) for _ in range(repeats)]
    rows = {}
    for count in (0, workers):
        who = f"{count} workers" if count else "no workers"
        for way, name, epoch in (
            (LEHR, "first epoch", "first"),
            (LEHR, "later epochs", "later"),
            ("cache", "cache: made, and first epoch", "first"),
            ("cache", "cache: later epochs", "later"),
        ):
            mine = [seconds[f"{way} {count} {epoch}"] for seconds in every]
            theirs = [seconds[f"{TORCH} {count} {epoch}"] for seconds in every]
            rows[f"{who}, {name}"] = {
                **summed([b / a for a, b in zip(mine, theirs, strict=True)]),
                "images_a_second": round((n - 1) / statistics.median(mine)),
            }
    return rows


# -- larger than the memory: measured in processes of their own


def resident() -> float:
    """Megabytes of this process in memory, mapped files included; nan where that is not told."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def forget(path: Path) -> None:
    """See that nothing of a file is in memory, as far as the system does as it is told."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def new_file(path: Path, megabytes: int) -> None:
    block = np.random.default_rng(0).integers(0, 256, (2**20 // ROW, ROW), dtype=np.uint8)
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (megabytes * len(block), ROW))
    for start in range(0, len(array), len(block)):
        array[start : start + len(block)] = block
    array.flush()


def read_mapped(way: str, path: Path, from_disk: bool) -> Row:
    """Batches in a new order: all of them, or as many as take a while from a disk."""
    array = np.load(path, mmap_mode="r")
    gather = partial(mapped_tensor(array).index_select, 0)
    if way == LEHR:
        gather = Dataset(array).gather
    batches = torch.randperm(len(array)).split(BATCH_SIZE)[: 300 if from_disk else None]
    if from_disk:
        forget(path)
    else:
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
    before, highest, spent = resident(), 0.0, 0.0
    for number, indices in enumerate(batches):
        start = perf_counter()
        gather(indices)
        spent += perf_counter() - start
        if number % 16 == 0 or number == len(batches) - 1:
            highest = max(highest, resident() - before)
    return {"microseconds": spent / len(batches) * 1e6, "megabytes": highest}


def order(way: str) -> Row:
    """The first thousand batches of an order, from its beginning and from its middle."""
    before = resident()
    start = perf_counter()
    if way == LEHR:
        batches = Sampler(MANY, BATCH_SIZE, shuffle=True).batches(seed=1, epoch=0)
        next(batches)
        first = perf_counter() - start
        middle = Sampler(MANY, BATCH_SIZE, shuffle=True).batches(1, 0, MANY // 2 // BATCH_SIZE)
        start = perf_counter()
        next(middle)
        entered = perf_counter() - start
        start = perf_counter()
        for _ in range(20 * 1024):
            next(middle)
        each = (perf_counter() - start) / (20 * 1024 * BATCH_SIZE)
    else:
        indices = torch.randperm(10**7)
        first = entered = perf_counter() - start
        read(indices.split(BATCH_SIZE))
        each = (perf_counter() - start) / len(indices)
    return {
        "first_milliseconds": round(first * 1e3, 2),
        "entered_milliseconds": round(entered * 1e3, 2),
        "nanoseconds_an_index": round(each * 1e9, 1),
        "megabytes": round(resident() - before, 1),
    }


def apart(*words: object) -> Row:
    """What a part of this script prints in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(torch.get_num_threads()), "--part"]
    done = subprocess.run(
        [*command, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def mapped_rows(megabytes: int, repeats: int) -> dict[str, Row]:
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        new_file(path, megabytes)
        for name, from_disk in (("from the system's memory", False), ("from the disk", True)):
            every: dict[str, list[Any]] = {BARE: [], LEHR: []}
            for _ in range(repeats):
                for way in random.sample([BARE, LEHR], 2):
                    every[way].append(apart("mapped", way, path, int(from_disk)))
            pairs = zip(every[LEHR], every[BARE], strict=True)
            grown = {way: max(one["megabytes"] for one in every[way]) for way in every}
            middle = statistics.median(one["microseconds"] for one in every[LEHR])
            rows[f"{megabytes} MB, {name}"] = {
                **summed([a["microseconds"] / b["microseconds"] for a, b in pairs]),
                "microseconds_a_batch": round(middle, 1),
                "megabytes": round(grown[LEHR], 1),
                "megabytes_bare": round(grown[BARE], 1),
            }
    return rows


def order_rows() -> dict[str, Row]:
    return {
        f"{MANY:.0e} items": apart("order", LEHR),
        "randperm of 1e+07 items": apart("order", BARE),
    }


def run_part(words: list[str]) -> Row:
    if words[0] == "mapped":
        return read_mapped(words[1], Path(words[2]), bool(int(words[3])))
    return order(words[1])


def measured(options: argparse.Namespace) -> dict[str, dict[str, Row]]:
    repeats = options.repeats
    few = max(1, repeats // 2)  # of what takes long
    return {
        "memory": memory_rows(options.items, repeats),
        "folder": folder_rows(options.images, options.workers, few),
        "mapped": mapped_rows(options.megabytes, few),
        "order": order_rows(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--items", type=int, default=50_048)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dry", action="store_true", help="write no file")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.part:
        print(json.dumps(run_part(options.part)))
        return
    rows = measured(options)
    for group, every in rows.items():
        for name, row in every.items():
            print(f"{group}: {name:<40}", *(f"{key} {value}" for key, value in row.items()))
    if not options.dry:
        del options.part
        results.write("data_path", rows, vars(options))


if __name__ == "__main__":
    main()
