"""The lesson's tables, measured again over several seeds; writes docs/results.md.

    python bench/lesson.py [--seeds 5] [--only T5 T7]      # half an hour on one core
    python bench/lesson.py --render                        # the page only, from the last results

Needs MNIST in LEHR_DATA. What is measured is merged with the last results, after every row.
"""

import argparse
import json
import runpy
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import lesson_page
import results
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

import lehr
from lehr import DataBunch, Learner, data, foundations, models
from lehr.callbacks import ParamScheduler
from lehr.init import kaiming_normal_, kaiming_uniform_, lsuv
from lehr.models import GeneralReLU, RunningBatchNorm
from lehr.record.metrics import accuracy
from lehr.schedules import (
    combine_scheds,
    cos_1cycle_anneal,
    one_cycle,
    one_cycle_momentum,
    sched_lin,
    sched_no,
)

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"

Scores = list[list[float | None]]
"""Validation loss (None if it is not finite) and accuracy, epoch by epoch."""


# -- what is trained


def perceptron() -> nn.Module:
    """784-50-10 with PyTorch's own initialisation."""
    return models.mlp(784, 10)


def convnet(init: Callable[..., Tensor] | None = kaiming_normal_, a: float = 0.1) -> nn.Module:
    """Four convolutions; by default drawn for a leak of 0.1, though the activation has none."""
    return _drawn(models.cnn(), init, a)


def deep_convnet() -> nn.Module:
    """Five convolutions without normalisation."""
    return _drawn(models.cnn(widths=(8, 16, 32, 64, 64)), kaiming_normal_)


def general_convnet() -> nn.Module:
    """Four convolutions with the lesson's rectifier."""
    return _with_rectifier(convnet(), partial(GeneralReLU, leak=0.1, sub=0.4, ceiling=6.0))


def shiftable_convnet() -> nn.Module:
    """`deep_convnet` with rectifiers that lsuv can shift; they do not yet."""
    return _with_rectifier(deep_convnet(), GeneralReLU)


