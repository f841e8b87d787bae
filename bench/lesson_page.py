"""docs/results.md, from what bench/lesson.py measured and what was published."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesson_published import SETTINGS, T4, TARGETS, TRAININGS, Line, Run, Target

RESULTS = Path(__file__).parent / "results"
PEAKS = {"SGD": (0.5, 2.0), "momentum": (0.1, 0.2), "AdamW": (0.01, 0.02)}
"""Peaks of the one-cycle schedule that were tried with each optimizer."""
AWAITS = "awaits a run"
"""What stands where nothing was measured yet."""
NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

# -- measured


def measured(what: str = "lesson") -> list[dict[str, Any]]:
    """Every result of a benchmark that is there, the last one at the end."""
    texts = [path.read_text() for path in sorted(RESULTS.glob(f"{what}_*.json"))]
    these = [result for text in texts if (result := json.loads(text))["what"] == what]
    return sorted(these, key=lambda result: result["date"])


def newest() -> dict[str, Any]:
    """The last result."""
    return measured()[-1]


@dataclass(frozen=True)
class Spread:
    """Numbers of several seeds; a loss that was not finite counts as infinite."""

    numbers: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.numbers)

    def __str__(self) -> str:
        low, high = min(self.numbers), max(self.numbers)
        return f"{self.median:.4f} ({low:.4f} – {high:.4f})"


def spread(runs: list[Any], epoch: int, of: int = 1) -> Spread:
    """Loss (``of=0``) or accuracy of one epoch over the seeds."""
    values = [run[epoch][of] for run in runs]
    return Spread([float("inf") if value is None else value for value in values])


def place(value: float, low: float, high: float) -> str:
    """Where a number is beside an interval."""
    return "above" if value > high else "below" if value < low else "inside"


# -- the page


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def runs_text(runs: Sequence[Run]) -> str:
    return "; ".join(f"{loss:.4f} / {accuracy:.4f}" for loss, accuracy in runs) or "–"


def trainings(lines: Sequence[Line], rows: dict[str, Any]) -> str:
    """Published and measured, line by line."""
    cells: list[list[str]] = []
    for line in lines:
        printed = [line.text_ab or runs_text(ab) for ab in (line.a, line.b)]
        if line.accuracy is not None:
            printed[0] = f"{line.accuracy:.4f}"
        runs = rows.get(line.row)
        if runs is None:
            cells.append([line.text, *printed, "–", AWAITS, "–"])
            continue
        shares = spread(runs, line.epoch)
        cells.append(
            [
                line.text,
                *printed,
                f"{spread(runs, line.epoch, of=0).median:.4f}",
                str(shares),
                place(shares.median, *line.span) if line.span else "–",
            ]
        )
    return table(["", "A", "B", "loss, median", "accuracy, median (range)", "beside A, B"], cells)


def awaited(rows: dict[str, Any]) -> str:
    """Which rows were not measured yet."""
    lines = (line for lines in TRAININGS.values() for line in lines)
    missing = dict.fromkeys(line.row for line in lines if line.row not in rows)
    if not missing:
        return ""
    names = ", ".join(f"`{name}`" for name in missing)
    return f"These rows of `bench/lesson.py` await a run on a quiet machine: {names}."


CONTROLLED = {"T10 no norm": "no norm, lr 0.4", "T9 kaiming": "Kaiming, lr 0.9"}
"""Rows that are trained with a plain loop of PyTorch as well: row, and text of its lines."""


def controlled(rows: dict[str, Any], control: dict[str, Any] | None) -> str:
    """Ours beside a plain loop of PyTorch, and how often that ends where A and B did."""
    if control is None:
        return "`python bench/lesson_control.py`, the same in plain PyTorch, awaits a run.\n"
    lines = [line for lines in TRAININGS.values() for line in lines]
    cells: list[list[object]] = []
    lower = True
    for row, text in CONTROLLED.items():
        if row not in rows:
            continue
        for line in (line for line in lines if line.row == row and line.text.startswith(text)):
            plain = [run[line.epoch] for run in control["rows"][row]]
            ours = [run[line.epoch][1] for run in rows[row]]
            lower = lower and statistics.median(plain) <= statistics.median(ours)
            lowest = min(accuracy for _, accuracy in (*line.a, *line.b))
            cells.append(
                [
                    f"{row.split()[0]}, {line.text}",
                    Spread(ours),
                    Spread(plain),
                    f"{sum(share >= lowest for share in plain)} of {len(plain)}",
                ]
            )
    found = table(["", "lehr", "plain PyTorch", "plain, not below A and B"], cells)
    if not lower:
        return found
    return (
        f"{found}\nNo median of plain PyTorch is above that of lehr: these nets are as low without "
        "lehr, and spread far.\n"
    )


def trained(runs: list[Any]) -> tuple[str, str]:
    """How many did not diverge; and the median and range of their last accuracy."""
    kept = [run[-1][1] for run in runs if run[-1][0] is not None]
    return f"{NUMBERS[len(kept)]} of {NUMBERS[len(runs)]}", str(Spread(kept))


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"


def study(lines: list[dict[str, Any]]) -> str:
    """A table of the √5 study."""
    return table(
        ["", "published", "theory", "median", "range"],
        [
            [
                line["quantity"],
                line["published"],
                number(line["theory"]),
                number(statistics.median(line["draws"])),
                f"{number(min(line['draws']))} … {number(max(line['draws']))}",
            ]
            for line in lines
        ],
    )


def stages(runs: list[Any]) -> str:
    """T4: loss and accuracy on the few items that the lesson looked at, then on all."""
    cells: list[list[str]] = []
    for name, (text, a, b) in T4.items():
        few, everything = ([run[name][i] for run in runs] for i in (0, 1))
        losses = [loss for loss, _ in few]
        cells.append(
            [
                text,
                a,
                b,
                f"{min(losses):.4f} – {max(losses):.4f}",
                str(Spread([share for _, share in few])),
                str(Spread([share for _, share in everything])),
            ]
        )
    head = [
        "items",
        "A",
        "B",
        "loss, range",
        "accuracy on them",
        "accuracy on all validation items",
    ]
    return table(head, cells)


def beaten(rows: dict[str, Any]) -> list[tuple[Target, Spread, Spread]]:
    """Target, the last accuracy with another schedule alone, and as recommended."""
    return [
        (
            target,
            *(spread(rows[f"{target.table} {way}"], -1) for way in ("schedule", "recommended")),
        )
        for target in TARGETS
    ]


def tried(rows: dict[str, Any]) -> str:
    """The last accuracies of all that was tried, by optimizer and peak."""
    cells = [
        [
            f"{name}, peak {peak}",
            *(
                ", ".join(f"{run[-1][1]:.4f}" for run in rows[f"tried {t.table} {name} {peak}"])
                for t in TARGETS
            ),
        ]
        for name, peaks in PEAKS.items()
        for peak in peaks
    ]
    return table(["", *(t.text.split(":")[0] for t in TARGETS)], cells)


PAGE = """# The lesson's numbers, measured again

