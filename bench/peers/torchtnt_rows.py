"""torchtnt: an AutoUnit with a bar, and a TrainUnit with batches in memory."""

from typing import Any

import torch
import torch.nn.functional as F
import trial
from side_by_side import new_model
from torch import nn, optim
from torchtnt.framework.auto_unit import AutoUnit
from torchtnt.framework.callbacks import TQDMProgressBar
from torchtnt.framework.state import State
from torchtnt.framework.train import train
from torchtnt.framework.unit import TrainUnit


class Auto(AutoUnit[trial.Data]):
    def compute_loss(self, state: State, data: trial.Data) -> tuple[torch.Tensor, Any]:
        inputs, targets = data
        outputs = self.module(inputs)
        return F.cross_entropy(outputs, targets), outputs

    def configure_optimizers_and_lr_scheduler(self, module: nn.Module) -> tuple[Any, None]:
        return optim.SGD(module.parameters(), lr=trial.LR), None


class Bare(TrainUnit[trial.Data]):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.optimizer = optim.SGD(module.parameters(), lr=trial.LR)

    def train_step(self, state: State, data: trial.Data) -> None:
        inputs, targets = data
        F.cross_entropy(self.module(inputs), targets).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def docs(task: trial.Task) -> trial.Entry:
    model, loader = new_model(), task.torch_loader()

    def ready() -> trial.Fit:
        unit = Auto(module=model, device=torch.device("cpu"))
        return lambda: train(unit, loader, max_epochs=task.epochs, callbacks=[TQDMProgressBar()])

    return trial.Entry(model, ready)


def tuned(task: trial.Task) -> trial.Entry:
    model, batches = new_model(), task.batches()

    def ready() -> trial.Fit:
        unit = Bare(model)
        return lambda: train(unit, batches, max_epochs=task.epochs)

    return trial.Entry(model, ready)


if __name__ == "__main__":
    trial.main("torchtnt", {"as its docs show it": docs, "tuned": tuned})
