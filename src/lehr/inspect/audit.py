"""Does this initialisation work? One forward and one backward pass tell."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from textwrap import wrap
from typing import Any

import torch
from torch import nn

from lehr.base.html import fill, lines
from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.nested import map_tensors
from lehr.base.reach import reached
from lehr.base.rows import aligned, markup, narrowed
from lehr.base.shared_models import check_whole
from lehr.callback import Callback
from lehr.inspect.audit_plot import plot
from lehr.inspect.cures import cure
from lehr.inspect.first_batch import first_batch
from lehr.inspect.first_loss import FirstLoss
from lehr.inspect.measure import Measured, Weights, measure
from lehr.inspect.sites import Site
from lehr.inspect.verdicts import Finding, judge
from lehr.learner import Learner
from lehr.loop.inventory import evaluates
from lehr.loop.undisturbed import undisturbed
from lehr.state.structure import keep_structure
from lehr.types import LossFunc

_NUMBERS = ("mean", "std", "across", "predicted", "signal", "grad", "weight grad")
_LEAST = ("predicted", "across", "output", "weight grad", "mean", "signal")
"""What a narrow place leaves out, the first at first."""
_HEAD = ("layer", "does", "output", *_NUMBERS, "notes")
_MEANING = {
    "mean": "mean of all numbers that the layer gives",
    "std": "standard deviation of all numbers that the layer gives",
    "across": "standard deviation from item to item, for each unit: what tells items apart",
    "predicted": "what across would be, by the layer's weights, if its inputs were independent",
    "signal": "how much is left of what told items apart, since the last normalisation",
    "grad": "length of the gradient that comes back to here, for one item",
    "weight grad": "standard deviation of the gradient of the layer's weights",
    "dead": "units that are 0 for every item",
    "saturated": "numbers at which the activation is flat, so that no gradient comes through",
    "–": "there is none",
}
"""What the columns and the marks of the table say."""
_PAGE = (
    "{{ rows }}<details><summary>what the columns say</summary><p>{{ legend }}</p></details>"
    "<p>{{ foot }}</p>"
)


@dataclass(frozen=True)
class Audit:
    """What a pass showed, and what is wrong with it; prints as a table with the verdicts below.

    A legend under the table says what its columns and marks are.

    Attributes:
        sites: everything that the signal met, in order; the output last.
        weights: every parameter of two dimensions or more.
        findings: what is wrong, problems first, then notes.
        items: in the batch.
        loss: of the batch; None without a loss function.
        before: the audit before a repair; None without one.
    """

    sites: tuple[Site, ...]
    weights: tuple[Weights, ...]
    findings: tuple[Finding, ...]
    items: int
    loss: float | None
    before: "Audit | None" = None

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that are problems."""
        return tuple(finding for finding in self.findings if finding.severity == "problem")

    @property
    def healthy(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dicts, for JSON.

        Example:
            >>> import torch
            >>> sorted(audit(nn.Linear(2, 2), torch.randn(8, 2)).to_dict())
            ['before', 'findings', 'healthy', 'items', 'loss', 'sites', 'weights']
        """
        from dataclasses import asdict

        return {
            "healthy": self.healthy,
            "items": self.items,
            "loss": self.loss,
            "findings": [asdict(finding) for finding in self.findings],
            "sites": [
                {**asdict(site), "own_gain": site.own_gain, "predicted": site.predicted}
                for site in self.sites
            ],
            "weights": [asdict(weights) for weights in self.weights],
            "before": None if self.before is None else self.before.to_dict(),
        }

    def plot(self, axes: Any = None) -> Any:
        """Draw the signal by depth, forward and back, and a histogram of each layer.

        Args:
            axes: two matplotlib axes to draw into, or None for a new figure.

        Returns:
            The figure.
        """
        return plot(self.sites, self.before.sites if self.before else (), axes)

    def _rows(self) -> list[tuple[str, ...]]:
        grads = {weights.name: weights.grad_std for weights in self.weights}
        return [_row(site, grads.get(site.parameter or "")) for site in self.sites]

    def _verdict(self) -> list[str]:
        if not self.findings:
            return [f"nothing wrong in {self.items} items"]
        said: list[str] = []
        for finding in self.findings:
            said.append(str(finding))
            if finding.meaning is not None:
                said.append(f"    that is: {finding.meaning}")
        return said

    def _change(self) -> list[str]:
        if self.before is None:
            return []
        was, now = self.before.sites[-1].out, self.sites[-1].out
        count = len(self.before.problems)
        problems = f"{count} problem{'s' * (count != 1)} before, {len(self.problems)} after"
        return [f"repaired: {problems}; output across items {was.across:.2g} → {now.across:.2g}"]

    def text(self, width: int | None = None) -> str:
        """The table, its legend, and the verdicts.

        Args:
            width: of the place for it, in characters; columns are left out until it fits, as far
                as it can.
        """
        head, rows = _HEAD, self._rows()
        if width is not None:
            head, rows = narrowed(head, rows, width, least=_LEAST)
        table, legend = aligned(head, rows, right=_NUMBERS), _legend(head, rows, width)
        return "\n".join([*table, "", *legend, "", *self._verdict(), *self._change()])

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows, foot = self._rows(), lines([*self._verdict(), *self._change()])
        legend = lines(f"{name}: {meaning}" for name, meaning in _meanings(_HEAD, rows))
        return fill(_PAGE, rows=markup(_HEAD, rows), legend=legend, foot=foot)


def audit(
    model: nn.Module,
    batch: Any,
    loss_func: LossFunc | None = None,
    *,
    repair: str | None = None,
    seed: int = 0,
) -> Audit:
    """Look at what one batch becomes in a model, and what comes back, before it is trained.

    It tells where the signal shrinks or grows, and by how much a layer; weights that are zero,
    copied, or of a wrong scale; units that are dead, saturated, or without gradient; normalisations
    that are fed constants. Everything happens on a copy in training mode without dropout: model,
    loss function and random state are left as they were, unless a repair is asked for.

    Args:
        model: any module that can be copied.
        batch: a pair (xb, yb) or inputs alone, 32 items or more; ``xb`` may be a tuple or a dict.
        loss_func: ``(pred, yb) -> scalar``; without it the gradient starts as random numbers.
        repair: ``"kaiming"``, ``"kaiming_uniform"``, ``"xavier"``, ``"xavier_uniform"``,
            ``"lecun"``, ``"orthogonal"``, ``"delta_orthogonal"`` or ``"lsuv"`` initialise the
            model anew, in place, with the gain of the activation beside each layer; what begins at
            zero on purpose, heads and ends of residual branches, stays zero. ``"fixup"`` also
            scales residual branches down and zeroes their ends; ``"zero_last"`` does only that.
        seed: of the random gradient, of randomness in the model, and of the repair.

    Returns:
        The audit; after a repair that of the repaired model, with the other as its ``before``.

    Raises:
        ValueError: the batch has fewer than two items, the model shows no layers or is sharded, a
            buffer of it has no shape yet, something is on the device ``meta``, or there is no such
            repair.
        TypeError: the model has no forward or cannot be copied, or the batch is of no known form.

    Example:
        >>> import torch
        >>> layers = [layer for _ in range(8) for layer in (nn.Linear(64, 64), nn.ReLU())]
        >>> model, batch = nn.Sequential(*layers), torch.randn(64, 64)
        >>> [finding.kind for finding in audit(model, batch).problems]
        ['shrinks']
        >>> audit(model, batch, repair="kaiming").healthy
        True

    Reference:
        He et al., "Delving deep into rectifiers", 2015, section 2.2, for what a gain predicts;
        Mishkin and Matas, "All you need is a good init", 2016, for the repair "lsuv".
    """
    _check_whole(model)
    look = partial(measure, batch=batch, loss_func=loss_func, seed=seed)
    with _kept(loss_func, model):
        return _audit(model, batch, look, repair, seed)


def _audit(
    model: nn.Module,
    batch: Any,
    look: Callable[[nn.Module], Measured],
    repair: str | None,
    seed: int,
) -> Audit:
    before = _audited(look(model))
    if repair is None:
        return before
    with cure(model, batch, repair, before.sites, before.findings, seed=seed) as cured:
        return _audited(look(cured), before)


def audit_learner(learn: Learner, repair: str | None = None) -> Audit:
    """Check the initialisation of a Learner's model. See `lehr.Learner.audit`."""
    _check_whole(learn.model)
    device = next((p.device for p in learn.model.parameters()), torch.device("cpu"))
    batch = learn.split_batch(map_tensors(lambda t: t.to(device), first_batch(learn)))
    having = [type(callback).__name__ for callback in learn.callbacks if _has_a_say(callback)]
    look: dict[str, Any] = {"batch": batch, "loss_func": learn.loss_func, "seed": learn.seed}
    if having:
        look |= {"loss_func": None, "answer": partial(FirstLoss, learn)}
    # The copy of the model has the hooks that callbacks read.
    with undisturbed(learn), _kept(learn.loss_func, learn.model):
        seen = _audit(learn.model, batch, partial(measure, **look), repair, learn.seed)
    if having and seen.loss is None:
        seen = replace(seen, findings=(*seen.findings, _without_loss(having)))
    return seen


def _check_whole(model: Any) -> None:
    todo = "Audit it before it is sharded: lehr.audit(model, batch), or a Learner without engine."
    if isinstance(model, nn.Module):  # of anything else, `measure` says what it is
        check_whole(model, "an audit", todo)


@interrupts_wait_at_both_ends
@contextmanager
def _kept(loss_func: Any, model: nn.Module) -> Generator[None]:
    """A scope after which the modules of a loss function are as before, but for the model's."""
    held = [thing for _, thing in reached(loss_func) if isinstance(thing, nn.Module)]
    own = (*model.modules(), *model.parameters(), *model.buffers())  # a repair changes these
    put_back = keep_structure(held, containers=False, seen={id(part): part for part in own})
    try:
        yield
    finally:
        put_back()


def _has_a_say(callback: Callback) -> bool:
    """Whether what the model is asked, or its loss, may be another with this callback."""
    wraps = any(hasattr(callback, action) for action in ("predict", "compute_loss", "one_batch"))
    return evaluates(callback) and (wraps or tuple(callback.moves) == ("batches",))


def _without_loss(names: list[str]) -> Finding:
    return Finding(
        "without_loss",
        "note",
        (),
        "the gradient began as random numbers, not with the loss: with "
        f"{', '.join(names)} there is none of the whole batch that is computed at once.",
        {},
    )


def _audited(measured: Measured, before: Audit | None = None) -> Audit:
    findings = tuple(judge(measured))
    return Audit(
        tuple(measured.sites),
        tuple(measured.weights),
        findings,
        measured.items,
        measured.loss,
        before,
    )


def _meanings(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """What the columns that are there mean, and the marks that are used."""
    used = {word.rstrip(",") for row in rows for word in row[-1].split()}
    used |= {cell for row in rows for cell in row if cell == "–"}
    return [(name, said) for name, said in _MEANING.items() if name in used.union(head)]


def _legend(
    head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None
) -> list[str]:
    """Lines of text below a table, which fit into a place of that width."""
    found = _meanings(head, rows)
    room = max(len(name) for name, _ in found) + 2
    legend = [f"{name:<{room}}{said}" for name, said in found]
    if width is None:
        return legend
    indented = partial(wrap, width=width, subsequent_indent=" " * room)
    return [part for line in legend for part in indented(line)]


def _row(site: Site, weight_grad: float | None) -> tuple[str, ...]:
    notes = [
        f"{share:.0%} {word}"
        for word, share in (("dead", site.dead), ("saturated", site.saturated))
        if share
    ]
    return (
        site.name,
        site.kind,
        str(site.shape),
        *map(_number, (site.out.mean, site.out.std, site.out.across, site.predicted, site.signal)),
        *map(_number, (None if site.grad is None else site.grad.norm, weight_grad)),
        ", ".join(notes),
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
