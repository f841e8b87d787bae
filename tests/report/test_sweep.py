"""The search for a learning rate is read back as it was, and without trust."""

import json

import pytest

from lehr.inspect.find_lr import LRCurve
from lehr.report.sweep import Sweep

CURVE = LRCurve([0.1, 0.2, 0.4], [2.0, 1.0, 3.0], 0.2)


def test_what_is_saved_is_loaded(tmp_path):
    Sweep(CURVE, 1.5).save(tmp_path)
    assert Sweep.load(tmp_path) == Sweep(CURVE, 1.5)
    assert Sweep.load(tmp_path) != Sweep(CURVE, 2.5)


def test_a_folder_without_one_has_none(tmp_path):
    assert Sweep.load(tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lrs": [0.1]}, r"it must have a loss for each rate, and at least one"),
        ({"lrs": [], "losses": []}, r"it must have a loss for each rate, and at least one"),
        ({"suggestion": 0.3}, r"the suggestion must be one of the rates"),
        ({"lrs": [0.1, -1, 1]}, r"lrs\[1\] must be a finite number above 0; got -1"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(tmp_path, changes, message):
    Sweep(CURVE, 1.5).save(tmp_path)
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=rf"is damaged: {message}.*Remove it to do without\.$"):
        Sweep.load(tmp_path)
