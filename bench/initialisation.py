"""The papers on initialisation in figures and numbers, and all their starts on one grid.

    python bench/initialisation.py                 # docs/images/init_*.png and every claim, minutes
    python bench/initialisation.py --grid          # depth × init × activation, under a minute
    python bench/initialisation.py --grid --data mnist
    python bench/initialisation.py --layouts       # time of x Wᵀ over x W

The experiments are those of examples/papers.py and examples/why_sqrt5.py. What is measured is also
written to bench/results.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import results
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lehr import data
from lehr.base.rows import aligned
from lehr.init import gain_for, initialise, lsuv

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "examples"))
import papers  # noqa: E402
import why_sqrt5  # noqa: E402

SQRT2 = math.sqrt(2)
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "savefig.dpi": 150,
}
BLUE, ORANGE, GREEN, RED, GREY = "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#7f7f7f"


# -- figures


def figure_sqrt5() -> Any:
    """Signal by depth: dots are measured, lines are theory."""
    figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    depth = 20
    layers = range(1, depth + 1)
    x = torch.randn(why_sqrt5.N, why_sqrt5.N)
    cases = [
        ("Kaiming, all numbers", GREEN, {"a": 0.0}, 0),
        ("Kaiming, across samples", BLUE, {"a": 0.0}, 1),
        ("default with its bias, all numbers", ORANGE, {"bias": True}, 0),
        ("default with its bias, across samples", RED, {"bias": True}, 1),
        ("default without bias, all numbers", GREY, {}, 0),
    ]
    for name, color, options, which in cases:
        measured = why_sqrt5.signal(why_sqrt5.stack(depth, **options), x)
        expected = why_sqrt5.expected_signal(depth, **options)
        ax.plot(layers, [stds[which] for stds in expected], color=color, label=name)
        ax.plot(layers, [stds[which] for stds in measured], "o", color=color, ms=4)
    ax.set(
        yscale="log", xlabel="layer", ylabel="std before the activation", xticks=[1, 5, 10, 15, 20]
    )
    ax.set_title("√5: the bias hides that the signal is gone (512-wide ReLU layers)", fontsize=10)
    ax.legend(title="line: theory, dots: one draw", title_fontsize=9, loc="lower left")
    return figure


def figure_selu() -> Any:
    """Variance by layer, and what dropout does to it."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")
    cases = [
        ("SELU, 2/n", RED, nn.SELU, SQRT2),
        ("SELU, 1/n", GREEN, nn.SELU, 1.0),
        ("ReLU, 2/n", BLUE, nn.ReLU, SQRT2),
        ("tanh, 1/n", ORANGE, nn.Tanh, 1.0),
        ("ReLU, 1/n", GREY, nn.ReLU, 1.0),
    ]
    for name, color, activation, gain in cases:
        signal = papers.through_layers(activation, gain)
        left.plot(range(1, 101), [s.across for s in signal], color=color, label=name)
    left.set(yscale="log", ylim=(1e-12, 1e4), xlabel="layer", ylabel="variance across samples")
    left.set_title("100 layers of 256", fontsize=10)
    left.legend(loc="lower right")
    for name, color, kind in (
        ("dropout", RED, nn.Dropout),
        ("alpha dropout", GREEN, nn.AlphaDropout),
    ):
        signal = papers.with_dropout(partial(kind, 0.1))
        right.plot(range(1, len(signal) + 1), [s.var for s in signal], color=color, label=name)
    right.set(ylim=(0.8, 1.8), xlabel="layer", ylabel="variance")
    right.set_title("SELU with 10 % dropped", fontsize=10)
    right.legend(loc="center right")
    return figure


