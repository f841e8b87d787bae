"""A run folder, damaged in any way, is read or refused in plain words, within bounds of memory and
time, and reading changes nothing in it."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tier import NIGHTLY

from . import figures

COUNT = 400 if NIGHTLY else 8
FIRST = random.randrange(10**6) if NIGHTLY else 0  # named by a fault, to be made again
PROGRAM = Path(__file__).with_name("fuzz.py")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited there alone")


@pytest.mark.slow
@pytest.mark.timeout(3600 if NIGHTLY else 300)
def test_a_damaged_run_folder_is_read_or_refused(tmp_path):
    command = [sys.executable, str(PROGRAM), str(tmp_path), str(FIRST), str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *faults, counts = map(json.loads, done.stdout.splitlines())
    row = {"mutations": counts["done"], "refused": counts["refused"], "faults": len(faults)}
    figures.keep("fuzzed_run_folders", "run folders", row, ["run folders"])
    assert not faults, json.dumps(faults, indent=1)
    assert counts["done"] == COUNT
    assert counts["worked"] > COUNT  # the damage is not so large that nothing is left to read
    assert counts["refused"] > COUNT // 10  # nor so small that nobody sees it
