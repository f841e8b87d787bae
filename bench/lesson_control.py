"""Two trainings without normalisation, written with nothing but PyTorch, over many seeds.

    python bench/lesson_control.py [--seeds 30]      # a quarter of an hour on one core

On the page of results both lie a little below what was published: T10 without normalisation at 0.4,
and T9 with Kaiming's start at 0.9. If the plain loop gives what lehr gives, that is the nets' own
spread, and nothing of lehr's. Needs MNIST in LEHR_DATA. Writes bench/results/.
"""

import argparse
import gzip
import os
import statistics
import sys
from pathlib import Path

import results
import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPOCHS, BATCH_SIZE = 2, 512


def read(name: str) -> Tensor:
    """One of the two files of MNIST's training images."""
    path = Path(os.environ["LEHR_DATA"]) / "mnist" / f"{name}-ubyte.gz"
    raw = bytearray(gzip.decompress(path.read_bytes()))
    return torch.frombuffer(raw, dtype=torch.uint8, offset=4 + 4 * raw[3])


def images() -> tuple[Tensor, Tensor]:
    """Normalised images ``(60000, 1, 28, 28)`` and their labels."""
    x = read("train-images-idx3").view(-1, 1, 28, 28) / 255
    std, mean = torch.std_mean(x[:50_000])
    return (x - mean) / std, read("train-labels-idx1").long()


def net(widths: tuple[int, ...], a: float) -> nn.Sequential:
    """Convolutions of stride 2, Kaiming's start for a leak of ``a``, then one linear layer."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(zip((1, *widths), widths, strict=False)):
        size = 5 if i == 0 else 3
        conv = nn.Conv2d(n_in, n_out, size, stride=2, padding=size // 2)
        nn.init.kaiming_normal_(conv.weight, a=a)
        nn.init.zeros_(conv.bias)
        layers += [conv, nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


def trained(seed: int, widths: tuple[int, ...], a: float, lr: float, data: Tensor, y: Tensor):
    """Validation accuracy after each epoch of a plain loop."""
    torch.manual_seed(seed)
    model = net(widths, a)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    found = []
    for _ in range(EPOCHS):
        for batch in torch.randperm(50_000).split(BATCH_SIZE):
            loss = F.cross_entropy(model(data[batch]), y[batch])
            loss.backward()
            opt.step()
            opt.zero_grad()
        with torch.no_grad():
            right = [
                (model(x).argmax(1) == t).sum().item()
                for x, t in zip(data[50_000:].split(1024), y[50_000:].split(1024), strict=True)
            ]
        found.append(sum(right) / 10_000)
    return found


TRAININGS = {
    "T10 no norm": ((8, 16, 32, 64, 64), 0.1, 0.4),
    "T9 kaiming": ((8, 16, 32, 32), 0.0, 0.9),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    data, y = images()
    rows = {}
    for name, (widths, a, lr) in TRAININGS.items():
        rows[name] = [trained(seed, widths, a, lr, data, y) for seed in range(seeds)]
        for epoch in range(EPOCHS):
            shares = sorted(run[epoch] for run in rows[name])
            sys.stderr.write(
                f"{name}, epoch {epoch + 1}: median {statistics.median(shares):.4f}, "
                f"from {shares[0]:.4f} to {shares[-1]:.4f}\n"
            )
        results.write("lesson_control", rows, {"seeds": seeds})


if __name__ == "__main__":
    main()
