"""What accelerate has prepared in two processes; a case in `cases` has what it prepares in one."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import sys

import torch
from torch import nn

from accelerate import Accelerator
from lehr import Learner, accuracy, data, models
from lehr.callbacks import Accumulate, ClipGradients
from lehr.distributed import Distributed

how, path = sys.argv[1:]
torch.manual_seed(0)
model = models.mlp(64, 10)
opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
if how != "by itself":
    model, opt = Accelerator(cpu=True).prepare(model, opt)
learn = Learner(
    model,
    opt,
    nn.CrossEntropyLoss(),
    data.digits(batch_size=64),
    [Accumulate(2), ClipGradients(0.5)],
    metrics=[accuracy],
    seed=0,
    progress=False,
    engine=None if how == "without an engine" else Distributed(),
)
run = learn.fit(1)
learn.save(path)
if run.engine.rank == 0:
    print(type(learn.model).__name__, type(learn.opt).__name__, run.history["valid_loss"])
"""


def torchrun(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """How two processes ended that ran the script."""
    (folder / "train.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*command, "train.py", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module", autouse=True)
def accelerate():
    if find_spec("accelerate") is None:
        pytest.skip("accelerate is not installed: make test-clients")


@pytest.mark.slow
def test_a_prepared_model_and_optimizer_train_as_if_they_were_not(tmp_path):
    said = {}
    for how in ("by itself", "prepared"):
        done = torchrun(tmp_path, how, f"{how}.safetensors")
        assert done.returncode == 0, done.stderr
        said[how] = re.findall(r"^(\w+) (\w+) (\[.*\])$", done.stdout, re.M)[-1]
    assert said["by itself"][:2] == ("Sequential", "AdamW")
    assert said["prepared"][:2] == ("DistributedDataParallel", "AcceleratedOptimizer")
    (one,), (other,) = (eval(numbers) for *_, numbers in said.values())
    assert one == pytest.approx(other, abs=1e-6)
    own, prepared = (load_file(tmp_path / f"{how}.safetensors") for how in said)
    assert own.keys() == prepared.keys()
    for name in own:
        assert torch.allclose(own[name], prepared[name], atol=1e-6)


@pytest.mark.slow
def test_without_an_engine_it_is_said_what_to_write(tmp_path):
    done = torchrun(tmp_path, "without an engine", "never.safetensors")
    assert done.returncode != 0
    assert (
        "the model is in a DistributedDataParallel of 2 processes, and the Learner" in done.stderr
    )
    assert "Write Learner(…, engine=lehr.distributed.Distributed())" in done.stderr
    assert not (tmp_path / "never.safetensors").exists()