`python bench/lesson.py` measures what is on this page and writes it (PyTorch {torch}, one core of a
CPU). A and B are two published executions of the lesson's notebooks, of July and of June 2019; each
is one run. Ours are medians over {often} seeds, for the nets that train eight epochs over {seeds},
with the lowest and the highest seed. Training is on the first 50,000 images of MNIST's training
file, validation on its last 10,000.

*Inside*, *above* and *below* say where our median lies beside what was published. Two runs
span little: of three runs of one experiment, the third lies between the other two only one time in
three, and its true median lies below both one time in four. So one row a little below or above is
no finding.

What is different everywhere: the draws of weights and of the order of the items; versions of
PyTorch years apart; pixels, which are divided by 255 here and were by 256 there (in 06, 07 and 07a
they are normalised, which makes up for it); and averages, which weigh every item alike here, where
03 and the `fit` of 04 took the mean over batches and so let the last 16 validation items count as
much as 128 others.

## In short

### The lesson's own settings

Validation accuracy after the last epoch. The published range is what A and B span; for 05 it is
±0.004 and for 06 and 07 ±0.0015 around them, as much as seeds differ.

{settings}
### Another schedule

The same model, initialisation, batch size and number of epochs; no augmentation.

{targets}
*Schedule alone*: the lesson's plain SGD, and `one_cycle(1.0)` for the learning rate; nothing else
is changed, and the peak is one for all four. *Recommended*: `torch.optim.AdamW` with
`one_cycle(learn.find_lr().suggestion)`. No number in it was chosen for a row, but it is another
optimizer, so its lead is not the schedule's alone.

