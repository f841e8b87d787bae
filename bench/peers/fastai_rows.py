"""fastai: a Learner as it comes, and one without bar and log on torch's optimizer.

A Learner validates after each epoch; what it gets for that is one batch.
"""

from functools import partial

import trial
from fastai.basics import SGD, CrossEntropyLossFlat, DataLoaders, Learner, OptimWrapper
from fastai.callback.progress import ProgressCallback  # one of the defaults where it is imported
from side_by_side import BATCH_SIZE, new_model
from torch import nn, optim
from torch.utils.data import TensorDataset


def docs(task: trial.Task) -> trial.Entry:
    train, one_batch = (
        TensorDataset(task.x[:items], task.y[:items]) for items in (len(task.x), BATCH_SIZE)
    )
    dls = DataLoaders.from_dsets(train, one_batch, bs=BATCH_SIZE, device="cpu")
    model = new_model()
    learn = Learner(dls, model, loss_func=CrossEntropyLossFlat(), opt_func=SGD, lr=trial.LR)
    return trial.Entry(model, lambda: lambda: learn.fit(task.epochs))


def tuned(task: trial.Task) -> trial.Entry:
    one_batch = trial.Batches(task.x[:BATCH_SIZE], task.y[:BATCH_SIZE])
    model = new_model()
    learn = Learner(
        DataLoaders(task.batches(), one_batch),
        model,
        loss_func=nn.functional.cross_entropy,
        opt_func=partial(OptimWrapper, opt=optim.SGD),
        lr=trial.LR,
    )

    learn.remove_cb(ProgressCallback)

    def fit() -> None:
        with learn.no_logging():
            learn.fit(task.epochs)

    return trial.Entry(model, lambda: fit)


if __name__ == "__main__":
    trial.main("fastai", {"as its docs show it": docs, "tuned": tuned})
