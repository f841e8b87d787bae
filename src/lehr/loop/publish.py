"""A number that a callback publishes, on its way to the right place of the history."""

from numbers import Real
from typing import Any

from torch import Tensor

from lehr.base.nested import describe
from lehr.errors import words
from lehr.record.history import column
from lehr.types import RECORDED


def publish(run: Any, name: str, value: float | Tensor) -> None:
    """See `lehr.loop.run.Run.log`."""
    if run.replaying:
        return  # regrad counts nothing
    if words("name", name) in RECORDED:
        raise ValueError(f"run.log cannot write {name!r}: the recorder does. Choose another name.")
    is_one_number = value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, Real)
    if not is_one_number:
        raise TypeError(
            f"run.log({name!r}, …) takes one number; got {describe(value)}. "
            "Reduce it first, e.g. with .mean()."
        )
    if not run.in_batch:
        if run.loop is None:
            raise RuntimeError(
                f"run.log({name!r}, …) was called when the run was not under way: the number would "
                "belong to no row. Log in a callback; after_fit is the last event."
            )
        if run.scopes.depth > 1 and not run.history.row_is_open:  # a validation has ended its row
            run.history.open_row(epoch=run.epoch, step=run.n_steps)
        run.history.log_row(name, value)
    elif run.training:
        run.history.log_step(name, value, batch=run.epoch_start + run.batch_index)
    else:
        weight = run.plan.weight(run) if run.weight is None else run.weight  # as in begin_batch
        run.history.log_mean(column(f"valid_{name}", run.valid_name), value, weight)