def figure_orthogonal() -> Any:
    """Singular values, steps to learn, and the order in which modes are learnt."""
    figure, axes = plt.subplot_mosaic(
        [["values", "steps"], ["modes", "modes"]], figsize=(7, 5.8), layout="constrained"
    )
    values, steps, learnt = axes["values"], axes["steps"], axes["modes"]
    for depth, place in ((1, 60), (5, 45), (20, 35), (100, 20)):
        gaussian = papers.singular_values("lecun", depth)
        gaussian = gaussian / gaussian[0]
        values.plot(gaussian, color=RED, label="Gaussian" if depth == 1 else None)
        values.annotate(
            f"{depth}", (place, gaussian[place]), xytext=(5, 3), textcoords="offset points"
        )
    values.plot(
        papers.singular_values("orthogonal", 100), color=GREEN, label="orthogonal, 100 layers"
    )
    values.set(
        yscale="log", ylim=(1e-9, 30), xlabel="singular value, by size", ylabel="over the largest"
    )
    values.set_title("Jacobian of 1, 5, 20 and 100 linear layers", fontsize=10)
    values.legend(loc="upper right", ncols=2, fontsize=8)
    depths = [2, 5, 10, 20, 50]
    for name, how, color in (("Gaussian", "lecun", RED), ("orthogonal", "orthogonal", GREEN)):
        by_depth = [
            statistics.median(papers.over_seeds(partial(papers.steps_to_learn, how, depth)))
            for depth in depths
        ]
        steps.plot(depths, by_depth, "o-", color=color, label=name)
    steps.axhline(400, color=GREY, ls=":")
    steps.annotate(
        "stopped at 400", (2, 400), xytext=(0, -11), textcoords="offset points", fontsize=8
    )
    steps.set(yscale="log", xlabel="layers", ylabel="steps", ylim=(2, 600))
    steps.set_title("Steps to 5 % of the first loss", fontsize=10)
    steps.legend(loc="center right")
    strengths = (4.0, 2.0, 1.0, 0.5)
    for strength, curve in zip(strengths, papers.modes(strengths).T, strict=True):
        learnt.plot(curve, label=f"{strength:g}")
    learnt.set(xlabel="step", ylabel="share learnt")
    learnt.set_title("Two linear layers from a small start: strong modes first", fontsize=10)
    learnt.legend(title="singular value", title_fontsize=9, loc="center right")
    return figure


def figure_lsuv() -> Any:
    """Standard deviation by layer before and after, and by pass where it is measured."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained")
    x = torch.randn(512, 128)
    starts = [
        ("Kaiming", BLUE, SQRT2),
        ("orthogonal", ORANGE, 1.0),
        ("default, √5", RED, papers.SQRT5_GAIN),
    ]
    measure = partial(
        lsuv, tol=1e9, orthogonal=False, behind=False
    )  # content with anything: only reports
    for name, color, gain in starts:
        model = papers.stack(20, 128, nn.ReLU)
        initialise(model, "orthogonal" if name == "orthogonal" else "kaiming", gain=gain)
        left.plot(range(1, 21), [layer.std for layer in measure(model, x)], color=color, label=name)
    after = lsuv(model, x, mean=False, behind=False)
    left.plot(range(1, 21), [layer.std for layer in after], color=GREEN, label="LSUV")
    left.set(yscale="log", xlabel="layer", ylabel="std before the ReLU", xticks=[1, 5, 10, 15, 20])
    left.set_title("20 layers of 128", fontsize=10)
    left.legend(loc="lower left")
    passes = range(11)
    for name, color, kind in (
        ("before tanh", GREEN, nn.Linear),
        ("behind tanh", RED, papers.MeasuredBehindTanh),
    ):
        layer = nn.Sequential(kind(128, 128))
        nn.init.normal_(layer[0].weight, 0, 0.01)
        options = {"tol": 1e-6, "mean": False, "orthogonal": False}
        stds = [measure(layer, x)[0].std]
        stds += [lsuv(layer, x, max_passes=1, **options)[0].std for _ in passes[1:]]
        right.plot(passes, stds, "o-", ms=4, color=color, label=name)
    right.set(xlabel="pass", ylabel="std", ylim=(0, 1.1))
    right.set_title("Where the std is measured", fontsize=10)
    right.legend(loc="lower right")
    return figure


def figure_kaiming() -> Any:
    """Loss of plain ReLU nets by depth and start: median of five seeds and their range."""
    figure, axes = plt.subplots(1, 3, figsize=(7, 3), sharey=True, layout="constrained")
    starts = [
        ("Kaiming", GREEN, SQRT2),
        ("Xavier", ORANGE, 1.0),
        ("default, √5", RED, papers.SQRT5_GAIN),
    ]
    for ax, depth in zip(axes, (10, 22, 30), strict=True):
        for name, color, gain in starts:
            losses = torch.tensor(papers.over_seeds(partial(papers.plain_training, depth, gain)))
            steps = range(losses.shape[1])
            ax.plot(losses.median(0).values, color=color, label=name)
            ax.fill_between(steps, losses.amin(0), losses.amax(0), color=color, alpha=0.15, lw=0)
        ax.set(xlabel="step", title=f"{depth} layers", ylim=(0, 3))
        ax.title.set_size(10)
    axes[0].set_ylabel("loss")
    axes[2].legend(loc="lower left")
    return figure


def figure_fixup() -> Any:
    """Loss by step at four depths, and the growth of the variance."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained")
    cases = [
        ("Fixup, 10 blocks", GREEN, "-", 10, "fixup"),
        ("Fixup, 100", BLUE, "--", 100, "fixup"),
        ("Fixup, 1000", GREY, ":", 1000, "fixup"),
        ("rule 1 alone, 50", ORANGE, "-", 50, "zero last"),
        ("rule 1 alone, 100", RED, "-", 100, "zero last"),
    ]
    for name, color, line, blocks, start in cases:
        torch.manual_seed(0)
        losses = papers.residual_training(blocks, start, 12)
        width = 3.5 if blocks == 10 else 1.6
        left.plot(losses, color=color, ls=line, lw=width, label=name)
    left.set(xlabel="step", ylabel="loss", ylim=(0, 4.5), xticks=range(0, 13, 2))
    left.set_title("No normalisation, learning rate 0.1", fontsize=10)
    left.legend(loc="upper right", fontsize=8)
    right.plot(range(1, 61), papers.growth(60), color=RED, label="Kaiming")
    right.plot(range(61), [3.0**n for n in range(61)], ":", color=GREY, label="3ⁿ")
    right.axhline(1, color=GREEN, label="Fixup")
    right.set(yscale="log", xlabel="block", ylabel="variance over the first")
    right.set_title("The trunk at the start", fontsize=10)
    right.legend(loc="upper left")
    return figure


