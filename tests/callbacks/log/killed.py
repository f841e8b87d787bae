"""A fit that is killed in the middle, in a process of its own; or resumed. Run by the tests.

python killed.py CLASS FOLDER BATCHES     # kills itself after so many batches; 0 resumes
"""

import os
import signal
import sys
import time
from pathlib import Path

from lehr import Callback, callbacks
from lehr.callbacks import Checkpoint
from lehr.testing import tiny_learner


def log(name: str, folder: Path) -> Callback:
    if name == "TensorBoardLog":
        return callbacks.TensorBoardLog(folder / "tensorboard")
    if name == "WandbLog":
        return callbacks.WandbLog(folder=folder, mode="offline")
    store = name.partition(":")[2]
    uri = f"file://{folder}/mlruns" if store == "file" else f"sqlite:///{folder}/mlflow.db"
    return callbacks.MLflowLog("tests", tracking_uri=uri)


class Kill(Callback):
    state = ()
    replays = False

    def __init__(self, batches: int, wait: float):
        self.batches, self.wait = batches, wait

    def after_batch(self, run):
        if run.training and run.n_iter == self.batches:
            time.sleep(self.wait)  # so long that what was sent may have arrived
            os.kill(os.getpid(), signal.SIGKILL)


def main(name: str, folder: Path, batches: int) -> None:
    saving = Checkpoint(folder / "checkpoints", every="3 steps")
    learn = tiny_learner([log(name, folder), saving, Kill(batches, 0.5)])
    learn.fit(3, validate_every="2 steps", resume="auto")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
