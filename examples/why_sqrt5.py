# ruff: noqa: T201
"""Does the default initialisation keep the signal? The √5 study in one file.

    python examples/why_sqrt5.py

PyTorch's convolutions and linear layers start from ``kaiming_uniform_(weight, a=√5)``. That gain,
√(2 / (1 + 5)) = 1/√3, is the standard deviation of U(−1, 1): in other words the weights are drawn
from U(±1/√fan_in), a choice older than the rectifier, and every ReLU layer shrinks the signal.

Four tables set what was published (two executions of a notebook, one draw each) and what theory
says beside several draws made here. The input is the first 100 validation images of MNIST if the
environment variable LEHR_DATA names a folder that has them, else digits that come with lehr.
"""

import math
import os
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lehr import data
from lehr.init import initialise, kaiming_normal_, kaiming_uniform_

N = 512
"""Length of the vectors of the matrix products, and width of the deep stacks."""


class Row(NamedTuple):
    """One line of a table: a quantity, published, in theory, and as drawn here."""

    quantity: str
    published: str
    theory: float | None
    draws: list[float]

    @property
    def median(self) -> float:
        """The middle draw."""
        return torch.tensor(self.draws, dtype=torch.float64).median().item()


def rows(
    table: list[tuple[str, str, float | None]], draw: Callable[[], list[float]], draws: int
) -> list[Row]:
    """Calls ``draw`` several times; its numbers belong to the lines of ``table``, in order."""
    columns = zip(*(draw() for _ in range(draws)), strict=True)
    return [Row(*line, list(column)) for line, column in zip(table, columns, strict=True)]


def images() -> tuple[Tensor, Tensor, str]:
    """A hundred normalised images, ``(100, 1, 28, 28)``, their labels, and where they are from."""
    if "LEHR_DATA" in os.environ:
        bunch, name = data.mnist(normalize=True), "MNIST, first 100 validation images"
    else:
        bunch, name = data.digits(size=28, normalize=True), "lehr's digits, enlarged to 28 × 28"
    x, y = bunch.valid_ds[slice(100)]
    return x, y, name


# -- table 1: one convolution


def first_layer(x: Tensor, draws: int) -> list[Row]:
    """Mean and standard deviation behind one 5×5 convolution, for each way to draw its weight."""

    def draw() -> list[float]:
        conv = nn.Conv2d(1, 32, 5)
        default = conv(x)
        kaiming_normal_(conv.weight, a=1)
        linear = conv(x)
        kaiming_normal_(conv.weight)
        kaiming = conv(x)
        kaiming_uniform_(conv.weight)
        uniform = conv(x)
        outputs = [default, linear, kaiming.relu(), default.relu(), uniform.relu()]
        start = nn.Conv2d(1, 32, 5)
        values = [start.weight.std(), start.bias.std()]
        values += [number for out in outputs for number in (out.mean(), out.std())]
        return [value.item() for value in values]

    with torch.no_grad():
        return rows(
            [
                ("weight std, default √5", "0.1156", 1 / math.sqrt(75)),
                ("bias std, default", "0.1176", 1 / math.sqrt(75)),
                ("output mean, default √5, no activation", "0.0107", 0.0),
                ("output std", "0.5978", math.sqrt(1 / 3 + 1 / 75)),
                ("output mean, Kaiming a = 1, no activation", "0.0267", 0.0),
                ("output std", "1.1067", math.sqrt(1 + 1 / 75)),
                ("output mean, Kaiming a = 0, ReLU", "0.5547", 1 / math.sqrt(math.pi)),
                ("output std", "1.0199", math.sqrt(1 - 1 / math.pi)),
                ("output mean, default √5, ReLU", "0.2219", None),
                ("output std", "0.3653", None),
                ("output mean, Kaiming uniform a = 0, ReLU", "0.5603", 1 / math.sqrt(math.pi)),
                ("output std", "1.0921", math.sqrt(1 - 1 / math.pi)),
            ],
            draw,
            draws,
        )


# -- table 2: four convolutions


def four_convs() -> nn.Sequential:
    """The net of the study: 1 → 8 → 16 → 32 → 1 channels, strides of 2, average pool."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 1, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def output_and_gradients(model: nn.Module, x: Tensor, y: Tensor) -> list[float]:
    """Mean and std of the output, then of every convolution's gradient, in order."""
    out = model(x)
    F.mse_loss(out.squeeze(-1), y.float()).backward()
    tensors = [out, *(p.grad for p in model.parameters() if p.ndim == 4)]
    return [number.item() for tensor in tensors for number in (tensor.mean(), tensor.std())]


