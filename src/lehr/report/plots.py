"""Curves as SVG that sits in a page, takes its colours from there, and never changes by itself."""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple, final

from markupsafe import Markup

from lehr.base.drawing import drawable, fit
from lehr.base.numbers import plain
from lehr.report.readings import Reading
from lehr.report.render import part

# Colours that stand for the page's own; the page has a light and a dark set of them.
_LONG, _TOO_LONG = 1e4, 1e12  # numbers between them are written out at an axis
_STAND_INS = {
    "ink": "#010203",
    "soft": "#010204",
    "hair": "#010205",
    **{f"c{i}": f"#0102{16 + i:02x}" for i in range(6)},
}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 8.5,
    "font.family": "DejaVu Sans",
    "axes.linewidth": 0.6,
    "axes.edgecolor": _STAND_INS["soft"],
    "axes.labelcolor": _STAND_INS["ink"],
    "axes.labelsize": 8.5,
    "xtick.color": _STAND_INS["soft"],
    "ytick.color": _STAND_INS["soft"],
    "xtick.labelcolor": _STAND_INS["ink"],
    "ytick.labelcolor": _STAND_INS["ink"],
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.formatter.limits": (-4, 5),
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "path.simplify": True,
}


@final
@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Args:
        label: what it shows.
        x: where.
        y: how much; nan leaves a gap.
        color: which of the page's colours, 0 to 5.
        kind: ``"raw"`` for many noisy points, ``"line"``, ``"points"`` for a few, marked ones, or
            ``"dots"`` without a line, or ``"steps"`` for how many there are of each.
        dashed: for a second thing in one colour.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    color: int = 0
    kind: Literal["raw", "line", "points", "dots", "steps"] = "line"
    dashed: bool = field(default=False, kw_only=True)


