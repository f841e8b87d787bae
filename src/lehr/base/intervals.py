"""How often: ``"500 steps"``, ``"2 epochs"``."""

import re
from typing import NamedTuple


class Every(NamedTuple):
    """A count of a unit.

    Example:
        >>> every("500 steps")
        Every(number=500, unit='steps')
        >>> str(every("1 epochs"))
        '1 epoch'
    """

    number: int
    unit: str

    def __str__(self) -> str:
        return f"{self.number} {self.unit if self.number > 1 else self.unit.removesuffix('s')}"


EVERY_EPOCH = Every(1, "epochs")


def every(
    text: object, *, argument: str = "every", units: tuple[str, ...] = ("steps", "epochs")
) -> Every:
    """The interval that ``text`` spells: a whole number and a unit.

    Args:
        text: for example ``"500 steps"`` or ``"1 epoch"``.
        argument: the argument's name, for the message.
        units: the units allowed, in the plural.

    Raises:
        ValueError: ``text`` is anything else.

    Example:
        >>> every("1 epoch").unit
        'epochs'
    """
    match = re.fullmatch(r"\s*([1-9]\d*)\s*([a-z]+?)s?\s*", text) if isinstance(text, str) else None
    if match is None or f"{match[2]}s" not in units:
        raise ValueError(
            f"{argument} must be a whole number and a unit ({' or '.join(units)}); got {text!r}. "
            f'Write e.g. {argument}="500 {units[0]}".'
        )
    return Every(int(match[1]), f"{match[2]}s")
