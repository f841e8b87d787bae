"""A classifier's errors for a reader: confusion matrix, classes, worst mistakes."""

from lehr.report.evaluation import Evaluation, Mistake
from lehr.report.markup import Html, join, table, tag
from lehr.report.pictures import data_uri
from lehr.report.words import percent

MOST_NUMBERS = 25
"""With more classes, the matrix is drawn without numbers."""

MOST_CELLS = 100
"""With more classes, the matrix is not drawn at all."""


def matrix(evaluation: Evaluation) -> Html | None:
    """The confusion matrix: with numbers, as a map, or None where there are too many classes."""
    c = len(evaluation.classes)
    if c <= MOST_NUMBERS:
        return _numbers(evaluation)
    return _map(evaluation) if c <= MOST_CELLS else None


def shade(count: int, total: int) -> float:
    """How dark a cell is, by its share of the row: rare errors stay visible.

    Example:
        >>> shade(0, 10), round(shade(1, 100), 3), shade(10, 10)
        (0.0, 0.199, 1.0)
    """
    return 0.11 + 0.89 * (count / total) ** 0.5 if count and count < total else float(count > 0)


def _numbers(evaluation: Evaluation) -> Html:
    names, rows = evaluation.classes, evaluation.counts()
    upright = "upright" if max(map(len, names)) > 3 and len(names) > 4 else None
    head = [tag("th", tag("span", name, class_=upright, title=name), scope="col") for name in names]
    body: list[Html] = []
    for truth, counts in enumerate(rows):
        total = sum(counts)
        cells = [
            _cell(count, total, "hit" if guess == truth else "miss")
            for guess, count in enumerate(counts)
        ]
        name = tag("span", names[truth], title=names[truth])
        body.append(tag("tr", tag("th", name, scope="row"), *cells))
    corner = tag("td", "truth ↓ given →", class_="corner", style="background: none")
    return tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", corner, *head)),
            tag("tbody", *body),
            class_="matrix",
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label="confusion matrix",
    )


def _cell(count: int, total: int, kind: str) -> Html:
    if not count:
        return tag("td", "·", class_="none")
    dark = shade(count, total)
    return tag(
        "td", f"{count:,}", class_=f"{kind} full" if dark > 0.72 else kind, style=f"--a: {dark:.2f}"
    )


def _map(evaluation: Evaluation) -> Html:
    names, totals = evaluation.classes, evaluation.totals()
    cells: list[Html] = []
    found = [(t, g, n) for t, row in enumerate(evaluation.counts()) for g, n in enumerate(row) if n]
    for truth, guess, count in found:
        cells.append(
            tag(
                "rect",
                tag("title", f"{names[truth]} → {names[guess]}: {count}"),
                x=guess,
                y=truth,
                width="1",
                height="1",
                class_="hit" if truth == guess else "miss",
                style=f"--a: {shade(count, totals[truth]):.2f}",
            )
        )
    c = len(names)
    edge = f'<rect width="{c}" height="{c}" fill="var(--wash)"/>'
    label = f"confusion matrix of {c} classes; the tables say it in numbers"
    svg = f'<svg role="img" aria-label="{label}" viewBox="0 0 {c} {c}">{edge}{join(*cells)}</svg>'
    return tag("div", Html(svg), class_="map")


def confused_pairs(evaluation: Evaluation, k: int = 12) -> Html | None:
    """The commonest errors as a table; None if there are no errors."""
    names, totals = evaluation.classes, evaluation.totals()
    rows = [
        [f"{names[truth]} → {names[guess]}", f"{count:,}", percent(count / totals[truth])]
        for truth, guess, count in evaluation.most_confused(k)
    ]
    if not rows:
        return None
    return table(
        ["truth → given", "items", "of its class"],
        rows,  # type: ignore[reportArgumentType]
        caption="The commonest errors.",
        class_="book numbers",
    )


def class_table(evaluation: Evaluation) -> Html:
    """Precision and recall of each class; folded where there are many."""
    items = evaluation.totals()
    shares = zip(
        evaluation.classes, items, evaluation.precision(), evaluation.recall(), strict=True
    )
    made = table(
        ["class", "items", "precision", "recall"],
        [
            [name, f"{n:,}", percent(precision), percent(recall)]
            for name, n, precision, recall in shares
        ],
        caption="Precision (of what was given the class, the share that belongs there) and recall "
        "(of what belongs there, the share that was found).",
        class_="book numbers",
    )
    if len(items) <= MOST_NUMBERS:
        return made
    return tag("details", tag("summary", f"All {len(items)} classes"), made)


def mistakes(evaluation: Evaluation) -> Html | None:
    """The worst mistakes as a grid of pictures, or of words; None if there are none."""
    if not evaluation.mistakes:
        return None
    cards = [_card(mistake, evaluation.classes) for mistake in evaluation.mistakes]
    pictures = any(mistake.picture is not None for mistake in evaluation.mistakes)
    grid = tag("ul", *cards, class_="mistakes" if pictures else "mistakes wide-words")
    return tag(
        "figure",
        grid,
        tag(
            "figcaption",
            f"The {len(cards)} items that were given the least probability for their true class, "
            "worst first; with each its number in the validation pass."
            if len(cards) > 1
            else "The only mistake, with its number in the validation pass.",
        ),
    )


def _card(mistake: Mistake, classes: tuple[str, ...]) -> Html:
    truth, said = classes[mistake.truth], classes[mistake.predicted]
    if mistake.picture is not None:
        shown = tag(
            "img",
            src=data_uri(mistake.picture),
            alt=f"item {mistake.index}: {truth}, taken for {said}",
            class_="pixels" if max(mistake.picture.shape[:2]) <= 64 else None,
        )
    else:
        shown = tag("p", mistake.text, class_="words") if mistake.text else None
    return tag(
        "li",
        shown,
        tag("div", truth, " → ", tag("span", said, class_="said")),
        tag("div", f"{percent(mistake.p_truth)} → {percent(mistake.p_predicted)}", class_="chance"),
        tag("div", f"no. {mistake.index:,}", class_="nr"),
    )
