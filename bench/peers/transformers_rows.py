"""transformers: its Trainer as it comes but for SGD, and one that neither logs nor saves."""

from typing import Any

import torch
import torch.nn.functional as F
import trial
from side_by_side import BATCH_SIZE, new_model
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments


class WithLoss(nn.Module):
    """A Trainer wants the loss from the model."""

    def __init__(self) -> None:
        super().__init__()
        self.net = new_model()

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.net(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class Items(Dataset[dict[str, torch.Tensor]]):
    def __init__(self, task: trial.Task) -> None:
        self.x, self.y = task.x, task.y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index], "labels": self.y[index]}


class Named(trial.Batches):
    def __iter__(self) -> Any:
        return ({"x": x, "labels": y} for x, y in super().__iter__())


class InMemory(Trainer):
    """Takes batches of data in memory for those of a loader."""

    def get_train_dataloader(self) -> Any:
        return Named(self.train_dataset.x, self.train_dataset.y)


def entry(task: trial.Task, kind: type[Trainer], **options: Any) -> trial.Entry:
    model, items = WithLoss(), Items(task)

    def ready() -> trial.Fit:
        arguments = TrainingArguments(
            output_dir="out",
            num_train_epochs=task.epochs,
            per_device_train_batch_size=BATCH_SIZE,
            learning_rate=trial.LR,
            optim="sgd",
            lr_scheduler_type="constant",
            use_cpu=True,
            **options,
        )
        return kind(model=model, args=arguments, train_dataset=items).train

    return trial.Entry(model.net, ready)


def docs(task: trial.Task) -> trial.Entry:
    return entry(task, Trainer)


def tuned(task: trial.Task) -> trial.Entry:
    return entry(
        task,
        InMemory,
        disable_tqdm=True,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        max_grad_norm=0.0,
    )


if __name__ == "__main__":
    trial.main("transformers", {"as its docs show it": docs, "tuned": tuned})
