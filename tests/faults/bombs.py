"""Small files that unpack into a large memory, each read with little memory to spare.

``bombs.py FOLDER MEGABYTES``: prints for each what was said, as JSON.
"""

import gzip
import io
import json
import os
import sys
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from fuzz import limit_memory
from PIL import Image

from lehr.data import image_folder
from lehr.data.array_sets.files import read_npz
from lehr.data.published.cifar10 import ARCHIVE, read_cifar10
from lehr.data.published.idx import read_idx
from lehr.data.tables.columns import CategoryColumn
from lehr.data.tables.preparation import TablePreparation
from lehr.data.tables.text_table import TextTable
from lehr.state.disk.weight_files import read_weights

PIECE = bytes(1 << 24)
ZEROS = gzip.compress(PIECE, 1, mtime=0)  # one after the other, they are one gzip file


def images(root):
    """Forty images of 16 MB each, with two good ones."""
    good = io.BytesIO()
    Image.new("L", (8, 8)).save(good, "PNG")
    with zipfile.ZipFile(root / "images.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name in ("a", "b"):
            for i in range(4):
                file.writestr(f"{name}/good{i}.png", good.getvalue())
            for i in range(20):
                file.writestr(f"{name}/{i}.png", PIECE)
    return lambda: image_folder(root / "images.zip", skip_broken=True)


def idx_with_more(root):
    head = gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 9]))
    (root / "more").write_bytes(head + ZEROS * 64)
    return lambda: read_idx(root / "more")


def idx_that_promises(root):
    head = gzip.compress(bytes([0, 0, 8, 1, 0x40, 0, 0, 0]))
    (root / "promise").write_bytes(head + ZEROS * 64)
    return lambda: read_idx(root / "promise")


def cifar(root):
    (root / "cifar10").mkdir()
    member = tarfile.TarInfo("data_batch_1.bin")
    member.size = 1 << 30
    head = gzip.compress(member.tobuf())
    (root / "cifar10" / ARCHIVE).write_bytes(head + ZEROS * 64)
    return lambda: read_cifar10(root)


def npz(root):
    """A gigabyte of zeros; the packer has seen 16 MB of them and repeats itself."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": (64, len(PIECE))}
    )
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    first = packer.compress(head.getvalue()) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(PIECE) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = first + again * 64 + packer.flush()
    with zipfile.ZipFile(root / "a.npz", "w") as file:
        file.writestr("x.npy", packed)
        info = file.infolist()[0]
        info.file_size, info.compress_type = len(head.getvalue()) + (64 << 24), zipfile.ZIP_DEFLATED
    return lambda: read_npz(root / "a.npz")


def npz_that_lies(root):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40,)}
    )
    with zipfile.ZipFile(root / "lie.npz", "w") as file:
        file.writestr("x.npy", head.getvalue() + b"few")
    return lambda: read_npz(root / "lie.npz")


def categories(root):
    """A table of 40,000 rows, and a preparation, out of somebody's file, of as many categories."""
    names = tuple(f"u{i}" for i in range(40_000))
    text = TextTable(
        root / "a.csv", {"x": list(names), "y": ["a"] * len(names)}, [*range(len(names))]
    )
    return lambda: TablePreparation("y", ("a", "b"), (CategoryColumn("x", names),)).encode(text)


class Huge:
    def __reduce__(self):
        return bytearray, (1 << 30,)


def pickled(root):
    torch.save({"weight": torch.zeros(2), "huge": Huge()}, root / "a.pt")
    return lambda: read_weights(root / "a.pt")


BOMBS = [
    *(images, idx_with_more, idx_that_promises, cifar, npz, npz_that_lies, categories, pickled),
]


def main(folder, megabytes):
    root = Path(folder)
    ready = {bomb.__name__: bomb(root) for bomb in BOMBS}
    limit_memory(int(megabytes))
    said = {}
    for name, read in ready.items():
        try:
            said[name] = repr(read())
        except BaseException as error:
            said[name] = f"{type(error).__name__}: {error}"
    assert "MemoryError" in try_to_take(int(megabytes)), "there was no limit"
    sizes = {path.name: path.stat().st_size for path in root.rglob("*") if path.is_file()}
    print(json.dumps({"said": said, "sizes": sizes}))


def try_to_take(megabytes):
    try:
        return str(len(bytes(megabytes << 20)))
    except MemoryError as error:
        return f"MemoryError {error}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ["MALLOC_ARENA_MAX"] = "1"
    main(*sys.argv[1:])
