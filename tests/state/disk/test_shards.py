"""The files that several processes write."""

import json

import pytest
import torch

from lehr.state.disk import shards
from lehr.state.disk.tensor_file import decode
from lehr.state.pieces import Shard, extent

WHOLE = torch.arange(10.0).reshape(5, 2)


def cut(part, parts=2, tensor=WHOLE):
    local = tensor[extent(len(tensor), part, parts)]
    return Shard(local, tuple(tensor.shape), 0, part=part, parts=parts)


def written(folder, parts=2, change=None):
    """A folder with such files; ``change`` may give a process other tensors."""
    for part in range(parts):
        tensors = {
            "model.weight": cut(part, parts),
            "model.step": torch.tensor(part),
            "opt.a": cut(part, parts),
        }
        tensors = change(part, tensors) if change else tensors
        for name, data in shards.contents(tensors, ["weight", "step"], part, parts).items():
            (folder / name).write_bytes(b"".join(data))
    return shards.index({"model.weight": cut(0, parts), "opt.a": cut(0, parts)})


def test_what_is_not_cut_is_in_the_file_of_the_first(tmp_path):
    written(tmp_path)
    first, second = (
        decode(bytearray((tmp_path / name).read_bytes())) for name in shards.file_names(2)[::2]
    )
    assert {name: tuple(x.shape) for name, x in first.items()} == {"weight": (3, 2), "step": ()}
    assert {name: tuple(x.shape) for name, x in second.items()} == {"weight": (2, 2)}


def test_tensors_are_read_under_their_names(tmp_path):
    tensors = shards.PartedTensors(tmp_path, written(tmp_path), 2)
    for name in shards.file_names(2):
        tensors.check(name)
    assert {name: x.shape for name, x in tensors.weights().items()} == {
        "weight": (5, 2),
        "step": (),
    }
    assert sorted(tensors.all()) == ["model.step", "model.weight", "opt.a"]
    assert tensors.all()["opt.a"].read().equal(WHOLE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda tensors: {**tensors, "opt.a": cut(1, 5)},
            r"is torch.float32 of \[1, 2\]; it should",
        ),
        (lambda tensors: {**tensors, "opt.a": cut(1, 2, WHOLE.double())}, "is torch.float64 of"),
        (lambda tensors: {"model.weight": tensors["model.weight"]}, "'opt.a' is missing"),
        (lambda tensors: {**tensors, "opt.b": cut(1)}, "'opt.b' belongs to no part"),
    ],
)
def test_files_that_do_not_fit_together_are_seen(change, said, tmp_path):
    index = written(tmp_path, change=lambda part, those: change(those) if part else those)
    tensors = shards.PartedTensors(tmp_path, index, 2)
    tensors.check("model-00002-of-00002.safetensors")
    with pytest.raises(ValueError, match=said):
        tensors.check("state-00002-of-00002.safetensors")


@pytest.mark.parametrize(
    "cut",
    [
        *({"shape": [3, 2], "dim": dim} for dim in (2, -1, True, "0", None)),
        *({"shape": shape, "dim": 0} for shape in ([], 3, [0, 2], [-1], [2.0], [2**63], [1] * 65)),
        [3, 2],
        None,
    ],
)
def test_an_index_that_says_something_else_is_refused(cut, tmp_path):
    text = json.dumps({"opt.a": cut}).encode()
    with pytest.raises(ValueError, match=r"it says of 'opt.a' .*, which is no cut"):
        shards.PartedTensors(tmp_path, text, 2)


def test_an_index_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="it is no JSON object"):
        shards.PartedTensors(tmp_path, b"[]", 2)


def test_a_tensor_that_nobody_wrote_is_missing(tmp_path):
    written(tmp_path)
    index = shards.index({"opt.gone": cut(0)})
    with pytest.raises(ValueError, match=r"'opt\.gone' is missing"):
        shards.PartedTensors(tmp_path, index, 2).all()


def test_a_name_in_both_files_is_refused(tmp_path):
    index = written(tmp_path)
    (tmp_path / "state-00001-of-00002.safetensors").write_bytes(
        b"".join(shards.encode({"model.weight": torch.zeros(2), "opt.a": WHOLE[:3]}))
    )
    with pytest.raises(ValueError, match=r"both hold 'model\.weight'"):
        shards.PartedTensors(tmp_path, index, 2).all()
