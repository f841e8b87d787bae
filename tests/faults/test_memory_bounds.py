"""A small file takes little memory, whatever it says of itself: within 300 MB, or it is refused."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited there alone")

TOLD = {
    "images": r"DataBunch\(train: 1 batches",
    "idx_with_more": "ValueError: .*more has trailing bytes",
    "idx_that_promises": "ValueError: .*promise would unpack from .* to 1,073,741,824 bytes",
    "cifar": r"ValueError: .*tar\.gz must be .* holds something larger than the 30,730,000 bytes",
    "npz": r"ValueError: .*a\.npz would unpack from .* to 1,073,741,952 bytes",
    "npz_that_lies": r"ValueError: .*lie\.npz must be a whole \.npy or \.npz file",
    "categories": r"ValueError: a\.csv would become 40,000 rows of 40,000 features",
    "pickled": r"ValueError: .*a\.pt is refused: .* asks for a bytearray",
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    program = Path(__file__).with_name("bombs.py")
    command = [sys.executable, str(program), str(tmp_path_factory.mktemp("bombs")), "300"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("bomb", TOLD)
def test_a_small_file_takes_little_memory(outcome, bomb):
    assert re.match(TOLD[bomb], outcome["said"][bomb])


@pytest.mark.slow
def test_every_bomb_is_looked_at_and_small(outcome):
    assert outcome["said"].keys() == TOLD.keys()
    assert max(outcome["sizes"].values()) < 6_000_000
