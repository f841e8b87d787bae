"""CIFAR-10 to 94 % in seconds on a GPU, as a script of callbacks, beside the same by hand.

    python bench/cifar_speedrun.py [--repeats 5]
    python bench/cifar_speedrun.py --smoke      # few images, a small net and one epoch, on a CPU

The recipe is airbench94 (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU",
arXiv:2404.00498): a first layer that whitens patches, convolutions that begin as the identity, a
rate that rises and falls along lines, Nesterov momentum with 64 times the rate for the biases of
norms, label smoothing, Lookahead, mirror images in every other epoch, crops, and predictions that
are the mean over six views. It differs in this: bfloat16 under autocast instead of float16
throughout; Lookahead leaves the buffers of norms alone and moves a last time after the last step;
it trains on 45,000 images, and the accuracy is that on the last 5,000 of the training set.

Both loops train in turns in one process, each from the same weights, with another seed in every
repeat. Reported are accuracies, seconds and the ratio of each repeat, with the lowest and the
highest. Needs CIFAR-10's training set in LEHR_DATA. The result is written to bench/results.
"""

import argparse
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import results
import torch
import torch.nn.functional as F
from side_by_side import HAND_WRITTEN, compared, in_turns, in_words
from tasks import photographs
from torch import Tensor, nn, optim
from views import Views

from lehr import Callback, DataBunch, Learner, Run
from lehr.callbacks import BatchTransform, LabelSmoothing, Lookahead, MixedPrecision, ParamScheduler
from lehr.data import DataLoader, Dataset
from lehr.data.published.cifar10 import last_of_each
from lehr.record.metrics import accuracy
from lehr.schedules import combine_scheds, sched_lin


@dataclass(frozen=True)
class Recipe:
    """Its numbers, as airbench94 has them."""

    epochs: float = 9.9
    batch_size: int = 1024
    lr: float = 11.5
    """for the sum over 1,024 items, without momentum"""
    momentum: float = 0.85
    weight_decay: float = 0.0153
    bias_scale: float = 64.0
    smoothing: float = 0.2
    whitening_epochs: int = 3
    """in which the bias of the first layer is trained"""
    crop: int = 2
    k: int = 5
    """steps between two moves of Lookahead"""
    widths: tuple[int, ...] = (64, 256, 256)
    held: int = 5_000
    """images to measure on"""
    every: int = 1
    """of the images for training, one in so many is taken"""

    @property
    def mean_lr(self) -> float:
        """For the mean over the batch, with momentum."""
        return self.lr * self.batch_size / 1024 / (1 + 1 / (1 - self.momentum))


SMOKE = Recipe(epochs=1, batch_size=32, lr=2.0, widths=(8, 16, 16), held=100, every=150)

START, PEAK, END, SUMMIT = 0.2, 1.0, 0.07, 0.23
"""shares of the rate at the beginning, at the top and at the end, and where the top is"""


# -- the network


def block(n_in: int, n_out: int) -> list[nn.Module]:
    """Two convolutions, the image halved after the first."""
    return [
        nn.Conv2d(n_in, n_out, 3, padding="same", bias=False),
        *(nn.MaxPool2d(2), norm(n_out), nn.GELU()),
        nn.Conv2d(n_out, n_out, 3, padding="same", bias=False),
        *(norm(n_out), nn.GELU()),
    ]


def norm(width: int) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
    made.weight.requires_grad_(False)
    return made


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 9


def network(images: Tensor, widths: Sequence[int], seed: int) -> nn.Sequential:
    """From ``(batch, 3, 32, 32)`` to ``(batch, 10)``; its first layer whitens such images."""
    torch.manual_seed(seed)
    kernels = whitening(images)
    first = nn.Conv2d(3, len(kernels), 2)
    first.weight = nn.Parameter(kernels, requires_grad=False)
    nn.init.zeros_(first.bias)
    layers, n_in = [first, nn.GELU()], len(kernels)
    for width in widths:
        layers, n_in = [*layers, *block(n_in, width)], width
    for layer in layers[1:]:
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight.data[: layer.in_channels])
    head = nn.Linear(n_in, 10, bias=False)
    model = nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), head, Scaled())
    return model.to(images.device, memory_format=torch.channels_last)


def whitening(images: Tensor, size: int = 2, eps: float = 5e-4) -> Tensor:
    """Kernels whose outputs are uncorrelated and of variance 1 on such images, and their negatives.

    Returns ``(6 * size², 3, size, size)``.
    """
    patches = F.unfold(images.float(), size).transpose(1, 2).flatten(0, 1)  # (n, 3 * size²)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    kernels = (vectors / (values + eps).sqrt()).T.unflatten(1, (3, size, size))
    return torch.cat([kernels, -kernels])


