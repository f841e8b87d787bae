import gzip
import os
import struct

import numpy as np
import pytest
import torch

from lehr.data.published.idx import read_idx

CODES = {
    "uint8": 0x08,
    "int8": 0x09,
    "int16": 0x0B,
    "int32": 0x0C,
    "float32": 0x0D,
    "float64": 0x0E,
}


def idx(array):
    head = struct.pack(f">4B{array.ndim}I", 0, 0, CODES[array.dtype.name], array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
PACKED = gzip.compress(GOOD, mtime=0)  # with a time in it, every process would name the tests anew


@pytest.fixture
def write(tmp_path):
    def put(content):
        path = tmp_path / "some-idx"
        path.write_bytes(content)
        return path

    return put


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("shape", [(6,), (2, 3, 4), (0, 5)])
def test_what_was_written_is_read(write, dtype, pack, shape):
    array = (
        (np.arange(np.prod(shape)) - (0 if dtype == "uint8" else 7)).reshape(shape).astype(dtype)
    )
    read = read_idx(write(pack(idx(array))))
    assert read.shape == shape
    assert torch.equal(read, torch.from_numpy(array))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "begins with nothing; expected 00 00, a type code"),
        (b"\0\0\x08", "begins with 00 00 08; expected"),
        (b"\x89PNG....", "is no IDX file: it begins with 89 50 4e 47"),
        (b"\0\0\x0a\1\0\0\0\0", "begins with 00 00 0a 01; expected 00 00, a type code .08, 09, 0b"),
        (b"\0\0\x08\0", "begins with 00 00 08 00"),
        (GOOD[:10], "ends within its header: it has 10 bytes of at least 16"),
        (GOOD[:-1], r"is cut short: shape \(2, 3, 4\) of uint8 needs 40 bytes, but it has 39"),
        (GOOD + b"x", "has trailing bytes: .* needs 40 bytes, but it has 41"),
        (b"\0\0\x0e\2" + b"\xff" * 8, "is cut short"),
        (
            gzip.compress(GOOD + b"x" * 9, mtime=0),
            "trailing bytes: .* needs 40 bytes, but it has more",
        ),
        (gzip.compress(GOOD[:-1], mtime=0), "is cut short: .* needs 40 bytes, but it has 39"),
        (gzip.compress(b"\0\0\x08\1" + b"\x7f" * 4, mtime=0), "would unpack from .* to 2,139,"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"x", "begins with 00 00 08 ff"),
        (PACKED[:-9], "must be a whole gzip file"),
        (PACKED[:-8] + b"\0" * 8, "must be a whole gzip file"),
        (PACKED[:10] + b"\xff" * 30, "must be a whole gzip file"),
    ],
)
def test_damaged_files_are_named(write, content, told):
    path = write(content)
    with pytest.raises(ValueError, match=told) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "none")


@pytest.mark.timeout(10)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="must be a plain file; it is a named pipe"):
        read_idx(tmp_path / "pipe")
