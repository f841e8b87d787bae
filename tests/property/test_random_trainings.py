"""Any training ends with the weights of the loop that one would write by hand.

A training is drawn: model, loss, optimizer, sizes, accumulation, weights, schedule, seed. The loop
by hand is written with PyTorch alone; only the order of the items and the keys of the generator are
the library's. Where every window is one batch, all bits are the same. A window of several sums its
gradient in another order; such cases are in double precision, where next to nothing is lost by it.
"""

import random
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn, optim

from lehr import Callback, DataBunch, Learner
from lehr.callbacks import ParamScheduler
from lehr.data import DataLoader, Dataset
from lehr.schedules import sched_cos, sched_exp, sched_lin
from lehr.state.streams import Streams, forked, rekeying
from tests.faults.figures import Tally
from tests.tier import count

OPTIMIZERS = {
    "sgd": lambda p, lr: optim.SGD(p, lr),
    "momentum": lambda p, lr: optim.SGD(p, lr, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda p, lr: optim.SGD(p, lr, momentum=0.8, nesterov=True),
    "adamw": lambda p, lr: optim.AdamW(p, lr / 10),
    "amsgrad": lambda p, lr: optim.Adam(p, lr / 10, amsgrad=True),
    "rmsprop": lambda p, lr: optim.RMSprop(p, lr / 20, centered=True),
    "adagrad": lambda p, lr: optim.Adagrad(p, lr),
    "nadam": lambda p, lr: optim.NAdam(p, lr / 10),
    "two groups": lambda p, lr: optim.SGD(
        [{"params": [q], "lr": lr / (1 + i)} for i, q in enumerate(p)]
    ),
}
SCHEDULES = {"none": None, "lin": sched_lin, "cos": sched_cos, "exp": sched_exp}
FEATURES, CLASSES = 5, 3
TALLY = Tally("random_trainings", "trainings", "wrong numbers", of=count(100))


@dataclass(frozen=True)
class Case:
    """Everything that decides a training."""

    seed: int
    items: int
    batch_size: int
    epochs: int
    widths: tuple[int, ...]
    act: type[nn.Module]
    norm: bool
    dropout: float
    loss: str
    reduction: str
    opt: str
    lr: float
    schedule: str
    windows: tuple[int, ...]
    masked: bool
    shuffle: bool
    drop_last: bool
    double: bool

    @property
    def single(self) -> bool:
        return set(self.windows) == {1}


def drawn(number: int) -> Case:
    rng = random.Random(number)
    windows = rng.choice([(1,), (1,), (2,), (3,), (1, 2), (3, 1, 2)])
    single = set(windows) == {1}
    items = rng.randint(4, 60)
    drop_last = rng.random() < 0.3
    loss = rng.choice(["cross entropy", "square"])
    return Case(
        seed=rng.randrange(10**6),
        items=items,
        batch_size=rng.randint(2, min(items, 17)),
        epochs=rng.randint(1, 3),
        widths=tuple(rng.randint(1, 9) for _ in range(rng.randint(0, 2))),
        act=rng.choice([nn.ReLU, nn.Tanh, nn.GELU]),
        norm=rng.random() < 0.3,
        dropout=rng.choice([0.0, 0.0, 0.3]),
        loss=loss,
        reduction=rng.choice(["mean", "mean", "sum"]),
        opt=rng.choice(list(OPTIMIZERS) if single else ["sgd", "momentum", "nesterov"]),
        lr=rng.choice([0.1, 0.03]),
        schedule=rng.choice(list(SCHEDULES)),
        windows=windows,
        masked=loss == "cross entropy" and rng.random() < 0.4,
        shuffle=rng.random() < 0.7,
        drop_last=drop_last,
        double=not single or rng.random() < 0.2,
    )


def data_of(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(case.seed)
    x = torch.randn(case.items, FEATURES, generator=generator)
    x = x.double() if case.double else x
    if case.loss == "square":
        return x, x[:, :CLASSES].sin()
    y = torch.randint(CLASSES, (case.items,), generator=generator)
    if case.masked:
        y[torch.rand(case.items, generator=generator) < 0.4] = -100
    return x, y


def model_of(case: Case) -> nn.Module:
    layers: list[nn.Module] = []
    last = FEATURES
    with forked(key=case.seed):
        for width in case.widths:
            layers += [nn.Linear(last, width), case.act()]
            layers += [nn.LayerNorm(width)] if case.norm else []
            layers += [nn.Dropout(case.dropout)] if case.dropout else []
            last = width
        model = nn.Sequential(*layers, nn.Linear(last, CLASSES))
    return model.double() if case.double else model


def loss_of(case: Case, pred: torch.Tensor, yb: torch.Tensor, reduction: str) -> torch.Tensor:
    """The mean or the sum over the items that count; a sum over nothing is 0."""
    if case.loss == "cross entropy":
        return F.cross_entropy(pred, yb, reduction=reduction)
    each = (pred - yb).square().mean(1)
    return each.mean() if reduction == "mean" else each.sum()


def items_in(case: Case, yb: torch.Tensor) -> int:
    return int((yb != -100).sum()) if case.masked else len(yb)


def window_ends(case: Case, batches: int) -> list[bool]:
    """For each batch of an epoch whether a window closes with it; the last one always does."""
    ends, left = [], 0
    for index in range(batches):
        left = left or case.windows[index % len(case.windows)]
        left -= 1
        ends.append(left == 0 or index == batches - 1)
        left = 0 if ends[-1] else left
    return ends


class Accumulate(Callback):
    """Closes the windows of the case."""

    batches_per_step = None

    def __init__(self, case: Case, batches: int) -> None:
        self.ends = window_ends(case, batches)

    def begin_batch(self, run):
        run.closes = not run.training or self.ends[run.batch_index]


def by_library(case: Case, loader: DataLoader):
    model = model_of(case)
    learn = Learner(
        model,
        OPTIMIZERS[case.opt](list(model.parameters()), case.lr),
        lambda pred, yb: loss_of(case, pred, yb, case.reduction),
        DataBunch(loader, DataLoader(loader.dataset, 7)),
        weight=lambda run: items_in(case, run.yb),
        reduction=case.reduction,
        seed=case.seed,
        progress=False,
    )
    callbacks = [] if case.single else [Accumulate(case, len(loader))]
    schedule = SCHEDULES[case.schedule]
    if schedule:
        callbacks.append(ParamScheduler("lr", schedule(case.lr, case.lr / 10), relative=False))
    steps = sum(window_ends(case, len(loader)))
    run = learn.fit(case.epochs, callbacks=callbacks, steps_per_epoch=steps)
    return model, run.history.rows, run.history["loss"]


def by_hand(case: Case, loader: DataLoader, *, weighted: bool = True):
    model = model_of(case)
    opt = OPTIMIZERS[case.opt](list(model.parameters()), case.lr)
    schedule = SCHEDULES[case.schedule] and SCHEDULES[case.schedule](case.lr, case.lr / 10)
    ends = window_ends(case, len(loader))
    planned, step, rows, losses = case.epochs * sum(ends), 0, [], []
    for epoch in range(case.epochs):
        model.train()
        rekey = rekeying(Streams(case.seed).key("batch", epoch))
        total = seen = 0.0
        window = []
        for index, batch in enumerate(loader.batches(case.seed, epoch)):
            window.append((index, *batch))
            if not ends[index]:
                continue
            if schedule:
                for group in opt.param_groups:
                    group["lr"] = schedule(step / planned)
            items = sum(items_in(case, yb) for _, _, yb in window)
            for number, xb, yb in window:
                rekey(number)
                pred, n = model(xb), items_in(case, yb)
                loss = loss_of(case, pred, yb, case.reduction)
                loss = loss if case.reduction == "mean" else loss / n
                losses.append(loss.item())
                if n:
                    share = n / items if weighted else 1 / len(window)
                    (loss if len(window) == 1 else loss * share).backward()
                    total, seen = total + loss.item() * n, seen + n
            if items:
                opt.step()
                step += 1
            opt.zero_grad()
            window = []
        model.eval()
        with torch.no_grad():
            x, y = loader.dataset.x, loader.dataset.y
            valid = loss_of(case, model(x), y, "mean").item() if items_in(case, y) else None
        rows.append((total / seen if seen else None, valid))
    return model, rows, losses


def difference(case: Case, ours: nn.Module, plain: nn.Module) -> str | None:
    """The first parameter that is not the same: bit for bit, or nearly so after accumulation."""
    near = 0.0 if case.single else 1e-9  # in double precision, which all accumulations have
    for (name, a), (_, b) in zip(ours.named_parameters(), plain.named_parameters(), strict=True):
        if not torch.allclose(a, b, rtol=near, atol=near / 100, equal_nan=True):
            return f"{name} differs by up to {(a - b).abs().max().item()}"
    return None


def loader_of(case: Case) -> DataLoader:
    order = {"shuffle": case.shuffle, "drop_last": case.drop_last}
    return DataLoader(Dataset(*data_of(case)), case.batch_size, **order)


@pytest.mark.filterwarnings("ignore:.*nothing was learnt")
@pytest.mark.parametrize("part", range(5))
def test_any_training_is_that_of_the_plain_loop(part):
    for number in range(part, count(100), 5):
        case = drawn(number)
        ours, rows, losses = by_library(case, loader_of(case))
        plain, plain_rows, plain_losses = by_hand(case, loader_of(case))
        found = difference(case, ours, plain)
        TALLY.add(good=found is None)
        assert found is None, f"case {number}: {case}"
        near = {"rel": 1e-5, "abs": 1e-6, "nan_ok": True}
        assert losses == pytest.approx(plain_losses, **near), f"case {number}: {case}"
        for row, expected in zip(rows, plain_rows, strict=True):
            losses_of_row = (row["train_loss"], row["valid_loss"])
            for value, by_hand_value in zip(losses_of_row, expected, strict=True):
                assert value == pytest.approx(by_hand_value, **near), f"case {number}: {case}"


def test_the_cases_are_of_every_kind():
    cases = [drawn(number) for number in range(100)]
    for field, least in {"opt": 9, "schedule": 4, "windows": 5, "act": 3, "epochs": 3}.items():
        assert len({getattr(case, field) for case in cases}) >= least, field
    for field in ("single", "masked", "shuffle", "drop_last", "double", "norm", "dropout"):
        assert {bool(getattr(case, field)) for case in cases} == {True, False}, field


CONTROLS = {
    "another seed": lambda case: by_hand(replace(case, seed=case.seed + 1), loader_of(case)),
    "one more epoch": lambda case: by_hand(replace(case, epochs=4), loader_of(case)),
    "other windows": lambda case: by_hand(replace(case, windows=(4,)), loader_of(case)),
    "every batch weighs the same": lambda case: by_hand(case, loader_of(case), weighted=False),
    "another lr": lambda case: by_hand(replace(case, lr=case.lr * 1.0001), loader_of(case)),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_negative_control_what_is_another_training_is_not_equal(name):
    case = replace(
        drawn(0),
        items=23,
        batch_size=4,
        epochs=2,
        widths=(6,),
        dropout=0.3,
        loss="square",
        opt="momentum",
        windows=(3,),
        masked=False,
        shuffle=True,
        drop_last=False,
        double=True,
    )
    ours, _, _ = by_library(case, loader_of(case))
    assert difference(case, ours, by_hand(case, loader_of(case))[0]) is None
    assert difference(case, ours, CONTROLS[name](case)[0]) is not None
