"""Names of things, in one manner."""

import re


def snake_case(name: str) -> str:
    """A class's name as an attribute's.

    Example:
        >>> snake_case("MulticlassAUROC"), snake_case("MixUp")
        ('multiclass_auroc', 'mix_up')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