FIGURES = {
    "sqrt5": figure_sqrt5,
    "selu": figure_selu,
    "orthogonal": figure_orthogonal,
    "lsuv": figure_lsuv,
    "kaiming": figure_kaiming,
    "fixup": figure_fixup,
}


def draw(names: list[str]) -> None:
    """Writes docs/images/init_NAME.png."""
    with mpl.rc_context(STYLE):
        for name in names:
            torch.manual_seed(0)
            figure = FIGURES[name]()
            figure.savefig(ROOT / "docs" / "images" / f"init_{name}.png")
            plt.close(figure)


# -- the grid

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "selu": nn.SELU}
STARTS = ("√5", "Xavier", "Kaiming", "orthogonal", "LSUV", "SELU", "Fixup")


def start_net(start: str, depth: int, activation: Callable[[], nn.Module], x: Tensor) -> Any:
    """A classifier of ``depth`` linear layers; for Fixup half as many residual blocks."""
    features = x.shape[1]
    if start == "Fixup":
        blocks = (depth - 2) // 2
        return papers.residual_net(blocks, "fixup", activation, features=features, width=64)
    model = papers.classifier(depth, activation, features=features)
    starts: dict[str, Callable[[], object]] = {
        "√5": lambda: initialise(model, "kaiming_uniform", gain=papers.SQRT5_GAIN),
        "Xavier": lambda: initialise(model, "xavier"),
        "Kaiming": lambda: initialise(model, "kaiming"),
        "orthogonal": lambda: initialise(model, "orthogonal", gain=gain_for(activation())),
        "LSUV": lambda: lsuv(model, x),
        "SELU": lambda: initialise(model, "lecun"),
    }
    starts[start]()
    return model


def measured(model: nn.Sequential, x: Tensor, y: Tensor, lr: float, steps: int) -> dict[str, Any]:
    """Signal, gradients and Jacobian at the start, and the loss after training."""
    signal = papers.signal(model, x)
    layers = [
        i for i, layer in enumerate(model) if not isinstance(layer, tuple(ACTIVATIONS.values()))
    ]
    across = [signal[i].across for i in layers]
    F.cross_entropy(model(x), y).backward()
    gradients = [p.grad.norm().item() for p in model.parameters() if p.ndim == 2]
    jacobian = torch.func.jacrev(model)(x[0]).detach()
    values = torch.linalg.svdvals(jacobian.nan_to_num())
    return {
        "across": across,
        "gradients": gradients,
        "singular_values": [values[0].item(), values.median().item(), values[-1].item()],
        "loss": papers.descend(model, x, y, lr, steps)[-1],
    }


