"""What the bits of a result depend on."""

import torch

from lehr.state.disk.environment import environment
from lehr.state.disk.plain import flatten


def test_it_is_plain_and_names_the_threads():
    found = environment()
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    structure, tensors = flatten(found)
    assert structure
    assert not tensors


def test_a_flag_that_changes_bits_shows(monkeypatch):
    before = environment()
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    after = environment()
    assert {name for name in before if before[name] != after[name]} == {"matmul"}
