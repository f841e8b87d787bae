"""lightning: a Trainer as it comes, and a bare one with batches in memory."""

from typing import Any

import lightning
import torch
import torch.nn.functional as F
import trial
from side_by_side import new_model
from torch import nn, optim


class Bare(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = new_model()

    def training_step(self, batch: trial.Data, batch_idx: int) -> torch.Tensor:
        inputs, targets = batch
        return F.cross_entropy(self.net(inputs), targets)

    def configure_optimizers(self) -> optim.Optimizer:
        return optim.SGD(self.parameters(), lr=trial.LR)


class Logging(Bare):
    def training_step(self, batch: trial.Data, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss)
        return loss


def entry(task: trial.Task, module: Bare, loader: Any, **options: Any) -> trial.Entry:
    def ready() -> trial.Fit:
        trainer = lightning.Trainer(max_epochs=task.epochs, accelerator="cpu", **options)
        return lambda: trainer.fit(module, loader)

    net: nn.Module = module.net
    return trial.Entry(net, ready)


def docs(task: trial.Task) -> trial.Entry:
    return entry(task, Logging(), task.torch_loader())


def tuned(task: trial.Task) -> trial.Entry:
    return entry(task, Bare(), task.batches(), barebones=True)


if __name__ == "__main__":
    trial.main("lightning", {"as its docs show it": docs, "tuned": tuned})