These were tried with two seeds before that was chosen, all with `one_cycle` for the learning rate.
With momentum, `one_cycle_momentum()` goes from 0.95 to 0.85 and back.

{tried}
At 0.5 plain SGD is too slow for the three epochs of 05 and for 06 and 07; at 2.0 it needs
normalisation: in 05 and 06 it ends far below, or learns nothing. Momentum at 0.1 is too slow for 05
and 07. AdamW at 0.02 is the only one that is above every target with both seeds; `find_lr` suggests
peaks about there without being told the target, and that is what we recommend.

## T1 to T3: what the √5 does

From `examples/why_sqrt5.py`, ten draws. Published figures are one draw each; where there are two or
three, they are of several executions.

### T1. One convolution, 1 → 32 channels, 5 × 5

{T1}
Published figures lie among our draws, or just beside them where a draw of 25 weights for each of
32 filters decides. Theory is for independent inputs of variance 1: neighbouring pixels are alike,
and the hundred images have their own mean, so what comes behind a ReLU is further from it.

### T2. Four convolutions

{T2}
The output's standard deviation is the shrinkage that gives the study its point: about a hundredth
by default, and many times that with Kaiming's gain. A mean over so few outputs is the last layer's
bias and a few weights, so its sign and size are chance.

### T3. Products of vectors of 512

{T3}
A hundred products with one and the same matrix depend on its largest eigenvalues, which is why the
published 0.927 and 5.53 are both right and neither is 1. Averages over single numbers (a x) scatter
more than those over vectors (A x).

## T4. Notebook 03: one epoch, as the loop grows

Batches of 64, learning rate 0.5, measured by the lesson on the items named: 16 or 64 of them, where
one item is 0.0625 or 0.0156 of the accuracy. Loss and accuracy of so few say little more than that
something was learnt; the last column says what.

{T4}
Ours are the rungs of `lehr.foundations`. The update by hand and the Optimizer give one and the same
result for every seed, since they are one computation. The lesson's later stages in order are one
experiment too, so A and B are given as ranges. Untrained, the loss is near log 10 = 2.3026.

## T5. Notebook 03: five epochs, batches of 64

`lehr.foundations.fit`, learning rate 0.5, shuffled.

{T5}
A constant rate of 0.5 is at the edge for batches of 64: accuracy rises and falls by percents from
epoch to epoch, as it did in A (0.8684 after the second) and B (which ends below where it began).
Rows that differ from A and B differ by no more than that.

## T6. Notebook 04: the Runner

The same training; `fit(1)` with `lehr.foundations.fit`, the others with `lehr.Learner`: two epochs,
then one more with the same weights.

{T6}
The rows of the Learner are epochs 1 to 3 of T5's training once more, with other draws, and jump as
its epochs do; the range of our seeds holds the published numbers.

## T7. Notebook 05: schedules, batches of 512

Three epochs, 294 steps. The schedule is two cosines, 30 % and 70 % of the way; in the last rows
biases have a group of their own, at three times the rate.

{T7}
Batches of 512 are steadier, and our seeds differ by half a percent. The lesson's finding is there:
the schedule ends where a constant 0.5 does, and both are ahead of a constant 0.3.

## T8

Notebook 05b gives no scores: it stops a training and finds a learning rate.

## T9. Notebook 06: four convolutions

Normalised pixels, batches of 512. The schedule is 0.2 → 1.0 → 0.1 by cosines over eight epochs.

