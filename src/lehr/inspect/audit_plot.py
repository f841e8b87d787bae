"""The picture of an audit: signal by depth, and what each layer gives."""

from collections.abc import Sequence
from typing import Any

from lehr.base import drawing
from lehr.inspect.moments import EDGES
from lehr.inspect.sites import Site

_LAYERS = ("weight", "norm", "mixer", "output")


def plot(sites: Sequence[Site], before: Sequence[Site], axes: Any = None) -> Any:
    """See `lehr.inspect.audit.Audit.plot`; ``before`` are those of the audit before a repair."""
    if axes is None:
        axes = drawing.panels(2, size=(10, max(3.0, 1.2 + 0.22 * len(sites))))
    left, right = axes
    _signal(sites, before, left)
    _histograms(sites, right)
    return left.figure


def _signal(sites: Sequence[Site], before: Sequence[Site], ax: Any) -> None:
    layers = [site for site in sites if site.role in _LAYERS]
    depth = range(len(layers))
    ax.plot(depth, [_positive(s.out.across) for s in layers], "o-", label="across items")
    ax.plot(depth, [_positive(s.out.std) for s in layers], ".:", color="C0", label="overall")
    back = [_positive(s.grad.norm) if s.grad is not None else None for s in layers]
    if any(back):
        ax.plot(depth, back, "s-", color="C1", markersize=4, label="gradient, per item")
    if before:
        was = [site for site in before if site.role in _LAYERS]
        across = [_positive(s.out.across) for s in was]
        ax.plot(range(len(was)), across, "o-", color="0.7", label="across items, before")
    ax.axhline(1, color="0.85", linewidth=1, zorder=0)
    ax.set(yscale="log", title="signal by depth", ylabel="standard deviation")
    ax.set_xticks(list(depth), [s.name for s in layers], rotation=60, ha="right", fontsize=7)
    ax.legend(fontsize=8)


def _histograms(sites: Sequence[Site], ax: Any) -> None:
    """One row a site; the counts as shares of the row's highest."""
    sites = [site for site in sites if site.counts]
    shares = [[n / max(1, *site.counts) for n in site.counts] for site in sites]
    shown = [[share**0.4 for share in row] for row in shares]  # so that tails can be seen
    ax.imshow(
        shown,
        aspect="auto",
        cmap="Blues",
        extent=(EDGES[0], EDGES[-1], len(sites) - 0.5, -0.5),
        interpolation="nearest",
    )
    labels = [f"{site.name} {site.kind}" for site in sites]
    ax.set_yticks(range(len(sites)), labels, fontsize=7)
    ax.set(title="what each layer gives", xlabel="value")


def _positive(value: float) -> float | None:
    return value if value > 0 else None
