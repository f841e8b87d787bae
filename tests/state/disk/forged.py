"""A checkpoint to try things with, and what a forger would make of it."""

import json

import pytest
import torch

from lehr.base import strict_json
from lehr.state.disk import checkpoint, manifest_text, vouched
from lehr.state.disk.checkpoint import DamagedCheckpoint
from lehr.state.snapshot import capture

INFO = {"run": "r", "serial": 7, "step": 12, "epoch": 1}


def snapshot() -> dict:
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 3)
    opt = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    opt.step()
    more = {"#cache": torch.ones(2), "_extra_state": {"x": torch.zeros(2), "n": 1}}
    found = capture({"model": model, "opt": opt})
    return {**found, "model": {**found["model"], **more}, "run": {"step": 12, "best": None}}


def sealed(folder, **changes) -> None:
    """Change what the manifest says, with the right checksum."""
    body = json.loads((folder / "manifest.json").read_text())
    body.pop("checksum")
    text = strict_json.dump({**body, **changes}, indent=1)
    (folder / "manifest.json").write_bytes(manifest_text.sealed(text))


def resealed(folder, name, data: bytes) -> None:
    """Forge a file, with all checksums right."""
    files = json.loads((folder / "manifest.json").read_text())["files"]
    (folder / name).write_bytes(data)
    sealed(folder, files={**files, name: {"size": len(data), "crc32": vouched.checksum_of(data)}})


def refused(folder, message) -> None:
    with pytest.raises(DamagedCheckpoint, match=message) as caught:
        checkpoint.read(folder)
    assert str(caught.value).startswith(f"{folder} cannot be used: ")
    assert str(caught.value).endswith(". Use another checkpoint.")