{T9}
Without normalisation a rate of 0.9 or 1.0 is at the edge. With the schedule, {diverged} of our
{seeds} seeds (normal, uniform) diverged to nan on the way and stay at chance, which is the low end
of the range; A and B did not. First epochs scatter most: they tell whether a net has left the
plateau on which all start, and most of ours do so later than the published runs did. At the end of
the schedule that is made up; two epochs at 0.9 are too few for it.

## T10. Notebook 07: five convolutions

Batches of 512; normalisation stands after the activation. The schedule is 0.6 → 2.0 → 0.1 by lines.

{T10}
The lesson trained at a constant rate with its own BatchNorm and with PyTorch's; they are one
computation but for the factor n / (n − 1) in the variance, so both count as published. At a
constant rate the last epoch is as good as the last batches happen to be; with the schedule our
seeds differ by two thousandths. Without normalisation both published runs end above all ten of
ours: by chance that happens in one such row of 66.

To tell chance from a difference of ours, the two rows that lie lowest are trained once more with
nothing but PyTorch, over many seeds:

{control}
## T11. Notebook 07a: LSUV

The net of T10 without normalisation, learning rate 0.6, two epochs.

{T11}
As the lesson did it: each layer is measured behind its activation, a shift there takes the mean
away, and then the weight is divided. The finding is there: the median after one epoch is above
Kaiming's after two. What two runs could not show is that 0.6 is at the edge: {kept}
trained, median {kept_spread}, where A and B are; the others diverged to nan.

`lehr.init.lsuv` measures behind the rectifiers, too. Where they can be shifted it does what the
lesson did, and fares alike: {kept_shift} trained, median {shift_spread}; from
Kaiming's start all did, median {kaiming}. Of plain rectifiers the mean cannot be
taken away, so that of the convolution is, and the root mean square is brought to 1. At this rate
that is no gain: median {plain}, those that diverged included. Kaiming's
signal fades towards the last layer of this net, so its start is flatter than LSUV's, for which 0.6
is too much ([log](log.md)). The last rows have 0.4. What the paper claims, unit variance in one
pass a layer, is on [the page on initialisation](initialisation.md).

## T13. The newer course, on MNIST

Of 2022: five convolutions of stride 2 (1, 4, 8, 16, 16, 10 channels), raw pixels, batches of 256;
one run was published, with its accuracy.

{T13}
Its other trainings are on Fashion-MNIST and on a GPU.

## Not here

T12 is trained on Imagenette, on a GPU. {awaited}
"""


def render(result: dict[str, Any], control: dict[str, Any] | None = None) -> str:
    """docs/results.md; the control is the last one that is there, if none is given."""
    rows = result["rows"]
    control = control or next(iter(measured("lesson_control")[-1:]), None)
    settings = [
        [
            setting.text,
            f"{setting.low:.4f} – {setting.high:.4f}",
            shares := spread(rows[setting.row], setting.epoch),
            place(shares.median, setting.low, setting.high),
        ]
        for setting in SETTINGS
    ]
    kept, kept_spread = trained(rows["T11 lesson"])
    kept_shift, shift_spread = trained(rows["T11 LSUV"])
    targets = [
        [target.text, target.published, alone, recommended]
        for target, alone, recommended in beaten(rows)
    ]
    return PAGE.format(
        torch=result["torch"],
        seeds=result["options"]["seeds"],
        often=2 * result["options"]["seeds"],
        settings=table(["setting", "published", "accuracy, median (range)", ""], settings),
        targets=table(
            ["", "best published", "SGD, schedule alone", "recommended"],
            targets,
        ),
        tried=tried(rows),
        kept=kept,
        kept_spread=kept_spread,
        kept_shift=kept_shift,
        shift_spread=shift_spread,
        kaiming=spread(rows["T11 baseline"], -1),
        plain=spread(rows["T11 LSUV plain"], -1),
        control=controlled(rows, control),
        awaited=awaited(rows),
        **{name: study(rows[name]) for name in ("T1", "T2", "T3")},
        T4=stages(rows["T4 stages"]),
        diverged=" and ".join(
            str(sum(run[-1][0] is None for run in rows[row])) for row in ("T9 normal", "T9 uniform")
        ),
        **{name: trainings(lines, rows) for name, lines in TRAININGS.items()},
    )
