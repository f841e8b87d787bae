"""keras on torch: compile and fit as it comes, and without bar and metric on whole batches."""

import os

os.environ["KERAS_BACKEND"] = "torch"

from typing import Any

import keras
import torch
import trial
from side_by_side import BATCH_SIZE, new_model


class Gathers(keras.utils.PyDataset):
    """Whole batches by their number; their order is drawn anew for every epoch."""

    def __init__(self, task: trial.Task) -> None:
        super().__init__()
        self.x, self.y = task.x, task.y
        self.on_epoch_begin()

    def on_epoch_begin(self) -> None:
        self.order = torch.randperm(len(self.x)).split(BATCH_SIZE)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, number: int) -> trial.Data:
        index = self.order[number]
        return self.x.index_select(0, index), self.y.index_select(0, index)


def model_of_keras(**options: Any) -> keras.Model:
    """With the weights that the others start from."""
    model = keras.Sequential(
        [
            keras.layers.Input((784,)),
            keras.layers.Dense(50, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    weights = [p.detach() for p in new_model().parameters()]
    model.set_weights([(w.T if w.ndim == 2 else w).numpy() for w in weights])
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate=trial.LR),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **options,
    )
    return model


def entry(model: keras.Model, fit: trial.Fit) -> trial.Entry:
    return trial.Entry(model, lambda: fit, lambda: int(model.optimizer.iterations))


def docs(task: trial.Task) -> trial.Entry:
    model = model_of_keras(metrics=["accuracy"])
    x, y = task.x.numpy(), task.y.numpy()
    return entry(model, lambda: model.fit(x, y, batch_size=BATCH_SIZE, epochs=task.epochs))


def tuned(task: trial.Task) -> trial.Entry:
    model, batches = model_of_keras(), Gathers(task)
    return entry(model, lambda: model.fit(batches, epochs=task.epochs, shuffle=False, verbose=0))


if __name__ == "__main__":
    trial.main("keras", {"as its docs show it": docs, "tuned": tuned})
