"""The page about Ray Train, with the real package, two workers and no accelerator.

Everything is done by one program, for a Ray takes its time to start.
"""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

DOCS = Path(__file__).parents[2] / "docs"
MORE = """
import json, shutil, sys, traceback
from pathlib import Path

import torch.distributed as dist
from ray.train import FailureConfig


class Fails(Callback):
    def after_step(self, run):
        if run.engine.rank == 1 and run.n_steps == 30:
            raise ValueError("the disk is full")


def fails():
    train([Fails()])


def fails_once():
    train([] if ray.train.get_checkpoint() else [Fails()])
    total = torch.ones(1)
    dist.all_reduce(total)  # the group is there, as Ray made it
    assert total.item() == 2


said = {}
for name, ended in {
    "straight": result,
    "restarted": trainer(fails_once, failure_config=FailureConfig(max_failures=1)).fit(),
}.items():
    with ended.checkpoint.as_directory() as folder:
        shutil.copytree(folder, name)
    said[name] = ended.metrics
try:
    trainer(fails).fit()
except Exception as error:
    said["failed"] = str(error)
Path("said.json").write_text(json.dumps(said))
"""
MANY = {  # seconds; Ray gives up early where others are at work
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "300",
    "RAY_AUTH_MODE": "disabled",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_ADDRESS": "local",
}


def block(page: str) -> str:
    (source,) = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)
    return source


def torchrun(folder: Path, processes: int) -> dict[str, torch.Tensor]:
    """The weights that the script of docs/distributed.md ends with."""
    folder.mkdir()
    (folder / "train.py").write_text(block("distributed.md"))
    run = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    subprocess.run([sys.executable, "-m", *run, "train.py"], cwd=folder, timeout=280, check=True)
    return load_file(folder / "saved" / "step-00000046" / "model.safetensors")


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """What a program says that runs the page, a fit that fails once, and one that fails."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed: make test-clients")
    folder = tmp_path_factory.mktemp("ray")
    (folder / "train.py").write_text(block("ray.md") + MORE)
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=folder,
        env=os.environ | MANY,
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return folder, json.loads((folder / "said.json").read_text(encoding="utf-8")), done.stdout


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(folder / name / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_the_weights_are_those_of_torchrun(ended, tmp_path):
    folder, said, printed = ended
    assert same(weights(folder, "straight"), torchrun(tmp_path / "two", 2))
    alone = torchrun(tmp_path / "one", 1)
    for name, tensor in weights(folder, "straight").items():
        assert torch.allclose(tensor, alone[name], atol=1e-6)
    assert said["straight"]["epoch"] == 1
    assert said["straight"]["accuracy"] > 0.7
    assert "2 processes, batches of 64 = 2 × 32" in printed


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_a_fit_that_ray_has_started_anew_goes_on_bit_for_bit(ended):
    folder, said, _ = ended
    assert same(weights(folder, "restarted"), weights(folder, "straight"))
    straight, restarted = ({**said[n], "seconds": None} for n in ("straight", "restarted"))
    assert straight == restarted


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_a_failure_of_one_worker_is_named(ended):
    assert "ValueError: the disk is full\nThis was rank 1 of 2." in ended[1]["failed"]
    assert "In Fails.after_step, epoch 1, training batch 6." in ended[1]["failed"]
