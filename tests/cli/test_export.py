"""``lehr export``: what it writes gives what ``lehr predict`` prints."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lehr.data import preparation_from

TABLE = ["rooms,job,price"] + [
    f"{i % 7},{'cook' if i % 3 else 'nurse'},{100 * i}" for i in range(40)
]


@pytest.fixture
def pictures(succeed):
    """A run on pictures, as ``run``."""
    for label, name in enumerate(("blue", "red")):
        Path("data", name).mkdir(parents=True)
        for i in range(8):
            pixels = np.random.default_rng(i).integers(0, 60, (10, 10, 3), dtype=np.uint8)
            pixels[..., 2 - 2 * label] += 150
            Image.fromarray(pixels).save(Path("data", name, f"{i}.png"))
    options = ("--epochs", 1, "--seed", 0, "--lr", 0.01, "--workers", 0, "--out", "run")
    succeed("train", "data", *options)
    return sorted(Path("data").rglob("*.png"))


def predicted(succeed, files, first):
    rows = list(csv.reader(io.StringIO(succeed("predict", "run", *files))))[1:]
    return torch.tensor([[float(value) for value in row[first:]] for row in rows])


def preparation(text):
    return preparation_from(json.loads(text))


@pytest.mark.slow
def test_a_program_gives_the_probabilities_that_predict_prints(succeed, pictures):
    out = succeed("export", "run")
    assert "program: run/model.pt2" in out
    assert "input:   float32 (items, 3, 10, 10), prepared as preparation.json in it says" in out
    assert "output:  float32 (items, 2), the probability of each class" in out
    notes = {"preparation.json": ""}
    program = torch.export.load("run/model.pt2", extra_files=notes).module()
    (_, xb), *_ = preparation(notes["preparation.json"]).batches(pictures)
    expected = predicted(succeed, pictures, 2)
    assert torch.allclose(program(xb), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(program(xb.flip(0)), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_program_gives_numbers_in_the_units_of_the_target(succeed):
    Path("homes.csv").write_text("\n".join(TABLE))
    options = ("--target", "price", "--epochs", 1, "--seed", 0, "--lr", 0.01, "--out", "run")
    succeed("train", "homes.csv", "--regression", *options)
    assert "in the target's units" in succeed("export", "run", "--out", "homes.pt2")
    notes = {"preparation.json": ""}
    program = torch.export.load("homes.pt2", extra_files=notes).module()
    (_, xb), *_ = preparation(notes["preparation.json"]).batches([Path("homes.csv")])
    expected = predicted(succeed, ["homes.csv"], 1)
    assert torch.allclose(program(xb), expected, rtol=1e-5)
    assert expected.abs().max() > 100


@pytest.mark.slow
def test_onnx_gives_the_probabilities_that_predict_prints(succeed, pictures):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: make test-clients")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    succeed("export", "run", "--to", "onnx")
    notes = {p.key: p.value for p in onnx.load("run/model.onnx").metadata_props}
    (_, xb), *_ = preparation(notes["preparation.json"]).batches(pictures)
    session = runtime.InferenceSession("run/model.onnx")
    (got,) = session.run(None, {session.get_inputs()[0].name: xb.numpy()})
    expected = predicted(succeed, pictures, 2)
    assert torch.allclose(torch.as_tensor(got), expected, rtol=0, atol=1e-5)


def test_what_cannot_be_exported_is_refused(refused):
    assert refused("export", "run", "--to", "ptt") == (
        "there is no format 'ptt'. Use one of: pt2, onnx."
    )
    assert refused("export", "run", "--out", "a.onnx") == (
        "--out must end in .pt2; got a.onnx. Give another name, or --to."
    )
    assert "there is no folder nowhere. Make it first." in refused(
        "export", "run", "--out", "nowhere/a.pt2"
    )
    assert "run is no run folder" in refused("export", "run", "--out", "a.pt2", code=1)


def test_a_file_is_replaced_only_if_that_is_asked_for(refused):
    Path("a.pt2").write_text("mine")
    assert refused("export", "run", "--out", "a.pt2") == (
        "a.pt2 exists. Choose another name, or add --overwrite."
    )
    assert Path("a.pt2").read_text() == "mine"
