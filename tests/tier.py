"""How much is tried at every change, and how much more in the large tier, where LEHR_NIGHTLY=1."""

import os
from collections.abc import Collection, Iterable
from typing import Any

import pytest

NIGHTLY = os.environ.get("LEHR_NIGHTLY") == "1"


def count(n: int) -> int:
    """``n`` at every change; ten times that in the large tier."""
    return n * 10 if NIGHTLY else n


def some(few: Collection[Any], values: Iterable[Any]) -> list[Any]:
    """Parameters of a test: those of a few at every change, the others in the large tier alone."""
    return [
        pytest.param(value, marks=[] if value in few else [pytest.mark.large]) for value in values
    ]
