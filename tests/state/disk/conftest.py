"""A checkpoint on the disk."""

import pytest

from lehr.state.disk import checkpoint

from .forged import INFO, snapshot


@pytest.fixture
def folder(tmp_path):
    checkpoint.write(tmp_path / "a", snapshot(), INFO)
    return tmp_path / "a"