def optimizer(model: nn.Module, recipe: Recipe) -> optim.SGD:
    """Biases of norms have a rate of their own; all decay by the same share in a step."""
    biases = [m.bias for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    own = {id(p) for p in biases}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    decay = recipe.weight_decay / recipe.lr
    groups = [
        {"params": others, "lr": recipe.mean_lr, "weight_decay": decay},
        {
            "params": biases,
            "lr": recipe.mean_lr * recipe.bias_scale,
            "weight_decay": decay / recipe.bias_scale,
        },
    ]
    return optim.SGD(groups, lr=recipe.mean_lr, momentum=recipe.momentum, nesterov=True)


WEIGHTS = (0.25, 0.25, 0.125, 0.125, 0.125, 0.125)
"""Of the views, in the mean that is predicted."""


def views(images: Tensor) -> Iterator[Tensor]:
    """What is predicted from: the image and two crops, each mirrored, too."""
    side = images.shape[-1]
    wider = F.pad(images, (1, 1, 1, 1), "reflect")
    for view in (images, wider[..., :side, :side], wider[..., 2 : side + 2, 2 : side + 2]):
        yield view
        yield view.flip(-1)


def weighted(preds: Iterable[Tensor]) -> Tensor:
    """The mean of what the model gives for each of the views."""
    pairs = zip(WEIGHTS, preds, strict=True)
    return torch.stack([weight * pred.float() for weight, pred in pairs]).sum(0)


def lookahead_share(position: float) -> float:
    """How far Lookahead's slow weights move: all the way at the beginning, a quarter at the end."""
    return 1 - 0.95**5 * position**3


# -- the data


@dataclass(frozen=True)
class Images:
    """Normalised images with their classes, on the device."""

    train: tuple[Tensor, Tensor]
    valid: tuple[Tensor, Tensor]

    @classmethod
    def read(cls, recipe: Recipe, device: str) -> "Images":
        pixels, labels = photographs()
        train, valid = last_of_each(labels, recipe.held)
        train = train[:: recipe.every]
        chosen = pixels[train].float() / 255
        mean, std = (make(chosen, dim=(0, 2, 3), keepdim=True) for make in (torch.mean, torch.std))

        def normalised(x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
            return ((x - mean) / std).to(device), labels[index].to(device)

        return cls(normalised(chosen, train), normalised(pixels[valid].float() / 255, valid))

    @property
    def some(self) -> Tensor:
        """5,000 images of all classes, or as many as there are."""
        x = self.train[0]
        return x[:: max(1, len(x) // 5_000)]

    def steps(self, recipe: Recipe) -> int:
        return max(1, round(recipe.epochs * (len(self.train[0]) // recipe.batch_size)))


# -- by lehr


class FreezeAfter(Callback):
    """Trains a parameter in the first epochs of a fit only."""

    state = ()
    by_length = False

    def __init__(self, parameter: nn.Parameter, epochs: int) -> None:
        self.parameter, self.epochs = parameter, epochs

    def begin_fit(self, run: Run) -> None:
        run.defer(partial(self.parameter.requires_grad_, self.parameter.requires_grad))

    def begin_epoch(self, run: Run) -> None:
        self.parameter.requires_grad_(run.epoch < self.epochs)


def learner(recipe: Recipe, images: Images, seed: int, *, half: bool) -> Learner:
    model = network(images.some, recipe.widths, seed)
    triangle = combine_scheds([SUMMIT, 1 - SUMMIT], [sched_lin(START, PEAK), sched_lin(PEAK, END)])
    callbacks = [
        ParamScheduler("lr", triangle, relative=True),
        BatchTransform(flip="alternate", crop=recipe.crop, padding="reflection"),
        LabelSmoothing(recipe.smoothing),
        Lookahead(recipe.k),
        ParamScheduler("callbacks.lookahead.alpha", lookahead_share),
        FreezeAfter(model[0].bias, recipe.whitening_epochs),
        Views(views, weighted),
        *([MixedPrecision("bf16")] if half else []),
    ]
    train = DataLoader(Dataset(*images.train), recipe.batch_size, shuffle=True, drop_last=True)
    data = DataBunch(train, DataLoader(Dataset(*images.valid), 1000))
    return Learner(
        model,
        optimizer(model, recipe),
        F.cross_entropy,
        data,
        callbacks,
        metrics=[accuracy],
        seed=seed,
        progress=False,
        rehearsal=False,
    )


def by_lehr(recipe: Recipe, images: Images, seed: int, *, half: bool) -> float:
    """The accuracy after the last step."""
    steps = images.steps(recipe)
    learn = learner(recipe, images, seed, half=half)
    return learn.fit(steps=steps, validate_every=f"{steps} steps").history["accuracy"][-1]


# -- by hand

Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]
"""Those of an epoch, as they are trained on"""


def trained_by_hand(
    recipe: Recipe, images: Images, seed: int, *, half: bool, batches: Batches | None = None
) -> nn.Sequential:
    """The same training as one would write it without a library."""
    model = network(images.some, recipe.widths, seed)
    opt, total, step = optimizer(model, recipe), images.steps(recipe), 0
    rates = [group["lr"] for group in opt.param_groups]
    batches = batches or own_batches(recipe, *images.train)
    fast = [p.data for p in model.parameters()]
    slow = [p.clone() for p in fast]
    for epoch in count():
        model[0].bias.requires_grad_(epoch < recipe.whitening_epochs)
        for xb, yb in batches(epoch):
            at = step / total
            share = START + (PEAK - START) * at / SUMMIT
            if at >= SUMMIT:
                share = PEAK + (END - PEAK) * (at - SUMMIT) / (1 - SUMMIT)
            for group, rate in zip(opt.param_groups, rates, strict=True):
                group["lr"] = rate * share
            with torch.autocast(xb.device.type, torch.bfloat16, enabled=half):
                pred = model(xb)
            F.cross_entropy(pred.float(), yb, label_smoothing=recipe.smoothing).backward()
            opt.step()
            opt.zero_grad()
            step += 1
            if step % recipe.k == 0 or step == total:
                torch._foreach_lerp_(slow, fast, lookahead_share(at))
                torch._foreach_copy_(fast, slow)
            if step == total:
                return model
    raise AssertionError("an epoch follows each")


def own_batches(recipe: Recipe, x: Tensor, y: Tensor) -> Batches:
    """Mirrored in every other epoch, cropped, and in another order each time."""
    mirror = torch.rand(len(x), device=x.device) < 0.5

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(x), device=x.device)
        for index in order.split(recipe.batch_size)[: len(x) // recipe.batch_size]:
            xb, which = x[index], mirror[index] ^ bool(epoch % 2)
            xb = torch.where(which[:, None, None, None], xb.flip(-1), xb)
            yield cropped(xb, recipe.crop), y[index]

    return batches


def cropped(xb: Tensor, most: int) -> Tensor:
    """Each image moved by up to so many pixels; what was outside is its reflection."""
    n, _, height, width = xb.shape
    down, right = torch.randint(2 * most + 1, (2, n, 1), device=xb.device)
    rows = (torch.arange(height, device=xb.device) + down)[:, None, :, None]
    columns = (torch.arange(width, device=xb.device) + right)[:, None, None, :]
    wider = F.pad(xb, (most,) * 4, "reflect")
    images = torch.arange(n, device=xb.device)[:, None, None, None]
    channels = torch.arange(xb.shape[1], device=xb.device)[:, None, None]
    return wider[images, channels, rows, columns]


@torch.no_grad()
def accuracy_by_hand(model: nn.Module, images: Images, *, half: bool) -> float:
    model.eval()
    right = torch.zeros((), device=images.valid[0].device)
    for xb, yb in zip(*(part.split(1000) for part in images.valid), strict=True):
        with torch.autocast(xb.device.type, torch.bfloat16, enabled=half):
            pred = weighted(model(view) for view in views(xb))
        right += (pred.argmax(1) == yb).sum()
    return right.item() / len(images.valid[0])


def by_hand(recipe: Recipe, images: Images, seed: int, *, half: bool) -> float:
    """The accuracy after the last step."""
    model = trained_by_hand(recipe, images, seed, half=half)
    return accuracy_by_hand(model, images, half=half)


# -- both


def measured(recipe: Recipe, device: str, repeats: int) -> dict[str, dict[str, Any]]:
    """A row for each of the two."""
    images, half = Images.read(recipe, device), device == "cuda"
    reached: dict[str, list[float]] = {HAND_WRITTEN: [], "lehr": []}

    def turns(name: str, train: Callable[..., float]) -> Callable[[], None]:
        return lambda: reached[name].append(
            train(recipe, images, len(reached[name]), half=half)  # the seed of its turn
        )

    fits = {HAND_WRITTEN: turns(HAND_WRITTEN, by_hand), "lehr": turns("lehr", by_lehr)}
    in_turns(fits, 1)  # the first is slower: CUDA is started, memory is allocated
    for ones in reached.values():
        ones.clear()
    steps = images.steps(recipe)
    rows = compared(in_turns(fits, repeats), steps)
    for name, ones in reached.items():
        rows[name] |= {
            "seconds": round(rows[name]["microseconds_a_step"] * steps / 1e6, 2),
            "accuracy": round(statistics.median(ones), 4),
            "accuracies": [round(min(ones), 4), round(max(ones), 4)],
        }
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=Recipe.epochs)
    parser.add_argument("--smoke", action="store_true", help="few images; writes no file")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    recipe = SMOKE if options.smoke else replace(Recipe(), epochs=options.epochs)
    rows = measured(recipe, device, 1 if options.smoke else options.repeats)
    for name, row in rows.items():
        low, high = row["accuracies"]
        reached = f"accuracy {row['accuracy']:.4f} [{low:.4f}, {high:.4f}]"
        print(f"{name:<14} {in_words(row)}, {row['seconds']} s, {reached}")
    if not options.smoke:
        results.write("cifar_speedrun", rows, vars(options), device=device)


if __name__ == "__main__":
    main()