def whole_net(x: Tensor, y: Tensor, draws: int) -> list[Row]:
    """Output and gradients of the four convolutions, default and Kaiming."""

    def default() -> list[float]:
        return output_and_gradients(four_convs(), x, y)

    def kaiming() -> list[float]:
        model = four_convs()
        initialise(model, "kaiming_uniform")
        return output_and_gradients(model, x, y)

    def table(name: str, *published: str) -> list[tuple[str, str, None]]:
        tensors = ["output", *(f"gradient of convolution {i}" for i in range(1, 5))]
        quantities = [f"{t} {m}, {name}" for t in tensors for m in ("mean", "std")]
        return [
            (quantity, published[i] if i < len(published) else "–", None)
            for i, quantity in enumerate(quantities)
        ]

    return [
        *rows(table("default √5", "0.0875", "0.0065", "0.0054", "0.0333"), default, draws),
        *rows(table("Kaiming", "−0.0352", "0.4043", "0.0093", "0.4231"), kaiming, draws),
    ]


# -- table 3: a hundred products


def chain(matrix: Callable[[], Tensor], until: Callable[[Tensor], bool]) -> tuple[int, Tensor]:
    """Multiplies a vector by up to 100 matrices; where it stopped, and the vector."""
    x = torch.randn(N)
    for i in range(100):
        x = matrix() @ x
        if until(x):
            return i, x
    return 100, x


def products(draws: int) -> list[Row]:
    """Repeated products with a vector, and the averages that explain them."""

    def never(x: Tensor) -> bool:
        return False

    def draw() -> list[float]:
        a = torch.randn(N, N)
        explodes, _ = chain(lambda: a, lambda x: not x.isfinite().all())
        vanishes, _ = chain(lambda: a * 0.01, lambda x: not x.any())
        _, same = chain(lambda: a / math.sqrt(N), never)
        _, fresh = chain(lambda: torch.randn(N, N) / math.sqrt(N), never)
        pairs = torch.randn(10_000) * torch.randn(10_000)
        vectors = torch.stack([torch.randn(N, N) @ torch.randn(N) for _ in range(100)])
        scaled = vectors.relu() * math.sqrt(2 / N)
        averages = [vectors, pairs, pairs.relu(), vectors.relu(), scaled]
        moments = [m.item() for v in averages for m in (v.mean(), v.square().mean())]
        return [explodes, vanishes, same.std().item(), fresh.std().item(), *moments]

    return rows(
        [
            ("N(0, 1): first step that is not finite", "28, 28, 27", 28),
            ("0.01 N(0, 1): first step of zeros only", "–", 70),
            ("1/√512, the same matrix 100 times: std", "0.927, 5.53", None),
            ("1/√512, a fresh matrix each time: std", "–", 1.0),
            ("A x, mean", "0.012, 0.019", 0.0),
            ("A x, mean square", "516.8, 514.0", 512.0),
            ("a x of two numbers, mean", "0.013, 0.015", 0.0),
            ("a x, mean square", "0.990, 1.012", 1.0),
            ("relu(a x), mean", "0.313, 0.328", 1 / math.pi),
            ("relu(a x), mean square", "0.490, 0.517", 0.5),
            ("relu(A x), mean", "9.005, 8.917", math.sqrt(N / (2 * math.pi))),
            ("relu(A x), mean square", "257.4, 252.0", 256.0),
            ("relu(A x √(2/512)), mean", "0.564, 0.561", 1 / math.sqrt(math.pi)),
            ("relu(A x √(2/512)), mean square", "1.006, 0.990", 1.0),
        ],
        draw,
        draws,
    )


# -- table 4: the signal by depth


def stack(
    depth: int, a: float = math.sqrt(5), *, bias: bool = False, linear: bool = False
) -> nn.Sequential:
    """Linear layers of width 512, each followed by a ReLU unless ``linear``."""
    model = nn.Sequential()
    for _ in range(depth):
        layer = nn.Linear(N, N, bias=bias)  # the bias is the default one, U(±1/√512)
        kaiming_uniform_(layer.weight, a=a)
        model.append(layer)
        if not linear:
            model.append(nn.ReLU())
    return model


@torch.no_grad()
def signal(model: nn.Sequential, x: Tensor) -> list[tuple[float, float]]:
    """By linear layer, before its activation: std of all numbers, and std across samples.

    Across samples means of one unit over the batch (root mean square over units). A bias adds to
    the first number and tells nothing about the input.
    """
    stds: list[tuple[float, float]] = []
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            stds.append((x.std().item(), x.var(0).mean().sqrt().item()))
    return stds


