"""What is needed to make a step again that ended a run, in a file."""

import re

import pytest

from lehr.state.disk import capsule

SAID = {
    "run": "a",
    "step": 9,
    "epoch": 1,
    "batch": 3,
    "error": "ValueError: no",
    "where": "predict",
    "checkpoint": "step-00000008",
    "settings": {"epochs": 2},
    "environment": {"threads": 1},
}


def test_what_was_written_is_read_and_only_the_last_is_kept(tmp_path):
    assert capsule.read(tmp_path) is None
    capsule.write(tmp_path, **{**SAID, "step": 4})
    path = capsule.write(tmp_path, **SAID)
    assert capsule.read(tmp_path) == {"format": "lehr capsule", "version": 1, **SAID}
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_small_whatever_the_error_says(tmp_path):
    path = capsule.write(tmp_path, **{**SAID, "error": "x" * 10**7})
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match=r"failed\.json would take \d+ bytes; it may take 1048576"):
        capsule.write(tmp_path, **{**SAID, "settings": {"many": ["x" * 100] * 20_000}})
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"step": -1}, "step must be"),
        ({"version": 2}, "version must be 1; got 2"),
        ({"format": "another"}, "format must be one of lehr capsule; got 'another'"),
        ({"more": 1}, "unknown: more"),
    ],
)
def test_a_damaged_one_is_refused(tmp_path, change, reason):
    path = capsule.write(tmp_path, **SAID)
    text = path.read_text()
    path.write_text(text[:-5])
    with pytest.raises(ValueError, match=r"failed\.json is damaged: .* Say which step is meant"):
        capsule.read(tmp_path)
    capsule.write(tmp_path, **{**SAID, **change})
    with pytest.raises(ValueError, match=re.escape(reason)):
        capsule.read(tmp_path)