def batch(source: str) -> tuple[Tensor, Tensor]:
    """Inputs ``(samples, features)`` and classes."""
    if source == "synthetic":
        torch.manual_seed(0)
        return papers.clusters()
    return data.mnist(flat=True, normalize=True).train_ds[slice(2000)]


def grid(source: str, steps: int, lr: float, seeds: int) -> list[dict[str, Any]]:
    """All combinations, each measured with some seeds; reported is the middle loss."""
    x, y = batch(source)
    rows: list[dict[str, Any]] = []
    for depth in (4, 20, 50):
        for name, activation in ACTIVATIONS.items():
            for start in STARTS:
                drawn = papers.over_seeds(
                    lambda depth=depth, activation=activation, start=start: measured(
                        start_net(start, depth, activation, x), x, y, lr, steps
                    ),
                    seeds,
                )
                middle = sorted(drawn, key=lambda row: row["loss"])[seeds // 2]
                rows.append({"depth": depth, "activation": name, "init": start, **middle})
    return rows


def short(value: float) -> str:
    """Three digits, in as few signs as they take."""
    return f"{value:.1e}" if value and not 1e-2 <= abs(value) < 1e4 else f"{value:.3g}"


def show(rows: list[dict[str, Any]]) -> None:
    """Prints the grid."""
    head = ["depth", "activation", "init", "var 1st", "middle", "last hidden", "grad 1st", "last"]
    head += ["σ max", "σ median", "loss"]
    lines = []
    for row in rows:
        across, gradients, sigma = row["across"], row["gradients"], row["singular_values"]
        numbers = [across[0], across[len(across) // 2], across[-2], gradients[0], gradients[-1]]
        numbers += [sigma[0], sigma[1], row["loss"]]
        lines.append([str(row["depth"]), row["activation"], row["init"], *map(short, numbers)])
    print(*aligned(head, lines, right=[head[0], *head[3:]]), sep="\n")
    print("\nvar: variance across samples before the activation. grad: norm of a layer's gradient.")
    print("σ: singular values of the Jacobian of the outputs by the inputs, at one sample.")


# -- layouts


def layouts(repeats: int = 200) -> dict[str, Any]:
    """Time of a linear layer 784 → 50 stored (50, 784), as a ratio to (784, 50)."""
    rows: dict[str, Any] = {}
    for items in (64, 1024):
        x, w = torch.randn(items, 784), torch.randn(50, 784)
        turned = w.T.contiguous()
        torch.testing.assert_close(x @ w.T, x @ turned)
        ratios: list[float] = []
        for _ in range(repeats):
            seconds = []
            for matrix in (w.T, turned):
                start = perf_counter()
                for _ in range(20):
                    x @ matrix
                seconds.append(perf_counter() - start)
            ratios.append(seconds[0] / seconds[1])
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows[f"{items} items"] = {
            "ratio": round(middle, 3),
            "quartiles": [round(low, 3), round(high, 3)],
        }
        print(
            f"{items:>5} items: x Wᵀ takes {middle:.3f} × the time of x W  [{low:.3f}, {high:.3f}]"
        )
    return rows


# -- main


def stored(value: Any) -> Any:
    """Numbers with four digits, and as text what JSON has no number for."""
    if isinstance(value, list):
        return [stored(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--layouts", action="store_true")
    parser.add_argument("--data", choices=("synthetic", "mnist"), default="synthetic")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--figures", nargs="*", choices=FIGURES, help="draw these and no more")
    options = parser.parse_args()
    if options.grid:
        options.steps = options.steps or (60 if options.data == "synthetic" else 200)
        options.seeds = options.seeds or 1
        rows = grid(options.data, options.steps, options.lr, options.seeds)
        show(rows)
        named = {f"{r['depth']} {r['activation']} {r['init']}": r for r in rows}
        rows = {k: {n: stored(v) for n, v in r.items()} for k, r in named.items()}
        results.write(f"initialisation_grid_{options.data}", rows, vars(options))
    elif options.layouts:
        results.write("layouts", layouts(), vars(options))
    elif options.figures:
        draw(options.figures)
    else:
        draw(list(FIGURES))
        options.seeds = options.seeds or 5
        rows = {
            f"{paper}: {claim.measured.strip()}": {
                "expected": claim.expected,
                "median": stored(statistics.median(values)),
                "range": stored([min(values), max(values)]),
            }
            for paper, claims in papers.main(options.seeds).items()
            for claim, values in claims
        }
        results.write("initialisation", rows, vars(options))


if __name__ == "__main__":
    main()
