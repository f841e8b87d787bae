"""accelerate: the loop of its quick tour, and only its backward around batches in memory."""

import torch.nn.functional as F
import trial
from accelerate import Accelerator
from side_by_side import new_model
from torch import optim


def docs(task: trial.Task) -> trial.Entry:
    accelerator, net = Accelerator(cpu=True), new_model()
    model, optimizer, training_dataloader = accelerator.prepare(
        net, optim.SGD(net.parameters(), lr=trial.LR), task.torch_loader()
    )

    def fit() -> None:
        for _ in range(task.epochs):
            for inputs, targets in training_dataloader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(inputs), targets)
                accelerator.backward(loss)
                optimizer.step()

    return trial.Entry(net, lambda: fit)


def tuned(task: trial.Task) -> trial.Entry:
    accelerator, net = Accelerator(cpu=True), new_model()
    model, optimizer = accelerator.prepare(net, optim.SGD(net.parameters(), lr=trial.LR))
    batches = task.batches()

    def fit() -> None:
        for _ in range(task.epochs):
            for inputs, targets in batches:
                accelerator.backward(F.cross_entropy(model(inputs), targets))
                optimizer.step()
                optimizer.zero_grad()

    return trial.Entry(net, lambda: fit)


if __name__ == "__main__":
    trial.main("accelerate", {"as its docs show it": docs, "tuned": tuned})
