"""MNIST in five minutes on two cores: the accuracy on the last 10,000 training images, over seeds.

    python bench/mnist.py [--seeds 5]
    python bench/mnist.py --choose --seeds 3 [--rotate 15] [--ema 0]    # how the recipe was chosen

The recipe was chosen on the first 50,000 images alone: with --choose, it trains on the first 40,000
and is measured on the 10,000 after them. Needs MNIST in LEHR_DATA.
"""

import argparse
import statistics
from collections.abc import Iterator, Sequence
from functools import partial
from time import perf_counter

import results
import torch
from torch import Tensor, nn, optim
from views import Views

from lehr import Callback, DataBunch, Learner, models, seed
from lehr.callbacks import EMA, BatchTransform, ParamScheduler
from lehr.data import DataLoader, Dataset
from lehr.data.published.mnist import read_mnist
from lehr.record.metrics import accuracy
from lehr.schedules import one_cycle


def shifted(images: Tensor) -> Iterator[Tensor]:
    """The images, and moved by a pixel to each side."""
    for shift in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)):
        yield images.roll(shift, (2, 3))  # the border is empty


def mean_of_chances(preds: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of the probabilities that the model gives."""
    return torch.stack([pred.softmax(1) for pred in preds]).mean(0).log()


def data(batch_size: int, *, choose: bool) -> DataBunch:
    """Both parts, normalised with the training part's mean and standard deviation.

    The outer two pixels of each side, which are empty in nearly all images, are left out.
    """
    images, labels = read_mnist()
    start, end = (40_000, 50_000) if choose else (50_000, 60_000)
    x = images[:, None, 2:-2, 2:-2].float() / 255
    x = (x - x[:start].mean()) / x[:start].std()
    train, valid = Dataset(x[:start], labels[:start]), Dataset(x[start:end], labels[start:end])
    return DataBunch(DataLoader(train, batch_size, shuffle=True), DataLoader(valid, 1000))


def callbacks(options: argparse.Namespace) -> list[Callback]:
    """The schedule, the changes of the images, and the average of the weights."""
    moved = BatchTransform(
        rotate=options.rotate, zoom=options.zoom, shift=options.shift, cutout=options.cutout
    )
    average = [EMA(options.ema)] if options.ema else []
    return [
        ParamScheduler("lr", one_cycle(options.lr)),
        moved,
        Views(shifted, mean_of_chances),
        *average,
    ]


def trained(options: argparse.Namespace, number: int) -> tuple[float, float]:
    """Accuracy after the last epoch, and the seconds of training and the one validation."""
    seed(number)
    model = models.resnet(1, 10, widths=tuple(options.widths), stem_stride=options.stem_stride)
    model = model.to(memory_format=torch.channels_last)  # convolutions are a third faster so
    opt = partial(optim.AdamW, lr=options.lr, weight_decay=options.weight_decay)
    loss = nn.CrossEntropyLoss(label_smoothing=options.smoothing)
    bunch = data(options.batch, choose=options.choose)
    learn = Learner(model, opt, loss, bunch, callbacks(options), metrics=[accuracy])
    start = perf_counter()
    run = learn.fit(options.epochs, validate_every=f"{options.epochs} epochs")
    return run.history["accuracy"][-1], perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--choose", action="store_true", help="train on the first 40,000 images")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.005)
    parser.add_argument("--weight-decay", type=float, default=0.3)
    parser.add_argument("--smoothing", type=float, default=0.1)
    parser.add_argument("--rotate", type=float, default=10.0)
    parser.add_argument("--zoom", type=float, default=1.1)
    parser.add_argument("--shift", type=float, default=0.08)
    parser.add_argument("--cutout", type=float, default=0.0)
    parser.add_argument("--ema", type=float, default=0.995)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--stem-stride", type=int, default=2)
    options = parser.parse_args(arguments)
    found = [trained(options, options.first + number) for number in range(options.seeds)]
    accuracies, seconds = zip(*found, strict=True)
    for number, (reached, took) in enumerate(found, options.first):
        print(f"seed {number}: {reached:.4f} in {took:.0f} s")
    rows = {
        "accuracy, median": round(statistics.median(accuracies), 4),
        "accuracy, lowest": round(min(accuracies), 4),
        "accuracy, highest": round(max(accuracies), 4),
        "seconds, median": round(statistics.median(seconds)),
    }
    print(rows)
    if not options.choose:
        results.write("mnist", rows, vars(options))


if __name__ == "__main__":
    main()
