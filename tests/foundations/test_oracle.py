"""The product's loop ends with the very bits of the lesson's plain loop over the same batches."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn, optim

from lehr import DataBunch, Learner, accuracy, data
from lehr.callbacks import Progress
from lehr.data import DataLoader, Dataset
from lehr.state.streams import Streams, rekeying
from lehr.testing import EventLog

OPTIMIZERS = {
    "sgd": lambda params: optim.SGD(params, lr=0.1),
    "momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "adamw": lambda params: optim.AdamW(params, lr=1e-2),
    "adamw fused": lambda params: optim.AdamW(params, lr=1e-2, fused=True),
    "amsgrad": lambda params: optim.Adam(params, lr=1e-2, amsgrad=True),
    "rmsprop": lambda params: optim.RMSprop(params, lr=1e-3, centered=True),
    "adagrad": lambda params: optim.Adagrad(params, lr=1e-2),
    "nadam": lambda params: optim.NAdam(params, lr=1e-2),
}


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 24),
        nn.BatchNorm1d(24),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(24, 10),
    )


def plain_fit(epochs, model, loss_func, opt, train_dl, valid_dl, seed):
    """The lesson's fit: five steps, then a weighted validation. Only the keys are ours."""
    results = []
    for epoch in range(epochs):
        model.train()
        key = Streams(seed).key("batch", epoch)
        for index, (xb, yb) in enumerate(train_dl.batches(seed, epoch)):
            rekeying(key)(index)
            pred = model(xb)
            loss = loss_func(pred, yb)
            loss.backward()
            opt.step()
            opt.zero_grad()
        model.eval()
        with torch.no_grad():
            total = correct = count = 0.0
            for xb, yb in valid_dl:
                pred = model(xb)
                total += loss_func(pred, yb).item() * len(xb)
                correct += accuracy(pred, yb).item() * len(xb)
                count += len(xb)
        results.append((total / count, correct / count))
    return results


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("listeners", ["none", "all"])
def test_bit_equal_weights_with_dropout_batchnorm_and_short_batches(name, listeners, capsys):
    bunch = data.digits(batch_size=50)
    ours, plain = make_model(), make_model()
    callbacks = [EventLog(), Progress("plain")] if listeners == "all" else []
    opt = OPTIMIZERS[name](ours.parameters())
    learn = Learner(
        ours, opt, F.cross_entropy, bunch, callbacks, [accuracy], seed=3, progress=False
    )
    run = learn.fit(2)
    opt = OPTIMIZERS[name](plain.parameters())
    results = plain_fit(2, plain, F.cross_entropy, opt, bunch.train_dl, bunch.valid_dl, seed=3)
    for (key, ours_value), plain_value in zip(
        ours.state_dict().items(), plain.state_dict().values(), strict=True
    ):
        assert torch.equal(ours_value, plain_value), key
    for row, (loss, acc) in zip(run.history.rows, results, strict=True):
        assert row["valid_loss"] == pytest.approx(loss, abs=1e-6)
        assert row["accuracy"] == pytest.approx(acc, abs=1e-6)


def test_negative_control_another_seed_or_one_more_step_is_not_equal():
    bunch = data.digits(batch_size=50)
    finals = []
    for seed, epochs in ((3, 2), (4, 2), (3, 3)):
        model = make_model()
        opt = optim.SGD(model.parameters(), lr=0.1)
        Learner(model, opt, F.cross_entropy, bunch, seed=seed, progress=False).fit(epochs)
        finals.append(model[1].weight.detach().clone())
    assert not torch.equal(finals[0], finals[1])
    assert not torch.equal(finals[0], finals[2])


def test_bit_equal_on_the_lessons_own_model_over_the_same_batches():
    x = torch.rand(1000, 784, generator=torch.Generator().manual_seed(0))
    y = (x[:, :10].argmax(1)).long()
    loader = DataLoader(Dataset(x, y), 64, shuffle=True)
    models = []
    for _ in range(2):
        torch.manual_seed(1)
        models.append(nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10)))
    opt = optim.SGD(models[0].parameters(), lr=0.5)
    Learner(models[0], opt, F.cross_entropy, DataBunch(loader), seed=0, progress=False).fit(2)
    opt = optim.SGD(models[1].parameters(), lr=0.5)
    for epoch in range(2):
        for xb, yb in loader.batches(0, epoch):
            F.cross_entropy(models[1](xb), yb).backward()
            opt.step()
            opt.zero_grad()
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(p, q)
