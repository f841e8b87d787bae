"""What tests of several files need."""

import pytest

from .programs import program


@pytest.fixture
def page():
    """What makes docs/speed.md; a file of tests about another page has its own."""
    return program("docs/speed.py")
