"""The validation set that a look at a Learner is taken on."""

from collections.abc import Mapping
from typing import Any, cast

from lehr.learner import Learner


def validation(learn: Learner, data: Any = None) -> Any:
    """The loader to look at: ``data``, or the Learner's validation loader, the first of several.

    Raises:
        ValueError: there is none.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner()
        >>> validation(learn) is learn.data.valid_dl, validation(learn, [1])
        (True, [1])
    """
    loader = learn.data.valid_dl if data is None else data
    if isinstance(loader, Mapping):
        loader = next(iter(cast("Mapping[str, Any]", loader).values()), None)
    if loader is None:
        raise ValueError(
            "there is no validation loader; data.valid_dl is None. Give a loader of batches."
        )
    return loader


def class_names(learn: Learner, c: int) -> tuple[str, ...]:
    """The names of ``c`` classes, as the data have them; else their numbers.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> class_names(tiny_learner(), 2)
        ('0', '1')
    """
    names = tuple(map(str, getattr(learn.data, "classes", None) or ()))
    return names if len(names) == c else tuple(map(str, range(c)))
