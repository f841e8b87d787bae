"""What the tests of the logs of services share: a fit that was killed and resumed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from lehr.testing import tiny_learner

SCRIPT = Path(__file__).with_name("killed.py")


def run_script(name, folder, batches):
    """How a fit in a process of its own has ended."""
    command = [sys.executable, "-W", "ignore", str(SCRIPT), name, str(folder), str(batches)]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run(command, capture_output=True, text=True, env=ours)
    if batches:
        assert done.returncode == -signal.SIGKILL, done.stderr
    else:
        assert done.returncode == 0, done.stderr


def killed_and_resumed(name, folder):
    """A fit of twelve batches that was killed twice, after the checkpoint, and then resumed."""
    for batches in (5, 10, 0):
        run_script(name, folder, batches)


def expected(named=lambda name: name):
    """Where the points of the columns stand in a fit that was never killed."""
    run = tiny_learner().fit(3, validate_every="2 steps")
    points = {named(name): list(series.batches) for name, series in run.history.series.items()}
    for row in run.history.rows:
        for name, value in row.items():
            axis = points.setdefault(named(name), [])
            if value is not None and row["step"] - 1 not in axis:
                axis.append(row["step"] - 1)
    return {name: axis for name, axis in points.items() if axis}
