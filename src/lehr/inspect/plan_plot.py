"""The chart of a plan: every scheduled number by step, and what happens when."""

from collections.abc import Iterable
from typing import Any, cast

from lehr.base import drawing

_MOST_EPOCHS = 60  # more lines would be a grey area


def plot(plan: Any, axes: Any = None) -> Any:
    """See `lehr.inspect.fit_plan.FitPlan.plot`."""
    quantities = plan.quantities
    if axes is None:
        axes = drawing.panels(
            len(quantities) + 1, size=(8, 1.3 + 1.7 * len(quantities)), stacked=True
        )
    axes = list(cast("Iterable[Any]", axes)) if isinstance(axes, Iterable) else [axes]
    if len(axes) != len(quantities) + 1:
        parts = " and ".join([*([", ".join(quantities)] if quantities else []), "what happens"])
        raise ValueError(
            f"axes must be {len(quantities) + 1}, one each for {parts}; got {len(axes)}. Make them "
            f"with plt.subplots({len(quantities) + 1})[1], or leave axes out."
        )
    *panels, last = axes
    steps = range(plan.steps + 1)
    for ax, (quantity, names) in zip(panels, quantities.items(), strict=True):
        for name in names:
            values = [float("nan") if v is None else v for v in plan.values[name]]
            values += values[-1:]  # the last step has its breadth, too
            ax.plot(
                steps[: len(values)], drawing.drawable(values), drawstyle="steps-post", label=name
            )
        ax.set(ylabel=quantity)
        if len(names) > 1:
            ax.legend(fontsize=8)
    _happenings(plan, last)
    begins = plan.begins
    for ax in axes:
        for step in begins if len(begins) <= _MOST_EPOCHS else ():
            ax.axvline(step, color="0.9", linewidth=0.8, zorder=0)
        for step in plan.freezes:
            ax.axvline(step, color="C3", linewidth=0.8, linestyle=":", zorder=0)
        ax.set_xlim(-0.02 * max(plan.steps, 1), 1.02 * max(plan.steps, 1))
    for ax in panels:
        ax.tick_params(labelbottom=False)
    return last.figure


def _happenings(plan: Any, ax: Any) -> None:
    """One row for each kind of thing that happens."""
    kinds = {"freeze": list(plan.freezes), "save": plan.saves, "validate": plan.validations}
    shown = [kind for kind in kinds if kinds[kind]]
    for row, kind in enumerate(shown):
        color = "C3" if kind == "freeze" else "0.3"
        ax.plot(kinds[kind], [row] * len(kinds[kind]), "|", color=color, markersize=10)
    ax.set_yticks(range(len(shown)), shown)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="optimizer steps done", ylim=(-0.6, max(len(shown), 1) - 0.4))
