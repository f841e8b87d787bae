"""A Learner in a few lines, for a prompt or a notebook."""

from typing import Any

from torch import nn

from lehr.base.rows import aligned, html_rows, markup
from lehr.learner import Learner
from lehr.optim import optimizers
from lehr.state.wrappers import bare


def facts(learn: Learner) -> list[list[str]]:
    """What a Learner holds, and how far it has trained, as pairs of texts.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> facts(tiny_learner())[0]
        ['model', 'Sequential, 26 parameters']
    """
    model = bare(learn.model)
    size = sum(p.numel() for p in model.parameters() if not nn.parameter.is_lazy(p))
    rows = [
        ["model", f"{type(model).__name__}, {size:,} parameters"],
        ["opt", "; ".join(map(_optimizer, optimizers.by_name(learn.opt).values()))],
        ["loss", _name(learn.loss_func)],
        ["data", repr(learn.data)],
        ["metrics", ", ".join(map(_name, learn.metrics))],
        ["callbacks", ", ".join(map(repr, learn.callbacks))],
        ["trained", f"{learn.epochs_done:,} epochs, {learn.steps_done:,} steps"],
    ]
    return [row for row in rows if row[1]]


def text(learn: Learner) -> str:
    """A Learner as lines of text."""
    head, *rows = facts(learn)
    return "\n".join(["Learner", *(f"  {line}" for line in aligned(head, rows))])


def html(learn: Learner) -> str:
    """A Learner as a table, and the history of its last run."""
    held = markup(["Learner", ""], facts(learn))
    return held if learn.run is None else held + html_rows(learn.run.history.rows)


def _name(thing: Any) -> str:
    return thing if isinstance(thing, str) else getattr(thing, "__name__", "") or repr(thing)


def _optimizer(opt: Any) -> str:
    rates = dict.fromkeys(f"{group['lr']:g}" for group in opt.param_groups if "lr" in group)
    return ", lr ".join([type(opt).__name__, *([" and ".join(rates)] if rates else [])])
