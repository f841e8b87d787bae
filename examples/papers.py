# ruff: noqa: T201
"""What five papers on initialisation claim, as experiments of seconds.

    python examples/papers.py

Every function draws from torch's default generator, measures one thing and returns numbers. Run as
a script, this prints what each paper leads one to expect beside the median and the range of five
seeds. The figures of ``docs/initialisation.md`` and the tests in ``tests/init`` use the same
functions.

1. Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", 2017.
2. Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
   linear neural networks", 2013.
3. Mishkin and Matas, "All you need is a good init", 2015.
4. He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015.
5. Zhang, Dauphin and Ma, "Fixup initialization: residual learning without normalization", 2019.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lehr import data
from lehr.init import (
    LSUVLayer,
    Moments,
    ScalarBias,
    ScalarScale,
    fixup_,
    initialise,
    kaiming_normal_,
    lsuv,
    moments_after,
    zero_last_,
)

T = TypeVar("T")

SQRT5_GAIN = 1 / math.sqrt(3)
"""Gain of PyTorch's default weights: √(2 / (1 + a²)) with a = √5."""


def over_seeds(experiment: Callable[[], T], seeds: int = 5) -> list[T]:
    """The experiment once after each of the seeds 0, 1, 2, …"""
    results: list[T] = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        results.append(experiment())
    return results


# -- what the experiments share


class Signal(NamedTuple):
    """Moments of one layer's output: over all numbers, and the variance across samples.

    Across samples is the variance of one unit over the batch, averaged over the units; a constant
    that is the same for every sample has none.
    """

    mean: float
    var: float
    across: float


@torch.no_grad()
def signal(layers: Iterable[nn.Module], x: Tensor) -> list[Signal]:
    """The output of each layer in turn, on a batch ``(samples, features)``."""
    signals: list[Signal] = []
    for layer in layers:
        x = layer(x)
        signals.append(Signal(x.mean().item(), x.var().item(), x.var(0).mean().item()))
    return signals


def stack(depth: int, width: int, *after: Callable[[], nn.Module]) -> nn.Sequential:
    """``depth`` blocks of a square linear layer and what comes after it."""
    return nn.Sequential(
        *(nn.Sequential(nn.Linear(width, width), *(make() for make in after)) for _ in range(depth))
    )


def classifier(
    depth: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    *,
    features: int = 32,
    width: int = 64,
) -> nn.Sequential:
    """A plain net of ``depth`` linear layers from 32 features to 10 classes."""
    widths = [features, *[width] * (depth - 1), 10]
    layers = [(nn.Linear(n_in, n_out), activation()) for n_in, n_out in itertools.pairwise(widths)]
    return nn.Sequential(*itertools.chain.from_iterable(layers))[:-1]


def clusters(samples: int = 256, features: int = 32) -> tuple[Tensor, Tensor]:
    """Ten Gaussian clusters, normalised: ``(samples, features)`` and their class."""
    y = torch.arange(samples) % 10
    x = torch.randn(10, features)[y] + 0.5 * torch.randn(samples, features)
    return (x - x.mean()) / x.std(), y


def descend(model: nn.Module, x: Tensor, y: Tensor, lr: float, steps: int) -> list[float]:
    """Loss before each of ``steps`` full-batch gradient steps, and after the last."""
    opt = torch.optim.SGD(model.parameters(), lr)
    losses: list[float] = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        return [*losses, F.cross_entropy(model(x), y).item()]


# -- 1. SELU


def selu_map(mean: float, var: float, weight_sum: float = 0, weight_squares: float = 1) -> Moments:
    """Mean and variance behind one SELU layer whose inputs have these.

    Args:
        mean: of the inputs.
        var: of the inputs.
        weight_sum: sum of a unit's weights.
        weight_squares: sum of their squares.
    """
    return moments_after(F.selu, mean * weight_sum, var * weight_squares)


