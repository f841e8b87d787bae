"""lehr: the live table, no table, and one graph for the whole step."""

import torch.nn.functional as F
import trial
from side_by_side import BATCH_SIZE, new_model
from torch import optim

from lehr import DataBunch, Learner
from lehr.data import DataLoader, Dataset


def entry(task: trial.Task, **options: object) -> trial.Entry:
    data = DataBunch(DataLoader(Dataset(task.x, task.y), BATCH_SIZE, shuffle=True))
    model = new_model()
    opt = optim.SGD(model.parameters(), lr=trial.LR)
    learn = Learner(model, opt, F.cross_entropy, data, **options)
    return trial.Entry(model, lambda: lambda: learn.fit(task.epochs), lambda: learn.steps_done)


def default(task: trial.Task) -> trial.Entry:
    return entry(task)


def tuned(task: trial.Task) -> trial.Entry:
    return entry(task, progress=False)


def fused(task: trial.Task) -> trial.Entry:
    return entry(task, progress=False, compile="always")


if __name__ == "__main__":
    trial.main("lehr", {"default": default, "tuned": tuned, "fused": fused})