def expected_signal(
    depth: int, a: float = math.sqrt(5), *, bias: bool = False
) -> list[tuple[float, float]]:
    """What `signal` tends to in a wide ReLU stack whose inputs are independent.

    Follows the second moment q of a unit and its variance d across samples. With ρ = 1 − d/q, the
    correlation of two samples, and θ = arccos ρ, a ReLU keeps q/2 of the first, of which
    E[relu(u) relu(v)] = q (sin θ + (π − θ) cos θ) / 2π is common to both samples.
    """
    weight = 2 / (1 + a * a)
    floor = bias / (3 * N)  # the variance of U(±1/√512)
    q, d = weight + floor, weight
    stds: list[tuple[float, float]] = []
    for _ in range(depth):
        stds.append((math.sqrt(q), math.sqrt(d)))
        theta = 2 * math.asin(math.sqrt(d / (2 * q)))
        apart = (math.pi * d / q - math.sin(theta) + theta * math.cos(theta)) / (2 * math.pi)
        q, d = weight * q / 2 + floor, weight * q * apart
    return stds


def depths(draws: int, layers: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 30)) -> list[Row]:
    """The signal at some layers: without bias, with the default bias, without ReLU, Kaiming."""
    depth = max(layers)

    def table(name: str, expected: list[float]) -> list[tuple[str, str, float]]:
        return [(f"{name}, layer {i}", "–", expected[i - 1]) for i in layers]

    def drawn(make: Callable[[], nn.Sequential], which: int) -> Callable[[], list[float]]:
        def draw() -> list[float]:
            stds = signal(make(), torch.randn(N, N))
            return [stds[i - 1][which] for i in layers]

        return draw

    def part(stds: list[tuple[float, float]], which: int) -> list[float]:
        return [both[which] for both in stds]

    plain, biased = expected_signal(depth), expected_signal(depth, bias=True)
    kaiming = expected_signal(depth, a=0)
    cases: list[tuple[str, list[float], Callable[[], nn.Sequential], int]] = [
        ("√5 no bias, std", part(plain, 0), lambda: stack(depth), 0),
        ("√5 default bias, std", part(biased, 0), lambda: stack(depth, bias=True), 0),
        ("√5 default bias, across", part(biased, 1), lambda: stack(depth, bias=True), 1),
        (
            "√5 without ReLU, std",
            [3 ** (-i / 2) for i in range(1, depth + 1)],
            lambda: stack(depth, linear=True),
            0,
        ),
        ("Kaiming, std", part(kaiming, 0), lambda: stack(depth, a=0), 0),
        ("Kaiming, across", part(kaiming, 1), lambda: stack(depth, a=0), 1),
    ]
    return [
        row
        for name, expected, make, which in cases
        for row in rows(table(name, expected), drawn(make, which), draws)
    ]


# -- printing


def number(value: float | None) -> str:
    """Four digits, in as few signs as they take."""
    if value is None:
        return "–"
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"


def show(title: str, table: list[Row]) -> None:
    """Prints one table."""
    print(f"\n{title}\n")
    print(f"  {'':<44}{'published':>14}{'theory':>10}{'median':>10}   range of the draws")
    for row in table:
        low, high = number(min(row.draws)), number(max(row.draws))
        cells = f"{row.published:>14}{number(row.theory):>10}{number(row.median):>10}"
        print(f"  {row.quantity:<44}{cells}   {low} … {high}")


def main(draws: int = 10) -> dict[str, list[Row]]:
    """Measures and prints the four tables; returns them under their titles."""
    torch.manual_seed(0)
    x, y, source = images()
    tables = {
        "T1. One convolution, 1 → 32, 5×5": first_layer(x, draws),
        "T2. Four convolutions, mean squared error to the digit": whole_net(x, y, draws),
        "T3. Vectors of 512 and their products": products(draws),
        "T4. Signal by depth: 512-wide layers, 512 samples": depths(max(1, draws // 2)),
    }
    print(f"Input of T1 and T2: {source}. {draws} draws; T4 half as many.")
    print("Theory of T1 and T3 is for independent inputs of variance 1.")
    for title, table in tables.items():
        show(title, table)
    print(
        "\nT4, default bias: the std of all numbers stops at a floor, √(0.4/512) = 0.028, and looks"
        "\nhealthy; it is the bias. Across samples, where the input is, the signal is gone; what is"
        "\nleft of it in layer 30 is rounding."
    )
    return tables


if __name__ == "__main__":
    main()
