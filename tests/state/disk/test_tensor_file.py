"""The safetensors format, against the package of that name and against nonsense."""

import json
import tracemalloc

import pytest
import safetensors
import safetensors.torch
import torch

from lehr.state.differences import first_difference
from lehr.state.disk import tensor_file
from lehr.state.disk.plain import DTYPES


def example() -> dict[str, torch.Tensor]:
    found = {
        word: torch.arange(5).to(torch.uint8 if dtype.itemsize == 1 else dtype).view(dtype)
        for word, dtype in DTYPES.items()
    }
    found["BOOL"] = torch.tensor([True, False])
    return {**found, "scalar": torch.tensor(2.5), "none": torch.zeros(0, 3), "é.b": torch.ones(1)}


def joined(tensors) -> bytearray:
    return bytearray().join(tensor_file.encode(tensors))


def test_the_package_reads_what_is_written():
    there = safetensors.torch.load(bytes(joined(example())))
    assert first_difference(example(), there) is None


def test_what_the_package_writes_is_read():
    data = bytearray(safetensors.torch.save(example(), metadata={"by": "somebody"}))
    assert first_difference(example(), tensor_file.decode(data)) is None


def test_the_comparison_would_see_a_changed_byte():
    data = joined(example())
    data[-1] ^= 1
    assert first_difference(example(), tensor_file.decode(data)) is not None


def test_every_tensor_is_aligned():
    data = joined(example())
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert header.pop("__metadata__") == {"format": "pt"}
    assert size % 8 == 0
    for entry in header.values():
        assert entry["data_offsets"][0] % DTYPES[entry["dtype"]].itemsize == 0


def test_large_tensors_are_not_copied():
    x = torch.zeros(1_000_000)
    tensor_file.encode({"x": x})
    tracemalloc.start()
    parts = tensor_file.encode({"x": x, "y": torch.ones(3), "z": torch.ones(1_000_000)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    x[0] = 1  # which the part sees
    first = next(part for part in parts if len(part) == 4_000_000)
    assert bytes(first[:4]) != bytes(4)


def test_small_tensors_are_gathered():
    assert len(tensor_file.encode({str(i): torch.ones(3) for i in range(100)})) == 1


def test_tensors_share_no_memory():
    found = tensor_file.decode(joined({"a": torch.ones(2), "b": torch.ones(2)}))
    assert found["a"].untyped_storage().nbytes() == 8


def test_the_reserved_name():
    with pytest.raises(ValueError, match="a tensor cannot be called '__metadata__'"):
        tensor_file.encode({"__metadata__": torch.ones(1)})


def file(header, values=b"") -> bytearray:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return bytearray(len(text).to_bytes(8, "little") + text + values)


def entry(dtype="F32", shape=(1,), offsets=(0, 4), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytearray(b"\x01\x00"), "shorter than its header"),
        (bytearray(b"\xff" * 8 + b"{}"), "shorter than its header"),
        (bytearray((2**62).to_bytes(8, "little") + b"{}"), "shorter than its header"),
        (file(b"[]"), "its header is no JSON object"),
        (file(b"{"), "it is no JSON text"),
        (file(b'{"a":1,"a":1}'), "names 'a' twice"),
        (file({}, b"1"), "its tensors take 0 bytes; it holds 1"),
        (file({"a": entry()}, b"123"), "its tensors take 4 bytes; it holds 3"),
        (file({"a": entry(), "b": entry()}, b"1234"), "'b' begins at byte 0, not 4"),
        (file({"a": entry(offsets=(4, 8))}, b"12345678"), "'a' begins at byte 4, not 0"),
        (file({"a": entry(offsets=(4, 0))}), "tensor 'a' is described as"),
        (file({"a": entry(offsets=(-4, 0))}), "is described as"),
        (file({"a": entry(offsets=(0, 4, 8))}, b"1234"), "is described as"),
        (file({"a": entry(shape=(2,))}, b"1234"), "is described as"),
        (file({"a": entry(shape=(-1, -1))}, b"1234"), "is described as"),
        (file({"a": entry(shape=(2**62, 4, 2**62))}, b"1234"), "is described as"),
        (file({"a": entry(shape=(0, 2**62, 2**62), offsets=(0, 0))}), "is described as"),
        (file({"a": entry(shape=(1,) * 65)}, b"1234"), "is described as"),
        (file({"a": entry(shape=(1.0,))}, b"1234"), "is described as"),
        (file({"a": entry(shape=(True,))}, b"1234"), "is described as"),
        (file({"a": entry(dtype="C128", offsets=(0, 16))}, bytes(16)), "is described as"),
        (file({"a": entry(dtype=["F32"])}, b"1234"), "is described as"),
        (file({"a": 1}), "is described as 1, which is none"),
        (file({"a": {}}), "is described as"),
    ],
)
def test_nonsense_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        tensor_file.decode(data)


def test_huge_declarations_take_no_memory():
    data = file({"a": entry(shape=(2**40,), offsets=(0, 2**42))}, b"1234")
    tracemalloc.start()
    with pytest.raises(ValueError, match="its tensors take 4398046511104 bytes; it holds 4"):
        tensor_file.decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_a_mapped_file_has_the_same_tensors(tmp_path):
    (tmp_path / "a").write_bytes(joined(example()))
    file = tensor_file.Mapped(tmp_path / "a")
    there = {name: file.view(name).clone() for name in file.places}
    assert first_difference(there, example()) is None
    assert file.pieces("F32").rows(0, 1, 3).tolist() == [1.0, 2.0]


def test_what_is_written_to_a_view_stays_out_of_the_file(tmp_path):
    (tmp_path / "a").write_bytes(joined({"bias": torch.ones(3)}))
    file = tensor_file.Mapped(tmp_path / "a")
    file.view("bias").zero_()
    assert file.view("bias").tolist() == [1.0] * 3


@pytest.mark.parametrize("size", [0, 7, 40, -1])
def test_a_file_that_is_cut_is_not_mapped(size, tmp_path):
    data = joined({"bias": torch.ones(3)})
    (tmp_path / "a").write_bytes(data[:size])
    with pytest.raises(
        ValueError, match=r"it is shorter than its header|its tensors take 12 bytes"
    ):
        tensor_file.Mapped(tmp_path / "a")


def test_a_stream_is_the_file(tmp_path):
    (tmp_path / "a").write_bytes(joined(example()))
    file = tensor_file.Mapped(tmp_path / "a")
    pieces = {name: file.pieces(name) for name in example()}
    assert bytearray().join(tensor_file.stream(pieces)) == joined(example())
