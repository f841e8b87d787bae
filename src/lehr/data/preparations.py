"""Any kind of preparation from what was written down about it."""

from collections.abc import Mapping
from typing import Any, cast

from lehr.data.preparation import Preparation
from lehr.errors import did_you_mean


def preparation_from(stored: Any) -> Preparation:
    """The preparation whose ``to_dict`` made ``stored``: of images, of a table or of arrays.

    Nothing in it is trusted and nothing in it is executed.

    Args:
        stored: a dict of strings, numbers and lists, with the kind under ``"kind"``.

    Raises:
        ValueError: it is no dict, or of no kind that lehr knows, or a field in it is wrong.

    Example:
        >>> from lehr.data import digits
        >>> preparation = digits().preparation
        >>> preparation_from(preparation.to_dict()) == preparation
        True
    """
    kinds = ("image", "table", "array")
    if not isinstance(stored, Mapping):
        raise ValueError(
            f"a preparation must be a dict; got {type(stored).__name__}. Give what to_dict made."
        )
    kind = cast("Mapping[str, Any]", stored).get("kind")
    if kind == "image":
        from lehr.data.images.preparation import ImagePreparation

        return ImagePreparation.from_dict(stored)
    if kind == "table":
        from lehr.data.tables.preparation import TablePreparation

        return TablePreparation.from_dict(stored)
    if kind == "array":
        from lehr.data.array_sets.preparation import ArrayPreparation

        return ArrayPreparation.from_dict(stored)
    from lehr.base.stored import shown

    raise ValueError(
        f"there is no preparation of kind {shown(kind)}. {did_you_mean(str(kind)[:80], kinds)} "
        "Is the file of a newer version, or damaged?"
    )
