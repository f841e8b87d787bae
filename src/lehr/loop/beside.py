"""Callbacks that cannot be attached together."""

from typing import Any

from lehr.callback import Callback


def refuse_beside(run: Any, callback: Callback, kinds: Any, why: str) -> None:
    """See that none of these classes is among the callbacks of a run.

    Args:
        run: the run.
        callback: the one that cannot be used together with them.
        kinds: a class, or a tuple of them.
        why: the reason and the way out, in words that follow a colon.

    Raises:
        ValueError: a callback of such a class is there.

    Example:
        >>> from lehr.callbacks import SAM, Closure
        >>> from lehr.testing import tiny_learner
        >>> tiny_learner([SAM(), Closure()]).fit(1)
        Traceback (most recent call last):
        ValueError: SAM cannot be used together with Closure: ...
    """
    for other in run.callbacks:
        if isinstance(other, kinds):
            names = f"{type(callback).__name__} cannot be used together with {type(other).__name__}"
            raise ValueError(f"{names}: {why}")
