"""Two runs side by side: what was different, where they part, what came of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast, final

import torch

from lehr.base.terminal import printable
from lehr.report.outcome import KEPT, Score, Timing, kept_accuracy, scores, shown, timing
from lehr.report.record import RunRecord
from lehr.report.words import duration, flat, percent, setting


@final
class Absent:
    """Stands for what one of two runs does not have."""

    def __repr__(self) -> str:
        return "–"


OTHER_DATA = "The runs had different data: their losses and scores cannot be compared."

ABSENT = Absent()
"""The only one."""


class Difference(NamedTuple):
    """One setting, or fact of the environment, that is not the same."""

    name: str
    a: Any
    b: Any


class Parting(NamedTuple):
    """The first training batch at which something recorded by both differs."""

    batch: int
    values: dict[str, tuple[float, float]]
    """what differs there, by name"""


class Agreement(NamedTuple):
    """How two classifiers did on the same items, one by one."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def chance(self) -> float:
        """How often a fair coin, thrown for each item that one alone gets right, would be as
        uneven: the exact two-sided sign test.

        Example:
            >>> Agreement(both=90, only_a=0, only_b=5, neither=5).chance
            0.0625
        """
        n, few = self.only_a + self.only_b, min(self.only_a, self.only_b)
        whole = math.lgamma(n + 1) - n * math.log(2)
        tail = [
            math.exp(whole - math.lgamma(i + 1) - math.lgamma(n - i + 1)) for i in range(few + 1)
        ]
        return round(min(1.0, 2 * sum(tail)), 12)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What `compare` found; plain data."""

    a: RunRecord
    b: RunRecord
    settings: tuple[Difference, ...]
    """settings, seed, version of lehr and preparation of the data, that differ"""
    environment: tuple[Difference, ...]
    """versions and hardware that differ"""
    shared: int
    """training batches that both have recorded"""
    parting: Parting | None
    """None if everything that both recorded is the same in all those batches"""
    only_a: tuple[str, ...]
    """series that only the first run has"""
    only_b: tuple[str, ...]
    """series that only the second run has"""
    scores: tuple[tuple[Score | None, Score | None], ...]
    """losses and metrics, each of both runs"""
    times: tuple[Timing, Timing]
    """how long each took"""
    agreement: Agreement | None
    """item by item; None unless both were evaluated on items with the same labels"""

    @property
    def other_data(self) -> bool:
        """Whether they were trained or validated on different data."""
        decide = {"data", "data_sum", "items", "data_options.valid_share", "data_options.target"}
        return any(difference.name in decide for difference in self.settings)

    def text(self, width: int | None = None) -> str:
        """The comparison for a terminal.

        Args:
            width: of the terminal, in characters; long settings are cut to fit into half of it.
        """
        return "\n".join(printable(line, one_line=True) for line in _lines(self, width))


def compare(a: RunRecord | str | Path, b: RunRecord | str | Path) -> Comparison:
    """Compare two runs: what decided them first, then where they part, then what came of it.

    Numbers by batch are compared exactly; nan equals nan.

    Args:
        a: a run folder, or one that was read.
        b: another.

    Raises:
        FileNotFoundError: there is no run folder.
        ValueError: the ``config.json`` of one is damaged.

    Example:
        >>> from lehr.report.record import Points
        >>> rest = dict(config={}, environment={}, evaluation=None, weights=None, rows=[])
        >>> a = RunRecord(path=Path("a"), series={"loss": Points([0, 1], [2.0, 1.0])}, **rest)
        >>> b = RunRecord(path=Path("b"), series={"loss": Points([0, 1], [2.0, 1.5])}, **rest)
        >>> compare(a, b).parting
        Parting(batch=1, values={'loss': (1.0, 1.5)})
    """
    a, b = (run if isinstance(run, RunRecord) else RunRecord.read(run) for run in (a, b))
    of_a, of_b = ({score.name: score for score in scores(run)} for run in (a, b))
    if any(kept_accuracy(run) is not None for run in (a, b)):
        for of_run, run in ((of_a, a), (of_b, b)):
            if run.evaluation is not None:
                of_run[KEPT] = Score(KEPT, run.evaluation.accuracy, None, None)
    shared, parting = _part(a, b)
    return Comparison(
        a=a,
        b=b,
        settings=differences(_decided(a), _decided(b)),
        environment=differences(flat(a.environment), flat(b.environment)),
        shared=shared,
        parting=parting,
        only_a=tuple(name for name in a.series if name not in b.series),
        only_b=tuple(name for name in b.series if name not in a.series),
        scores=tuple((of_a.get(name), of_b.get(name)) for name in {**of_a, **of_b}),
        times=(timing(a), timing(b)),
        agreement=_agreement(a, b),
    )


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Difference, ...]:
    """The keys whose values differ or that only one has.

    Example:
        >>> differences({"lr": 0.1, "seed": 1}, {"lr": 0.2, "seed": 1, "model": "cnn"})
        (Difference(name='lr', a=0.1, b=0.2), Difference(name='model', a=–, b='cnn'))
    """
    pairs = [Difference(name, a.get(name, ABSENT), b.get(name, ABSENT)) for name in {**a, **b}]
    return tuple(pair for pair in pairs if not _same(pair.a, pair.b))


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and (a == b or (a != a and b != b))


def _decided(record: RunRecord) -> dict[str, Any]:
    others = {key: record.config.get(key, ABSENT) for key in ("seed", "lehr")}
    preparation = record.config.get("preparation")
    if isinstance(preparation, dict):
        others.update(flat(cast("dict[str, Any]", preparation), "preparation."))
    decided = flat(record.settings)
    decided.pop("command", None)  # it only repeats the others
    return {**decided, **{key: value for key, value in others.items() if key not in decided}}


def _part(a: RunRecord, b: RunRecord) -> tuple[int, Parting | None]:
    batches: set[int] = set()
    apart: dict[int, dict[str, tuple[float, float]]] = {}
    for name in a.series:
        if name not in b.series:
            continue
        of_b = dict(zip(*b.series[name], strict=True))
        for batch, value in zip(*a.series[name], strict=True):
            if batch not in of_b:
                continue
            batches.add(batch)
            if not _same(value, of_b[batch]):
                apart.setdefault(batch, {})[name] = (value, of_b[batch])
    if not apart:
        return len(batches), None
    first = min(apart)
    return len(batches), Parting(first, apart[first])


def _agreement(a: RunRecord, b: RunRecord) -> Agreement | None:
    x, y = a.evaluation, b.evaluation
    if x is None or y is None or x.classes != y.classes:
        return None
    if x.truth is None or y.truth is None or x.predicted is None or y.predicted is None:
        return None
    if not torch.equal(x.truth, y.truth):
        return None
    right_a, right_b = x.predicted == x.truth, y.predicted == y.truth
    return Agreement(
        both=int((right_a & right_b).sum()),
        only_a=int((right_a & ~right_b).sum()),
        only_b=int((right_b & ~right_a).sum()),
        neither=int((~right_a & ~right_b).sum()),
    )


def difference_words(value: Any) -> str:
    """A setting of one of two runs, or a dash."""
    return repr(value) if isinstance(value, Absent) else setting(value)


def where_they_part(comparison: Comparison) -> str:
    """In words, whether and where the two runs part.

    Example:
        >>> rest = dict(config={}, environment={}, evaluation=None, weights=None, rows=[])
        >>> empty = RunRecord(path=Path("a"), series={}, **rest)
        >>> where_they_part(compare(empty, empty))
        'No training batch was recorded by both.'
    """
    a, b = comparison.a.batches, comparison.b.batches
    lengths = "" if a == b else f" The first recorded {a:,} batches, the second {b:,}."
    if not comparison.shared:
        return f"No training batch was recorded by both.{lengths}"
    if comparison.parting is None:
        return (
            f"They are identical in all {comparison.shared:,} batches that both recorded.{lengths}"
        )
    batch, values = comparison.parting
    listed = ", ".join(f"{name} {_apart(x, y)}" for name, (x, y) in values.items())
    before = "from the first batch on" if batch == 0 else f"at training batch {batch:,}"
    return f"They part {before}: {listed}.{lengths}"


def _apart(x: float, y: float) -> str:
    """Two numbers with as many digits as tell them apart, and at least five."""
    for digits in range(5, 17):
        one, other = f"{x:.{digits}g}", f"{y:.{digits}g}"
        if one != other:
            return f"{one} against {other}"
    return f"{x!r} against {y!r}"


def agreement_words(agreement: Agreement) -> str:
    """How many items one gets right and the other does not, and whether that could be chance.

    Example:
        >>> print(agreement_words(Agreement(both=90, only_a=0, only_b=5, neither=5)))
        Item by item, 90 are right in both and 5 wrong in both; 0 are right in the first alone, 5 in
        the second alone. A fair coin would be as uneven 6.2 % of the time.
    """
    said = (
        f"Item by item, {agreement.both:,} are right in both and {agreement.neither:,} wrong in "
        f"both; {agreement.only_a:,} are right in the first alone, {agreement.only_b:,} in the "
        "second alone."
    )
    if not agreement.only_a + agreement.only_b:
        return said
    chance = "less than 0.1 %" if agreement.chance < 0.001 else percent(agreement.chance)
    return f"{said} A fair coin would be as uneven {chance} of the time."


def _lines(comparison: Comparison, width: int | None) -> list[str]:
    lines = [
        f"a  {comparison.a.path}  ({comparison.a.status})",
        f"b  {comparison.b.path}  ({comparison.b.status})",
    ]
    if comparison.other_data:
        lines += ["", OTHER_DATA]
    for title, pairs in (
        ("settings", comparison.settings),
        ("environment", comparison.environment),
    ):
        lines += ["", f"{title}: no difference" if not pairs else f"{title} that differ"]
        names = max((len(d.name) for d in pairs), default=0)
        most = 60 if width is None else max(8, min(60, (width - names - 6) // 2))
        cut = [(d.name, _short(d.a, most), _short(d.b, most)) for d in pairs]
        lines += _columns(cut, ("", "a", "b"))
    lines += ["", where_they_part(comparison), ""]
    score_rows: list[tuple[str, ...]] = []
    for of_a, of_b in comparison.scores:
        name = (of_a or of_b or Score("", None, None, None)).name
        finals = [None if score is None else score.final for score in (of_a, of_b)]
        bests = [None if score is None else score.best for score in (of_a, of_b)]
        score_rows.append((name, *(shown(name, value) for value in (*finals, *bests))))
    lines += _columns(score_rows, ("", "a", "b", "best of a", "best of b"))
    spent = [duration(sum(time.epochs)) if time.epochs else "–" for time in comparison.times]
    lines += ["", f"time of all epochs: {spent[0]} against {spent[1]}"]
    if comparison.agreement is not None:
        lines += ["", agreement_words(comparison.agreement)]
    return lines


def _short(value: Any, most: int) -> str:
    words = difference_words(value)
    return words if len(words) <= most else f"{words[: most - 2]} …"


def _columns(rows: list[tuple[str, ...]], head: tuple[str, ...]) -> list[str]:
    if not rows:
        return []
    rows = [tuple(printable(word, one_line=True) for word in row) for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return [
        "  " + "  ".join(word.ljust(w) for word, w in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    ]
