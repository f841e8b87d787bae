"""composer (mosaicml): its Trainer as it comes, and one without bar and logs.

It asks for an older torch, and imports torchvision, whose wheel wants a torch with CUDA for its own
operators. None of them is used here; without CUDA two must be named before torchvision is imported.
"""

from typing import Any

import torch
import torch.nn.functional as F
import trial
from side_by_side import BATCH_SIZE, new_model
from torch import optim

if not torch.backends.cuda.is_built():
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")

from composer import Trainer
from composer.core import DataSpec
from composer.models import ComposerModel


class Wrapped(ComposerModel):
    def __init__(self) -> None:
        super().__init__()
        self.net = new_model()

    def forward(self, batch: trial.Data) -> torch.Tensor:
        return self.net(batch[0])

    def loss(self, outputs: torch.Tensor, batch: trial.Data) -> torch.Tensor:
        return F.cross_entropy(outputs, batch[1])


def entry(task: trial.Task, loader: Any, **options: Any) -> trial.Entry:
    model = Wrapped()

    def ready() -> trial.Fit:
        trainer = Trainer(
            model=model,
            optimizers=optim.SGD(model.parameters(), lr=trial.LR),
            train_dataloader=loader,
            max_duration=f"{task.epochs}ep",
            device="cpu",
            **options,
        )
        return trainer.fit

    return trial.Entry(model.net, ready)


def docs(task: trial.Task) -> trial.Entry:
    return entry(task, task.torch_loader())


def tuned(task: trial.Task) -> trial.Entry:
    batches = DataSpec(task.batches(), get_num_samples_in_batch=lambda batch: len(batch[0]))
    return entry(
        task, batches, device_train_microbatch_size=BATCH_SIZE, progress_bar=False, loggers=[]
    )


if __name__ == "__main__":
    trial.main("mosaicml", {"as its docs show it": docs, "tuned": tuned})
