"""The stand-in for timm, for the tests of models."""

import importlib
import sys
from pathlib import Path

import pytest

STAND_IN = Path(__file__).parent / "stand_in"


@pytest.fixture
def timm(monkeypatch):
    """The stand-in, found by ``import timm`` whether or not timm itself is installed."""
    monkeypatch.syspath_prepend(STAND_IN)
    before = sys.modules.pop("timm", None)
    yield importlib.import_module("timm")
    del sys.modules["timm"]
    if before is not None:
        sys.modules["timm"] = before
