"""pytorch-ignite: a supervised trainer with a bar, and an engine around a step of one's own."""

import torch.nn.functional as F
import trial
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import ProgressBar
from side_by_side import new_model
from torch import nn, optim


def docs(task: trial.Task) -> trial.Entry:
    model, train_loader = new_model(), task.torch_loader()
    optimizer = optim.SGD(model.parameters(), lr=trial.LR)
    trainer = create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss())
    ProgressBar().attach(trainer)

    @trainer.on(Events.ITERATION_COMPLETED(every=100))
    def log_training_loss(engine: Engine) -> None:
        print(f"Epoch[{engine.state.epoch}], Iter[{engine.state.iteration}] {engine.state.output}")

    return trial.Entry(model, lambda: lambda: trainer.run(train_loader, max_epochs=task.epochs))


def tuned(task: trial.Task) -> trial.Entry:
    model, batches = new_model(), task.batches()
    optimizer = optim.SGD(model.parameters(), lr=trial.LR)

    def update(engine: Engine, batch: trial.Data) -> None:
        inputs, targets = batch
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()

    trainer = Engine(update)

    def fit() -> None:
        model.train()
        trainer.run(batches, max_epochs=task.epochs)

    return trial.Entry(model, lambda: fit)


if __name__ == "__main__":
    trial.main("pytorch-ignite", {"as its docs show it": docs, "tuned": tuned})