def plot(
    lines: Sequence[Line],
    *,
    title: str,
    xlabel: str,
    size: tuple[float, float] = (4.3, 2.55),
    name: str = "plot",
    log: bool = False,
    log_x: bool = False,
    limits: tuple[float, float] | None = None,
    read_at: Sequence[Reading] = (),
) -> Markup:
    """A plot as an inline SVG element; the same lines give the same text, byte for byte.

    Args:
        lines: what to draw; those without one finite value are left out.
        title: of the plot, for screen readers.
        xlabel: of the horizontal axis.
        size: in inches; the page scales it.
        name: unique in its page.
        log: draw the vertical axis logarithmic if the values are positive and span a factor of 30.
        log_x: draw the horizontal axis logarithmic.
        limits: of the vertical axis; lines go on beyond them, unseen. None shows all.
        read_at: what to show where a pointer is, from left to right.

    Returns:
        The SVG, or a sentence if there is nothing to draw.

    Example:
        >>> svg = plot([Line("loss", [0, 1], [1.0, 0.5])], title="loss", xlabel="batch")
        >>> svg.startswith("<svg "), "var(--c0)" in svg
        (True, True)
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure  # without pyplot the user's backend stays as it is
    from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

    drawn = [_clean(line) for line in lines]
    drawn = [line for line in drawn if any(map(math.isfinite, line.y))]
    if not drawn:
        return part("curves.html", "nothing_to_plot")
    # What pyplot's users have set must not reach the page.
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        mpl.rcParams["svg.hashsalt"] = name
        figure = Figure(figsize=size)
        ax: Any = figure.subplots()
        for line in drawn:
            _draw(ax, line)
        values = [v for line in drawn for v in line.y if math.isfinite(v)]
        if log and spans_orders(values):
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
        elif limits is not None:
            ax.set_ylim(*limits)
            values = [v for v in values if limits[0] <= v <= limits[1]] or list(limits)
        elif min(values) == max(values):
            room = abs(values[0]) * 0.1 or 1.0
            ax.set_ylim(values[0] - room, values[0] + room)
        if ax.get_yscale() == "linear":
            _write_out(ax.yaxis, values)
        ax.set_xlabel(xlabel)
        if log_x:
            ax.set_xscale("log")
        else:
            whole = all(float(x).is_integer() for line in drawn for x in line.x)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=whole))
            _write_out(ax.xaxis, [x for line in drawn for x in line.x])
        ax.grid(axis="y", color=_STAND_INS["hair"], linewidth=0.5)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        fit(ax)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        pointers = _pointers(ax, size, read_at, lines, xlabel)
    low, high = number_range(values)
    return _inline(file.getvalue(), name, f"{title}: from {low} to {high}", pointers)


def _write_out(axis: Any, values: Sequence[float]) -> None:
    """Let ticks of large numbers be numbers with commas, in the place of powers of ten."""
    most = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if _LONG <= most < _TOO_LONG:
        axis.set_major_formatter("{x:,.10g}")


def _draw(ax: Any, line: Line) -> None:
    raw, dots = line.kind == "raw", line.kind == "dots"
    few = sum(map(math.isfinite, line.y)) <= 25
    ax.plot(
        line.x,
        line.y,
        color=_STAND_INS[f"c{line.color % 6}"],
        linewidth=0 if dots else 0.6 if raw else 1.3,
        alpha=0.38 if raw or dots else 1,
        linestyle="--" if line.dashed else "-",
        drawstyle="steps-mid" if line.kind == "steps" else "default",
        marker=_marker(line, few),
        markersize=3,
        solid_joinstyle="round",
    )


class _Pointer(NamedTuple):
    """What is shown where a pointer is, in the units of the drawing, from its upper left corner."""

    left: float
    """of the strip that the pointer is in"""
    width: float
    top: float
    height: float
    x: float
    dots: list[tuple[float, int]]
    """height and colour of each value that is in the plot"""
    plate: tuple[float, float, float, float]
    """left, top, width and height of the box with the words"""
    words: list[tuple[str, int | None]]
    """lines of text, each with its colour"""


_POINTS = 72  # to the inch
_LETTER, _LINE, _EDGE = 4.3, 10.0, 4.0  # in the text of a pointer: width, height, margin


def _pointers(
    ax: Any,
    size: tuple[float, float],
    read_at: Sequence[Reading],
    lines: Sequence[Line],
    xlabel: str,
) -> list[_Pointer]:
    """A strip for each reading, which ends halfway to its neighbours."""
    width, height = (_POINTS * inches for inches in size)
    box, scale = ax.get_position(), ax.transScale + ax.transLimits
    left, right = box.x0 * width, box.x1 * width
    top, tall = (1 - box.y1) * height, box.height * height

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = scale.transform((x, y))
        return left + across * (right - left), top + (1 - up) * tall

    level = sum(ax.get_ylim()) / 2  # any height that the axis has
    xs = [place(reading.x, level)[0] for reading in read_at]
    ends = [left, *((a + b) / 2 for a, b in pairwise(xs)), right]
    pointers: list[_Pointer] = []
    for i, reading in enumerate(read_at):
        heights = [(place(reading.x, y)[1], lines[n].color % 6) for n, y in reading.values]
        said = reading.words(lines, xlabel)
        if len(said) > (room := max(int((tall - _EDGE) / _LINE), 2)):
            said[room - 1 :] = ["…"]
        colors = [None, *(lines[n].color % 6 for n, _ in reading.values)]
        wide = _LETTER * max(map(len, said)) + 2 * _EDGE
        beside = xs[i] + _EDGE if xs[i] < width / 2 else xs[i] - _EDGE - wide
        plate = (min(max(beside, 0), width - wide), top, wide, _LINE * len(said) + _EDGE)
        dots = [dot for dot in heights if top <= dot[0] <= top + tall]
        strip = (ends[i], ends[i + 1] - ends[i], top, tall)
        pointers.append(_Pointer(*strip, xs[i], dots, plate, list(zip(said, colors, strict=False))))
    return pointers


def _marker(line: Line, few: bool) -> str:
    if line.kind == "points" and few:
        return "o"
    return "." if line.kind == "dots" or (few and len(line.x) == 1) else ""


def _clean(line: Line) -> Line:
    x, y = thin(line.x, drawable(line.y))
    return Line(line.label, x, y, line.color, line.kind, dashed=line.dashed)


def thin(x: Sequence[float], y: Sequence[float], most: int = 1200) -> tuple[list[float], list[Any]]:
    """At most ``most`` points that look the same: the lowest and highest of each stretch.

    Example:
        >>> thin([0, 1, 2, 3], [0.0, 5.0, -5.0, 1.0], most=2)
        ([1, 2], [5.0, -5.0])
    """
    if len(x) <= most:
        return list(x), list(y)
    stretches = most // 2
    kept: list[int] = []
    for i in range(stretches):
        stretch = range(len(x) * i // stretches, len(x) * (i + 1) // stretches)
        finite = [j for j in stretch if not math.isnan(y[j])]
        ends = [pick(finite, key=y.__getitem__) for pick in (min, max)] if finite else stretch[:1]
        kept += sorted(set(ends))
    return [x[j] for j in kept], [y[j] for j in kept]


def spans_orders(values: Sequence[float]) -> bool:
    """Whether values are best read on a logarithmic axis.

    Example:
        >>> spans_orders([0.1, 5.0]), spans_orders([0.0, 5.0]), spans_orders([1.0, 2.0])
        (True, False, False)
    """
    return 0 < min(values) < max(values) / 30


def number_range(values: Sequence[float]) -> tuple[str, str]:
    """The lowest and highest value in few digits.

    Example:
        >>> number_range([0.12345, 2.0])
        ('0.123', '2')
    """
    return plain(min(values), 3), plain(max(values), 3)


def _inline(svg: str, name: str, label: str, pointers: Sequence[_Pointer] = ()) -> Markup:
    """What matplotlib wrote, in which it has escaped every text, as an element of a page."""
    for unused in (
        r"<metadata>.*?</metadata>",
        r"<defs>\s*<style.*?</style>\s*</defs>",
        "<!--.*?-->",
    ):
        svg = re.sub(unused, "", svg, flags=re.S)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    ours = {old: f"{name}-{i}" for i, old in enumerate(sorted(used))}
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{ours[m[1]]}"' if m[1] in ours else "", svg)
    svg = re.sub(r"(url\(#|href=\"#)([^)\"]+)", lambda m: m[1] + ours.get(m[2], m[2]), svg)
    for role, color in _STAND_INS.items():
        svg = svg.replace(color, f"var(--{role})")
    svg = re.sub(
        r"font: ([\d.]+px) '", r"font-size: \1; font-family: '", svg
    )  # as old versions say
    svg = re.sub(r"font-family: [^;\"]+;?", "", svg)
    match = re.search(r"<svg([^>]*)>(.*)</svg>", re.sub(r"\n\s*", "\n", svg), flags=re.S)
    assert match is not None, "matplotlib writes an SVG element"
    attributes = re.sub(r'\s(?:width|height)="[^"]+"', "", match[1])
    drawing = Markup(match[2]) + part("curves.html", "pointers", pointers)
    return part("curves.html", "plot", label, Markup(attributes), drawing)
