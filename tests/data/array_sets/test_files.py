import os
import re

import numpy as np
import pytest
import torch

from lehr.base import reading
from lehr.data.array_sets.files import read_items, read_npz, to_tensor


def test_npz(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3), names=np.array(["a", "b"]))
    found = read_npz(tmp_path / "a.npz")
    assert found["x"].tolist() == [0, 1, 2]
    assert found["names"].tolist() == ["a", "b"]


def test_items(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    np.savez_compressed(tmp_path / "b.npz", x=np.arange(4), y=np.arange(4))
    assert read_items(tmp_path / "a.npy").tolist() == [0, 1, 2]
    assert read_items(tmp_path / "b.npz").tolist() == [0, 1, 2, 3]


def test_a_file_without_names(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(ValueError, match=r"must be an .npz file with arrays x and y; it holds a"):
        read_npz(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", xs=np.arange(4))
    with pytest.raises(ValueError, match=r"must have an array x\. Use one of: xs"):
        read_items(tmp_path / "b.npz")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a.npz must be a file of arrays; it is not there"):
        read_npz(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match="it is a folder"):
        read_items(tmp_path)


@pytest.mark.timeout(10)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz must be a plain file; it is a named pipe"):
        read_npz(tmp_path / "a.npz")


def test_what_was_packed_to_fill_the_memory(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(100_000), y=np.zeros(100_000))
    read_npz(tmp_path / "a.npz")
    monkeypatch.setattr(reading, "UNPACKED_FREELY", 1_600_000)
    with pytest.raises(ValueError, match=r"a\.npz would unpack from .* to 1,600,256 bytes"):
        read_npz(tmp_path / "a.npz")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("something was executed",))


def damaged(tmp_path):
    np.savez(tmp_path / "whole.npz", x=np.arange(1000), y=np.arange(1000))
    np.save(tmp_path / "whole.npy", np.arange(1000))
    np.savez(tmp_path / "objects.npz", x=np.array([Bomb()], dtype=object))
    zipped, plain = ((tmp_path / f"whole.{kind}").read_bytes() for kind in ("npz", "npy"))
    flipped = bytearray(zipped)
    flipped[500] ^= 255
    return {
        "cut": zipped[:3000],
        "flipped": bytes(flipped),
        "cut_npy": plain[:500],
        "empty": b"",
        "text": b"x,y\n1,2\n",
        "pickle": b"\x80\x04K\x01.",
        "huge": plain.replace(b"(1000,)", b"(10**9,)"),
        "endless": plain.replace(b"(1000,), }  ", b"(1000000000000000,), }")[:200],
        "objects": (tmp_path / "objects.npz").read_bytes(),
    }


@pytest.mark.parametrize(
    "kind",
    ["cut", "flipped", "cut_npy", "empty", "text", "pickle", "huge", "endless", "objects"],
)
def test_damage(tmp_path, kind):
    file = tmp_path / "a.npz"
    file.write_bytes(damaged(tmp_path)[kind])
    message = re.escape(f"{file} must be a whole .npy or .npz file of numbers or text")
    with pytest.raises(ValueError, match=message):
        read_npz(file)


def test_tables_of_pandas_and_unsigned_numbers():
    pandas = pytest.importorskip("pandas")
    assert to_tensor("x", pandas.DataFrame({"a": [1.0], "b": [2.0]})).tolist() == [[1, 2]]
    long = to_tensor("x", np.array([60_000], dtype=np.uint16))
    assert (long.tolist(), long.dtype) == ([60_000], torch.int64)
    assert to_tensor("x", np.array([1], dtype=np.uint8)).dtype == torch.uint8


def test_tensors():
    x = torch.ones(2, requires_grad=True)
    assert not to_tensor("x", x * 2).requires_grad
    with pytest.raises(TypeError, match=r"y must be a tensor or array of numbers.* <U3"):
        to_tensor("y", np.array(["cat", "dog"]))
    with pytest.raises(TypeError, match="x must be a tensor or array of numbers"):
        to_tensor("x", [[1], [2, 3]])
    with pytest.raises(TypeError, match=r"x must hold real numbers; got torch.complex64"):
        to_tensor("x", torch.zeros(2, dtype=torch.complex64))
