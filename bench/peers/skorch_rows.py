"""skorch: a NeuralNetClassifier as it comes, and one without callbacks on batches in memory."""

from typing import Any

import trial
from side_by_side import BATCH_SIZE, new_model
from skorch import NeuralNetClassifier
from torch import nn


class Gathers(trial.Batches):
    """Batches of a dataset of skorch; it asks for them as it asks a DataLoader."""

    def __init__(self, dataset: Any, batch_size: int) -> None:
        super().__init__(dataset.X, dataset.y)


def entry(task: trial.Task, **options: Any) -> trial.Entry:
    model = new_model()
    net = NeuralNetClassifier(
        model,
        criterion=nn.CrossEntropyLoss,
        lr=trial.LR,
        batch_size=BATCH_SIZE,
        max_epochs=task.epochs,
        train_split=None,
        **options,
    )
    return trial.Entry(model, lambda: lambda: net.fit(task.x, task.y))


def docs(task: trial.Task) -> trial.Entry:
    return entry(task, iterator_train__shuffle=True)


def tuned(task: trial.Task) -> trial.Entry:
    return entry(task, iterator_train=Gathers, callbacks="disable", verbose=0)


if __name__ == "__main__":
    trial.main("skorch", {"as its docs show it": docs, "tuned": tuned})
