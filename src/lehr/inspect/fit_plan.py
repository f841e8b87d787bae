"""What a fit is going to do: by step, as a table, and as a chart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lehr.base.html import fill, lines
from lehr.base.rows import aligned, markup

if TYPE_CHECKING:
    from rich.table import Table

_MOST_ROWS = 30


@dataclass(frozen=True)
class FitPlan:
    """What a fit is going to do; prints as text, with rich and in a notebook as a table.

    The table has a row for the first step of every epoch, for every step before which something
    happens, and for the highest and lowest of each number; a long plan leaves many of them out. The
    last row is the end. The numbers of all steps are in the attributes.

    Attributes:
        epochs: the epoch of each optimizer step.
        batches: how many training batches make each step.
        values: what each step uses of every number that is scheduled, and of lr: a list for each
            place, ``"lr"`` or, for several parameter groups, ``"lr[0]"``, ``"lr[1]"``. None where
            there is no such group yet.
        trained: how many numbers in the model's parameters each step may change.
        freezes: which parameters are frozen from which step on, as text by step.
        validations: how many steps are done at each validation.
        saves: how many steps are done where a checkpoint is saved.
        unforeseen: callbacks that drive a number by what they measure: it may come otherwise.

    Example:
        >>> plan = FitPlan([0, 0], [1, 1], {"lr": [0.1, 0.05]}, [9, 9], {}, [2], [0, 2], [])
        >>> print(plan)
        step  epoch   lr  before
           0      0  0.1  save
           1      0  0.05
           2          –  validate, save
        2 steps in 1 epoch, 1 batch a step; 1 validation, 2 checkpoints
    """

    epochs: Sequence[int]
    batches: Sequence[int]
    values: Mapping[str, Sequence[float | None]]
    trained: Sequence[int]
    freezes: Mapping[int, str]
    validations: Sequence[int]
    saves: Sequence[int]
    unforeseen: Sequence[str]

    @property
    def steps(self) -> int:
        """How many optimizer steps the fit makes."""
        return len(self.epochs)

    def at(self, step: int) -> dict[str, float | None]:
        """What step number ``step``, counted from 0, uses of every number.

        Raises:
            IndexError: the fit has no such step.

        Example:
            >>> FitPlan([0], [1], {"lr": [0.1]}, [9], {}, [], [], []).at(0)
            {'lr': 0.1}
        """
        if not 0 <= step < self.steps:
            raise IndexError(f"step must be in 0 to {self.steps - 1}; got {step}.")
        return {name: column[step] for name, column in self.values.items()}

    def happens(self, step: int) -> list[str]:
        """What happens when so many steps are done, before the next.

        Example:
            >>> FitPlan([0], [1], {}, [9], {}, [1], [0, 1], []).happens(1)
            ['validate', 'save']
        """
        said = ["validate"] * (step in self.validations) + ["save"] * (step in self.saves)
        return [*said, *([self.freezes[step]] if step in self.freezes else [])]

    def plot(self, axes: Any = None) -> Any:
        """Draw every scheduled number by step, with epochs, freezes, validations and saves.

        Args:
            axes: one for each number of `quantities`, and one more for what happens; None makes
                new ones.

        Returns:
            The matplotlib figure.

        Raises:
            ValueError: the axes are more or fewer.
        """
        from lehr.inspect.plan_plot import plot

        return plot(self, axes)

    @property
    def quantities(self) -> dict[str, list[str]]:
        """The names in `values`, by what they have in common: the groups of each number.

        Example:
            >>> values = {"lr[0]": [0.1], "lr[1]": [1.0], "model.1.p": [0.5]}
            >>> FitPlan([0], [1], values, [9], {}, [], [], []).quantities
            {'lr': ['lr[0]', 'lr[1]'], 'model.1.p': ['model.1.p']}
        """
        grouped: dict[str, list[str]] = {}
        for name in self.values:
            grouped.setdefault(name.partition("[")[0], []).append(name)
        return grouped

    def __str__(self) -> str:
        head, rows = self._table()
        right = [name for name in head if name != "before"]
        return "\n".join([*aligned(head, rows, right=right), *self._foot()])

    __repr__ = __str__

    def __rich__(self) -> "Table":
        from rich.table import Table

        head, rows = self._table()
        table = Table(caption="\n".join(self._foot()), caption_justify="left")
        for name in head:
            table.add_column(name, justify="left" if name == "before" else "right")
        for row in rows:
            table.add_row(*row)
        return table

    def _repr_html_(self) -> str:
        table, foot = markup(*self._table()), lines(self._foot())
        return fill("{{ table }}<small>{{ foot }}</small>", table=table, foot=foot)

    def _table(self) -> tuple[list[str], list[list[str]]]:
        varying = ["batches"] * (len(set(self.batches)) > 1)
        head = ["step", "epoch", *varying, *self.values, "before"]
        rows: list[list[str]] = []
        for step in self._shown():
            past = step == self.steps
            epoch = "" if past else str(self.epochs[step])
            batches = ["" if past else str(self.batches[step])] if varying else []
            numbers = [_text(None if past else column[step]) for column in self.values.values()]
            rows.append([str(step), epoch, *batches, *numbers, ", ".join(self.happens(step))])
        return head, rows

    def _shown(self) -> list[int]:
        """The steps that have a row: all that stand out, and others as far as there is room."""
        always = {0, self.steps, *self.freezes, *self._extremes()}
        others = {*self.begins, *self.validations, *self.saves} - always
        room = max(_MOST_ROWS - len(always), 0)
        if len(others) > room:
            every = -(-len(others) // room) if room else len(others)
            others = set(sorted(others)[every - 1 :: every])
        return sorted(always | others)

    @property
    def begins(self) -> list[int]:
        """The first step of each epoch.

        Example:
            >>> FitPlan([0, 0, 1], [1, 1, 1], {}, [9, 9, 9], {}, [], [], []).begins
            [0, 2]
        """
        return [s for s in range(self.steps) if s == 0 or self.epochs[s] != self.epochs[s - 1]]

    def _extremes(self) -> Iterator[int]:
        """Where each number is highest and lowest."""
        for column in self.values.values():
            known = [step for step in range(self.steps) if column[step] is not None]
            if len({column[step] for step in known}) > 1:
                yield max(known, key=lambda step: column[step] or 0.0)
                yield min(known, key=lambda step: column[step] or 0.0)

    def _foot(self) -> list[str]:
        sizes = sorted(set(self.batches))
        each = str(sizes[0]) if sizes else "0"
        if len(sizes) > 1:
            each = f"{sizes[0]} to {sizes[-1]}"
        epochs = _count(len(set(self.epochs)), "epoch")
        batches = f"{each} batch{'' if each == '1' else 'es'} a step"
        foot = [
            f"{_count(self.steps, 'step')} in {epochs}, {batches}; "
            f"{_count(len(self.validations), 'validation')}, "
            f"{_count(len(self.saves), 'checkpoint')}"
        ]
        if self.unforeseen:
            foot.append(f"may come otherwise, by what they measure: {', '.join(self.unforeseen)}")
        return foot


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