def _with_rectifier(model: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(*(make() if isinstance(m, nn.ReLU) else m for m in model.children()))


class ScalarLayerNorm(nn.Module):
    """The lesson's LayerNorm: over all numbers of an item, with one scale and one shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        over = tuple(range(1, x.ndim))
        var, mean = torch.var_mean(x, over, keepdim=True)
        return (x - mean) * (var + 1e-5).rsqrt() * self.scale + self.shift


def normalised_convnet(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Module:
    """Five convolutions, each followed by its activation and only then by a normalisation."""
    layers: list[nn.Module] = []
    for layer in models.cnn(widths=(8, 16, 32, 64, 64), norm=True):
        if isinstance(layer, nn.ReLU):
            layers.insert(len(layers) - 1, layer)
        else:
            channels = isinstance(layer, nn.BatchNorm2d) and layer.num_features
            layers.append(norm(channels) if channels else layer)
    return _drawn(nn.Sequential(*layers), kaiming_normal_)


def strided_convnet() -> nn.Module:
    """Of the newer course: 1, 4, 8, 16, 16, 10 channels, five convolutions of stride 2."""
    widths, layers = (1, 4, 8, 16, 16, 10), list[nn.Module]()
    for n_in, n_out in pairwise(widths):
        layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Flatten())


class ShiftedConv(nn.Module):
    """A convolution and its activation, less a number that is not trained."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.register_buffer("shift", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x)) - self.shift


def shifted_convnet() -> nn.Module:
    """`deep_convnet` with a shift behind every activation, 0 for now."""
    layers = [layer for layer in deep_convnet() if not isinstance(layer, nn.ReLU)]
    return nn.Sequential(
        *(ShiftedConv(layer) if isinstance(layer, nn.Conv2d) else layer for layer in layers)
    )


def _drawn(model: nn.Module, init: Callable[..., Tensor] | None, a: float = 0.1) -> nn.Module:
    for layer in model.modules():
        if init and isinstance(layer, nn.Conv2d):
            init(layer.weight, a=a)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


def sgd(lr: float, momentum: float = 0.0) -> Callable[[Any], optim.Optimizer]:
    return lambda parameters: optim.SGD(parameters, lr=lr, momentum=momentum)


def adamw(lr: float = 0.01) -> Callable[[Any], optim.Optimizer]:
    return lambda parameters: optim.AdamW(parameters, lr=lr)


def weights_and_biases(parameters: Iterable[Tensor]) -> optim.Optimizer:
    """One group of weights, one of biases."""
    groups: list[list[Tensor]] = [[], []]
    for p in parameters:
        groups[p.ndim == 1].append(p)
    return optim.SGD([{"params": group} for group in groups], lr=0.3)


# -- how


def constant_rates(learn: Learner) -> list[ParamScheduler]:
    """Nothing is scheduled."""
    return []


@dataclass(frozen=True)
class Training:
    """One training: by default that of notebook 05."""

    opt: Callable[[Any], optim.Optimizer]
    epochs: int = 3
    schedules: Callable[[Learner], list[ParamScheduler]] = constant_rates
    batch_size: int = 512
    normalize: bool = False
    model: Callable[[], nn.Module] = perceptron
    prepare: Callable[[Learner], object] = lambda learn: None

    def __call__(self, seed: int, bunch: DataBunch | None = None) -> Scores:
        """Validation loss and accuracy, epoch by epoch."""
        bunch = bunch or mnist(self.batch_size, self.normalize)
        lehr.seed(seed)
        learn = Learner(
            self.model(),
            self.opt,
            F.cross_entropy,
            bunch,
            metrics=[accuracy],
            progress=False,
        )
        self.prepare(learn)
        history = learn.fit(self.epochs, self.schedules(learn)).history
        return _rows(zip(history["valid_loss"], history["accuracy"], strict=True))


def driven(*schedules: Any) -> Callable[[Learner], list[ParamScheduler]]:
    """The learning rate along a schedule; group by group if there are several."""
    if len(schedules) == 1:
        return lambda learn: [ParamScheduler("lr", schedules[0])]
    return lambda learn: [ParamScheduler("lr", s, group=i) for i, s in enumerate(schedules)]


def one_cycle_to(peak: float) -> Callable[[Learner], list[ParamScheduler]]:
    return driven(one_cycle(peak))


def momentum_cycle_to(peak: float) -> Callable[[Learner], list[ParamScheduler]]:
    """Momentum goes down while the learning rate goes up, and back."""
    rate = ParamScheduler("lr", one_cycle(peak))
    return lambda learn: [rate, ParamScheduler("momentum", one_cycle_momentum())]


def one_cycle_to_found(learn: Learner) -> list[ParamScheduler]:
    """One cycle whose peak is what `find_lr` suggests for this very model."""
    peak = learn.find_lr().suggestion
    if peak is None:
        raise RuntimeError("find_lr saw no fall of the loss")
    return [ParamScheduler("lr", one_cycle(peak))]


def cosines(share: float, *values: float) -> Any:
    return combine_scheds([share, 1 - share], cos_1cycle_anneal(*values))


def scaled_to_unit_variance(learn: Learner) -> None:
    """LSUV on the first training batch, from the Kaiming weights that are there.

    The last layer is left as it is: the lesson scales the convolutions alone.
    """
    xb, _ = learn.data.train_ds[:512]
    lsuv(learn.model, xb, orthogonal=False, kinds=nn.Conv2d)


@torch.no_grad()
def scaled_behind_activations(learn: Learner) -> None:
    """The lesson's LSUV: the shift takes the mean away, and only then is the weight divided."""
    x, _ = learn.data.train_ds[:512]
    for layer in learn.model:
        if isinstance(layer, ShiftedConv):
            layer.shift += layer(x).mean()
            layer.conv.weight /= layer(x).std()
        x = layer(x)


@cache
def mnist(batch_size: int, normalize: bool) -> DataBunch:
    return data.mnist(batch_size, normalize=normalize)


def _rows(pairs: Iterable[tuple[float, float]]) -> Scores:
    return [[round(n, 5) if isfinite(n) else None for n in pair] for pair in pairs]


# -- with the foundations: plain loops


def vectors(bunch: DataBunch) -> tuple[foundations.Dataset, foundations.Dataset]:
    """Training and validation items with flat inputs."""
    train, valid = bunch.train_ds, bunch.valid_ds
    return (
        foundations.Dataset(train.x.flatten(1), train.y),
        foundations.Dataset(valid.x.flatten(1), valid.y),
    )


def plain_fit(epochs: int, seed: int, bunch: DataBunch | None = None) -> Scores:
    """Rung 5's `fit`, batches of 64, learning rate 0.5."""
    train, valid = vectors(bunch or mnist(64, False))
    torch.manual_seed(seed)
    both = foundations.DataBunch(*foundations.get_dls(train, valid, 64), c=10)
    learn = foundations.Learner(*foundations.get_model(both), F.cross_entropy, both)
    lines = (foundations.fit(1, learn, report=lambda line: None) for _ in range(epochs))
    return _rows(line for line in lines if line)


def first_epochs(seed: int, bunch: DataBunch | None = None) -> dict[str, Scores]:
    """One epoch as the loop grows up; each row on the few items that were printed, then on all."""
    train, valid = vectors(bunch or mnist(64, False))
    torch_ds = torch.utils.data.TensorDataset(train.x, train.y)
    torch_dl = partial(torch.utils.data.DataLoader, torch_ds, batch_size=64, shuffle=True)
    last, first = train[len(train) // 64 * 64 :], train[:64]

    def scores(model: Any, few: Any, everything: Any = valid[:]) -> Scores:
        with torch.no_grad():
            preds = [(model(x), y) for x, y in (few, everything)]
        return _rows((F.cross_entropy(p, y).item(), accuracy(p, y).item()) for p, y in preds)

    def trained(batches: Iterable[Any], by_hand: bool = False) -> Any:
        torch.manual_seed(seed)
        layers = foundations.Linear(train.x.shape[1], 50), foundations.Linear(50, 10)
        model = foundations.Sequential(layers[0], foundations.ReLU(), layers[1])
        opt = foundations.Optimizer(model.parameters(), lr=0.5)
        for xb, yb in batches:
            if by_hand:
                F.cross_entropy(model(xb), yb).backward()
                with torch.no_grad():
                    for p in model.parameters():
                        p -= 0.5 * p.grad
                        p.grad.zero_()
            else:
                foundations.train_batch(xb, yb, model, F.cross_entropy, opt)
        return model

    slices = ((train.x[i : i + 64], train.y[i : i + 64]) for i in range(0, len(train), 64))
    shuffled = foundations.DataLoader(train, foundations.Sampler(train, 64, shuffle=True))
    untrained, in_order = trained([]), trained(foundations.SliceLoader(train, 64))
    return {
        "untrained, all": scores(untrained, train[:]),
        "untrained": scores(untrained, first),
        "by hand": scores(trained(slices, by_hand=True), last),
        "in order": scores(in_order, last),
        "in order, valid": scores(in_order, valid[:64]),
        "shuffled": scores(trained(shuffled), first),
        "torch loader": scores(trained(torch_dl()), first),
        "torch loader, drop_last": scores(trained(torch_dl(drop_last=True)), first),
    }


# -- the rows


LESSON_03 = Training(sgd(0.5), 5, batch_size=64)
LESSON_05 = Training(sgd(0.5))
LESSON_06 = Training(
    sgd(0.2), 8, driven(cosines(0.5, 0.2, 1.0, 0.1)), normalize=True, model=convnet
)
LESSON_07 = Training(
    sgd(0.6),
    8,
    driven(combine_scheds([0.3, 0.7], [sched_lin(0.6, 2.0), sched_lin(2.0, 0.1)])),
    normalize=True,
    model=normalised_convnet,
)
LESSON_07A = Training(sgd(0.6), 2, normalize=True, model=deep_convnet)
COSINES = cosines(0.3, 0.3, 0.6, 0.2)
NEWER = Training(
    sgd(0.4),
    10,
    driven(combine_scheds([0.5, 0.5], [sched_no(0.4, 0.4), sched_no(0.1, 0.1)])),
    batch_size=256,
    model=strided_convnet,
)
ONE_EPOCH = replace(LESSON_07, epochs=1, schedules=constant_rates)


def ours(table: str, lesson: Training) -> dict[str, Training]:
    """The same training with another schedule alone, and as we recommend it."""
    return {
        f"{table} schedule": replace(lesson, schedules=one_cycle_to(1.0)),
        f"{table} recommended": replace(lesson, opt=adamw(), schedules=one_cycle_to_found),
    }


def attempts(table: str, lesson: Training) -> dict[str, Training]:
    """The same training with each optimizer and each peak that was tried."""
    ways = {
        "SGD": (sgd(0.5), one_cycle_to),
        "momentum": (sgd(0.5, momentum=0.9), momentum_cycle_to),
        "AdamW": (adamw(), one_cycle_to),
    }
    return {
        f"tried {table} {name} {peak}": replace(lesson, opt=opt, schedules=schedules(peak))
        for name, (opt, schedules) in ways.items()
        for peak in lesson_page.PEAKS[name]
    }


OFTEN: dict[str, Callable[[int], Any]] = {
    "T4 stages": first_epochs,
    "T5 lesson": partial(plain_fit, 5),
    **ours("T5", LESSON_03),
    "T6 fit(1)": partial(plain_fit, 1),
    "T6 lesson": replace(LESSON_03, epochs=3),
    "T7 lr 0.5": LESSON_05,
    "T7 lr 0.3": replace(LESSON_05, opt=sgd(0.3)),
    "T7 combined": replace(LESSON_05, schedules=driven(COSINES)),
    "T7 groups": replace(
        LESSON_05,
        opt=weights_and_biases,
        schedules=driven(COSINES, cosines(0.3, 0.9, 1.8, 0.6)),
    ),
    **ours("T7", LESSON_05),
    "T9 default": Training(sgd(0.4), normalize=True, model=partial(convnet, None)),
    "T9 kaiming": Training(sgd(0.9), 2, normalize=True, model=partial(convnet, a=0.0)),
    "T9 GeneralReLU": Training(sgd(0.9), 1, normalize=True, model=general_convnet),
    "T10 no norm": replace(LESSON_07A, opt=sgd(0.4)),
    "T10 constant": replace(LESSON_07, opt=sgd(1.0), epochs=3, schedules=constant_rates),
    "T10 LayerNorm": replace(
        ONE_EPOCH, opt=sgd(0.8), epochs=3, model=partial(normalised_convnet, ScalarLayerNorm)
    ),
    "T10 running 32": replace(
        ONE_EPOCH,
        opt=sgd(1.0),
        schedules=driven(sched_lin(1.0, 0.2)),
        batch_size=32,
        model=partial(normalised_convnet, RunningBatchNorm),
    ),
    "T11 baseline": LESSON_07A,
    "T11 lesson": replace(LESSON_07A, model=shifted_convnet, prepare=scaled_behind_activations),
    "T11 LSUV": replace(LESSON_07A, model=shiftable_convnet, prepare=scaled_to_unit_variance),
    "T11 LSUV plain": replace(LESSON_07A, prepare=scaled_to_unit_variance),
    "T11 LSUV 0.4": replace(
        LESSON_07A, opt=sgd(0.4), model=shiftable_convnet, prepare=scaled_to_unit_variance
    ),
    "T11 LSUV plain 0.4": replace(LESSON_07A, opt=sgd(0.4), prepare=scaled_to_unit_variance),
}
"""Trainings of at most five epochs, which are quick: with twice as many seeds."""

SELDOM: dict[str, Callable[[int], Any]] = {
    "T9 normal": LESSON_06,
    "T9 uniform": replace(LESSON_06, model=partial(convnet, kaiming_uniform_)),
    **ours("T9", LESSON_06),
    "T10 lesson": LESSON_07,
    "T10 batch of 2": replace(ONE_EPOCH, opt=sgd(0.4), batch_size=2),
    "T10 running 2": replace(
        ONE_EPOCH,
        opt=sgd(0.4),
        batch_size=2,
        model=partial(normalised_convnet, RunningBatchNorm),
    ),
    "T13 newer": NEWER,
    **ours("T10", LESSON_07),
}
"""Convolutional nets over eight epochs or more, or with batches of two."""

TRIED = {
    **attempts("T5", LESSON_03),
    **attempts("T7", LESSON_05),
    **attempts("T9", LESSON_06),
    **attempts("T10", LESSON_07),
}
"""What the recommendation was chosen from, with two seeds."""

ROWS = OFTEN | SELDOM | TRIED


def seeds_of(name: str, seeds: int) -> range:
    """Twice as many for what is quick, two for what was only tried."""
    return range(2 if name in TRIED else 2 * seeds if name in OFTEN else seeds)


def study(draws: int) -> dict[str, Any]:
    """Tables T1 to T3, as the example measures them."""
    main = runpy.run_path(str(ROOT / "examples" / "why_sqrt5.py"))["main"]
    tables = {title.split(".")[0]: table for title, table in main(draws).items()}
    return {name: [row._asdict() for row in tables[name]] for name in ("T1", "T2", "T3")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["T1", *ROWS], help='e.g. T7 "T9 normal"')
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    if not options.render:
        torch.set_num_threads(1)
        rows = lesson_page.newest()["rows"] if lesson_page.measured() else {}
        save = partial(results.write, "lesson", rows, {"seeds": options.seeds})
        if "T1" in options.only:
            rows |= study(draws=10)
            save()
        for name, train in ROWS.items():
            if any(f"{name} ".startswith(f"{wanted} ") for wanted in options.only):
                rows[name] = [train(seed) for seed in seeds_of(name, options.seeds)]
                sys.stderr.write(f"{name}: {json.dumps(rows[name])[:300]}\n")
                save()
    PAGE.write_text(lesson_page.render(lesson_page.newest()))


if __name__ == "__main__":
    main()