def selu_slopes(h: float = 1e-4) -> tuple[float, float]:
    """How mean and variance behind the layer answer to its input's variance, at (0, 1)."""
    more, less = selu_map(0, 1 + h), selu_map(0, 1 - h)
    return (more.mean - less.mean) / (2 * h), (more.var - less.var) / (2 * h)


def grid(*ranges: tuple[float, float], points: int = 5) -> Iterable[tuple[float, ...]]:
    """The points of a grid, the ends of each range among them."""
    axes = [[low + (high - low) * i / (points - 1) for i in range(points)] for low, high in ranges]
    return itertools.product(*axes)


def selu_image(
    mean: tuple[float, float] = (-0.1, 0.1),
    var: tuple[float, float] = (0.8, 1.5),
    weight_sum: tuple[float, float] = (-0.1, 0.1),
    weight_squares: tuple[float, float] = (0.95, 1.1),
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Least and largest mean and variance behind a layer, over a grid; theorem 1's by default."""
    images = [selu_map(*point) for point in grid(mean, var, weight_sum, weight_squares)]
    means, variances = zip(*images, strict=True)
    return (min(means), max(means)), (min(variances), max(variances))


def selu_changes(
    mean: tuple[float, float], var: tuple[float, float], weight_squares: tuple[float, float]
) -> tuple[float, float]:
    """Least and largest change of the variance in one layer, over a grid; theorems 2 and 3."""
    points = grid(mean, var, (-0.1, 0.1), weight_squares)
    changes = [selu_map(*point).var - point[1] for point in points]
    return min(changes), max(changes)


def selu_recovery(var: float, layers: int) -> float:
    """Variance after some layers, in theory, that started with mean 0 and variance ``var``."""
    mean = 0.0
    for _ in range(layers):
        mean, var = selu_map(mean, var)
    return var


def through_layers(
    activation: Callable[[], nn.Module] = nn.SELU,
    gain: float = 1.0,
    *,
    mean: float = 0.0,
    std: float = 1.0,
    depth: int = 100,
) -> list[Signal]:
    """Outputs of 256-wide layers, weights N(0, gain²/256), on 500 samples of N(mean, std²)."""
    model = stack(depth, 256, activation)
    initialise(model, "lecun", gain=gain)
    return signal(model, mean + std * torch.randn(500, 256))


def with_dropout(dropout: Callable[[], nn.Module], depth: int = 60) -> list[Signal]:
    """Like `through_layers`, with a dropout behind every SELU."""
    model = stack(depth, 256, nn.SELU, dropout)
    initialise(model, "lecun")
    return signal(model, torch.randn(500, 256))


# -- 2. orthogonal weights


def singular_values(how: str, depth: int, n: int = 128) -> Tensor:
    """Those of the whole Jacobian of a linear net, largest first, in float64."""
    model = stack(depth, n).double()
    initialise(model, how)
    product = torch.eye(n, dtype=torch.float64)
    for (layer,) in model:
        product = layer.weight.detach() @ product
    return torch.linalg.svdvals(product)


def below_one_percent(values: Tensor) -> float:
    """The share of singular values that are less than a hundredth of the largest."""
    return (values < 0.01 * values.max()).double().mean().item()


def backward_norm(how: str, depth: int, n: int = 128) -> float:
    """Norm of a unit gradient after its way back through a linear net, in float64."""
    model = stack(depth, n).double()
    initialise(model, how)
    x = torch.zeros(1, n, dtype=torch.float64, requires_grad=True)
    model(x).backward(F.normalize(torch.randn(1, n, dtype=torch.float64)))
    return x.grad.norm().item()


def steps_to_learn(how: str, depth: int, n: int = 16, limit: int = 400) -> int:
    """Gradient steps until a linear net has 5 % of its first loss; ``limit`` if it takes more.

    The target is an orthogonal map times a diagonal from 0.5 to 1.5, the inputs are white, and
    the best of five learning rates counts. They are tried side by side.
    """
    rates = torch.tensor([0.03, 0.1, 0.3, 0.6, 1.0]) / depth
    target = nn.init.orthogonal_(torch.empty(n, n)) * torch.linspace(0.5, 1.5, n)
    model = stack(depth, n)
    initialise(model, how)
    weights = [
        layer.weight.detach().repeat(len(rates), 1, 1).requires_grad_() for (layer,) in model
    ]
    first = None
    for step in range(limit):
        product = weights[0]
        for weight in weights[1:]:
            product = weight @ product
        loss = (product - target).square().sum((1, 2)) / 2
        first = loss.detach() if first is None else first
        if (loss <= 0.05 * first).any():
            return step
        gradients = torch.autograd.grad(loss.sum(), weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= rates[:, None, None] * gradient
    return limit


def modes(
    strengths: Sequence[float],
    *,
    n: int = 16,
    std: float = 1e-3,
    lr: float = 0.02,
    steps: int = 800,
) -> Tensor:
    """How much of each singular mode a two-layer linear net has learnt, ``(steps, modes)``.

    It starts from weights N(0, std²). 1 means learnt.
    """
    s = torch.tensor(strengths)
    u, v = (nn.init.orthogonal_(torch.empty(n, len(s))) for _ in range(2))
    target = u * s @ v.T
    first, second = torch.randn(2, n, n) * std
    learnt: list[Tensor] = []
    for _ in range(steps):
        product = second @ first
        learnt.append(((u.T @ product) * v.T).sum(1) / s)
        error = target - product
        first, second = first + lr * second.T @ error, second + lr * error @ first.T
    return torch.stack(learnt)


def half_times(learnt: Tensor) -> list[int]:
    """The step at which each mode is half learnt."""
    return (learnt >= 0.5).int().argmax(0).tolist()


def half_time_ratio(strengths: tuple[float, float]) -> float:
    """Half-time of the second mode over that of the first."""
    first, second = half_times(modes(strengths))
    return second / first


# -- 3. LSUV


class MeasuredBehindTanh(nn.Linear):
    """A layer whose output is taken after its activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Linear, then tanh."""
        return super().forward(x).tanh()


def unit_variance(
    activation: Callable[[], nn.Module] = nn.ReLU,
    *,
    depth: int = 20,
    std: float | None = None,
    tol: float = 0.05,
    fresh: bool = False,
) -> tuple[LSUVLayer, ...]:
    """What LSUV does to layers of 128 units on 512 samples.

    Args:
        activation: behind each layer.
        depth: how many layers.
        std: start from weights N(0, std²); None is the paper's orthogonal start.
        tol: of the standard deviation; 0.05 is about the paper's 0.1 of the variance.
        fresh: another batch for each pass, as the paper's code has it.
    """
    model = stack(depth, 128, activation)
    if std is not None:
        for parameter in model.parameters():
            nn.init.normal_(parameter, 0, std) if parameter.ndim > 1 else nn.init.zeros_(parameter)
    generator = torch.Generator().manual_seed(torch.randint(1 << 30, ()).item())

    def another(model: nn.Module, batch: Tensor) -> Tensor:
        return model(torch.randn(batch.shape, generator=generator))

    return lsuv(
        model,
        torch.randn(512, 128),
        tol=tol,
        mean=False,
        behind=False,
        orthogonal=std is None,
        forward=another if fresh else None,
    )


def behind_tanh() -> tuple[LSUVLayer, ...]:
    """LSUV of two layers that are measured behind their tanh."""
    model = nn.Sequential(MeasuredBehindTanh(128, 128), MeasuredBehindTanh(128, 128))
    return lsuv(model, torch.randn(512, 128), tol=0.05, mean=False)


# -- 4. Kaiming


def second_moment_ratio(a: float, gain: float, width: int = 512) -> float:
    """E y² behind one layer over E x² before it: x → leaky ReLU → weights N(0, gain²/width)."""
    weight = torch.randn(width, width) * gain / math.sqrt(width)
    x = torch.randn(512, width)
    y = F.leaky_relu(x, a) @ weight.T
    return (y.square().mean() / x.square().mean()).item()


def started(depth: int, gain: float) -> nn.Sequential:
    """A plain ReLU `classifier` with weights N(0, gain²/fan_in)."""
    model = classifier(depth)
    initialise(model, "kaiming", gain=gain)
    return model


def plain_training(depth: int, gain: float, steps: int = 200) -> list[float]:
    """Losses of a plain ReLU net on `clusters`, learning rate 0.05."""
    return descend(started(depth, gain), *clusters(), lr=0.05, steps=steps)


def first_gradient(depth: int, gain: float) -> float:
    """Norm of the first layer's gradient at the start."""
    model = started(depth, gain)
    x, y = clusters()
    F.cross_entropy(model(x), y).backward()
    return model[0].weight.grad.norm().item()


def fixed_std_loss(std: float | None) -> float:
    """How much weaker the gradient of the 2nd layer's output is than that of the 10th's.

    A stack of 3×3 convolutions with ReLU and circular padding; filters 64, 128, 128, 256, 256,
    512 × 4 from the 2nd to the 10th. ``std`` of the weights, None for Kaiming's by fan_out, the
    backward choice of the paper's equation 14.
    """
    filters = [64, 64, 128, 128, 256, 256, 512, 512, 512, 512]
    layers: list[nn.Module] = []
    for ni, nf in itertools.pairwise(filters):
        conv = nn.Conv2d(ni, nf, 3, padding=1, padding_mode="circular", bias=False)
        if std is None:
            kaiming_normal_(conv.weight, mode="fan_out")
        else:
            nn.init.normal_(conv.weight, 0, std)
        layers += [nn.ReLU(), conv]
    x = torch.randn(2, 64, 6, 6, requires_grad=True)
    out = nn.Sequential(*layers)(x)
    gradient = torch.randn_like(out)
    out.backward(gradient)
    return (gradient.std() / x.grad.std()).item()


def small_convnet(activation: Callable[[int], nn.Module], gain: float) -> nn.Sequential:
    """Four convolutions for digits of 8 by 8; ``activation`` is told its channels."""
    model = nn.Sequential()
    for i, (ni, nf) in enumerate(itertools.pairwise([1, 16, 32, 32, 32])):
        model.extend([nn.Conv2d(ni, nf, 3, stride=2 if i else 1, padding=1), activation(nf)])
    model.extend([nn.Flatten(), nn.Linear(32, 10)])
    initialise(model, gain=gain)
    return model


def digits_training(model: nn.Module, epochs: int = 8, slope_decay: float = 0.0) -> float:
    """Accuracy on the validation digits after training; ``slope_decay`` is of PReLU's slopes."""
    bunch = data.digits()
    x, y = bunch.train_ds[:]
    slopes = [p for layer in model if isinstance(layer, nn.PReLU) for p in layer.parameters()]
    rest = [p for layer in model if not isinstance(layer, nn.PReLU) for p in layer.parameters()]
    groups = [{"params": slopes, "weight_decay": slope_decay}, {"params": rest}]
    opt = torch.optim.SGD([group for group in groups if group["params"]], 0.05, momentum=0.9)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            opt.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            opt.step()
    x, y = bunch.valid_ds[:]
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def learnt_slopes(epochs: int = 8, slope_decay: float = 0.0) -> tuple[list[Tensor], float]:
    """PReLU's slopes by layer after training on digits, and the accuracy; they start at 0.25."""
    model = small_convnet(nn.PReLU, math.sqrt(2 / (1 + 0.25**2)))
    accuracy = digits_training(model, epochs, slope_decay)
    return [layer.weight.detach() for layer in model if isinstance(layer, nn.PReLU)], accuracy


# -- 5. Fixup


class Residual(nn.Module):
    """x + branch(x), the branch being two linear layers with Fixup's numbers around them."""

    def __init__(self, width: int, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            ScalarBias(),
            nn.Linear(width, width, bias=False),
            ScalarBias(),
            activation(),
            ScalarBias(),
            nn.Linear(width, width, bias=False),
            ScalarScale(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The input plus what the branch makes of it."""
        return x + self.branch(x)


def residual_net(
    blocks: int,
    start: str,
    activation: Callable[[], nn.Module] = nn.ReLU,
    *,
    features: int = 32,
    width: int = 24,
) -> nn.Sequential:
    """A residual classifier without normalisation.

    Args:
        blocks: how many branches of two layers.
        start: ``"kaiming"``; ``"zero last"``, rule 1 alone; or ``"fixup"``.
        activation: in the middle of each branch.
        features: of the input.
        width: features of the trunk.

    The first layer is drawn first, so it is the same for every depth if the seed is.
    """
    generator = torch.Generator().manual_seed(torch.randint(1 << 30, ()).item())
    trunk = (Residual(width, activation) for _ in range(blocks))
    model = nn.Sequential(nn.Linear(features, width), *trunk, nn.Linear(width, 10))
    initialise(model, generator=generator)
    branches = [
        [layer for layer in block.branch if isinstance(layer, nn.Linear)] for block in model[1:-1]
    ]
    if start == "fixup":
        fixup_(branches, model[-1], generator=generator)
    elif start == "zero last":
        zero_last_([*branches, [model[-1]]])
    return model


def residual_training(blocks: int, start: str, steps: int = 20) -> list[float]:
    """Losses of a `residual_net` on 128 samples of `clusters`, learning rate 0.1."""
    x, y = clusters(128)
    return descend(residual_net(blocks, start), x, y, lr=0.1, steps=steps)


def growth(blocks: int) -> list[float]:
    """Variance behind each block over that before the first, Kaiming's start."""
    model = residual_net(blocks, "kaiming")[1:-1]
    x = torch.randn(256, 24)
    return [number.var / x.var().item() for number in signal(model, x)]


# -- the table


class Claim(NamedTuple):
    """One line of the table: what is measured, what to expect, and the experiment."""

    measured: str
    expected: str
    experiment: Callable[[], float]


def claims() -> dict[str, list[Claim]]:
    """The claims of each paper that one number can show."""
    sqrt2 = math.sqrt(2)
    return {
        "1. SELU": [
            Claim("variance behind one layer, from (0, 1)", "1", lambda: selu_map(0, 1).var),
            Claim("slope of the mean by the variance", "0.08883", lambda: selu_slopes()[0]),
            Claim("slope of the variance by the variance", "0.78265", lambda: selu_slopes()[1]),
            Claim("variance after 100 layers, SELU", "1", lambda: through_layers()[-1].var),
            Claim("  from mean 0.5, std 2", "1", lambda: through_layers(mean=0.5, std=2)[-1].var),
            Claim("  ReLU with 1/n", "2⁻¹⁰⁰ = 8e-31", lambda: through_layers(nn.ReLU)[-1].var),
            Claim(
                "  ReLU with 2/n, across samples",
                "falls",
                lambda: through_layers(nn.ReLU, sqrt2)[-1].across,
            ),
            Claim("  tanh with 1/n", "falls", lambda: through_layers(nn.Tanh)[-1].var),
            Claim("  SELU with 2/n", "explodes", lambda: through_layers(nn.SELU, sqrt2)[-1].var),
            Claim("  dropout 0.1", "1.6", lambda: with_dropout(lambda: nn.Dropout(0.1))[-1].var),
            Claim(
                "  alpha dropout 0.1",
                "1",
                lambda: with_dropout(lambda: nn.AlphaDropout(0.1))[-1].var,
            ),
        ],
        "2. Orthogonal weights": [
            Claim(
                "largest | singular value − 1 |, 100 layers",
                "< 1e-12",
                lambda: (singular_values("orthogonal", 100) - 1).abs().max().item(),
            ),
            Claim(
                "  Gaussian: share below 1 % of the largest",
                "0.9",
                lambda: below_one_percent(singular_values("lecun", 100)),
            ),
            Claim(
                "norm of a gradient, 100 layers back", "1", lambda: backward_norm("orthogonal", 100)
            ),
            Claim("  Gaussian", "spread", lambda: backward_norm("lecun", 100)),
            Claim("steps to learn, 2 layers", "few", lambda: steps_to_learn("orthogonal", 2)),
            Claim("steps to learn, 50 layers", "few", lambda: steps_to_learn("orthogonal", 50)),
            Claim("  Gaussian, 50 layers (of 400)", "400", lambda: steps_to_learn("lecun", 50)),
            Claim(
                "half-time of a mode of strength 1 over one of 4",
                "≈ 4",
                lambda: half_time_ratio((4.0, 1.0)),
            ),
        ],
        "3. LSUV": [
            Claim(
                "most passes of 20 ReLU layers", "1", lambda: max(x.passes for x in unit_variance())
            ),
            Claim("largest std at the end", "1", lambda: max(x.std for x in unit_variance())),
            Claim(
                "  from weights of std 0.01: most passes",
                "1",
                lambda: max(x.passes for x in unit_variance(std=0.01)),
            ),
            Claim(
                "  fresh batches, tolerance 5e-4: layers not done",
                "many of 20",
                lambda: sum(not x.converged for x in unit_variance(tol=5e-4, fresh=True)),
            ),
            Claim("  measured behind tanh: std at the end", "< 1", lambda: behind_tanh()[-1].std),
        ],
        "4. Kaiming": [
            Claim("second moment kept by a ReLU layer", "1", lambda: second_moment_ratio(0, sqrt2)),
            Claim("  Xavier", "1/2", lambda: second_moment_ratio(0, 1)),
            Claim("  default, √5", "1/6", lambda: second_moment_ratio(0, SQRT5_GAIN)),
            Claim(
                "gradient lost, 10th to 2nd conv, std 0.01", "1.7e4", lambda: fixed_std_loss(0.01)
            ),
            Claim("  Kaiming", "1", lambda: fixed_std_loss(None)),
            *(
                Claim(
                    f"loss after 200 steps, {depth} layers, {name}",
                    "–",
                    partial(lambda d, g: plain_training(d, g)[-1], depth, gain),
                )
                for depth in (10, 22, 30)
                for name, gain in (("Kaiming", sqrt2), ("Xavier", 1.0), ("√5", SQRT5_GAIN))
            ),
        ],
        "5. Fixup": [
            Claim("variance after 10 blocks, Kaiming's start", "3¹⁰ = 6e4", lambda: growth(10)[-1]),
            *(
                Claim(
                    f"loss at step 5, {blocks} blocks, Fixup",
                    "the same",
                    partial(lambda n: residual_training(n, "fixup", 5)[-1], blocks),
                )
                for blocks in (10, 50, 100)
            ),
            Claim(
                "  zero last layers only, step 20, 50 blocks",
                "nan",
                lambda: residual_training(50, "zero last")[-1],
            ),
        ],
    }


def digits(value: float) -> str:
    """Four digits, in as few signs as they take."""
    return f"{value:.1e}" if value and not 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"


def main(seeds: int = 5) -> dict[str, list[tuple[Claim, list[float]]]]:
    """Measures and prints every claim; returns what was measured."""
    measured = {
        paper: [(claim, over_seeds(claim.experiment, seeds)) for claim in of_paper]
        for paper, of_paper in claims().items()
    }
    for paper, rows in measured.items():
        print(f"\n{paper:<52}{'expected':>14}{'median':>10}   range of {seeds} seeds\n")
        for claim, values in rows:
            middle, low, high = map(digits, (statistics.median(values), min(values), max(values)))
            print(f"  {claim.measured:<50}{claim.expected:>14}{middle:>10}   {low} … {high}")
    return measured


if __name__ == "__main__":
    main()
