"""Nothing grows with the number of steps or of fits; a Learner dies with its last name."""

import json
import sys
from pathlib import Path

import pytest

from tests.tier import NIGHTLY

from ..faults import figures

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
PROGRAM = Path(__file__).with_name("long_run.py")
EPOCHS, FITS = (2000, 500) if NIGHTLY else (100, 20)
MOST = 2**20  # bytes, from the middle of a run to its end
AN_EPOCH = {"memory": 6 * 2**10, "tensors": 1}  # its row and its losses, also in a checkpoint


@pytest.fixture
def ran(nursery):
    def run(epochs, fits, *more):
        code = PROGRAM.read_text(encoding="utf-8")
        done = nursery.run(str(epochs), str(fits), *more, code=code)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    return run


def grown(sizes):
    """How much more there is of anything at the end of the long run than in its middle."""
    middle, last = sizes["long"][len(sizes["long"]) // 2], sizes["long"][-1]
    return {what: last[what] - middle[what] for what in last}


@pytest.mark.slow
@pytest.mark.timeout(3600 if NIGHTLY else 300)
def test_a_long_run_and_many_short_ones_leave_nothing(ran):
    sizes = ran(EPOCHS, FITS)
    more = grown(sizes)
    row = {"epochs": EPOCHS, "fits": FITS, "more bytes": more["memory"]}
    row["more tensors"] = more["tensors"]
    row["Learners left"] = FITS - sizes["dead"]
    figures.keep("memory", "one process", row, ["one process"])
    assert len(sizes["long"]) == 10
    assert more["memory"] < MOST + EPOCHS // 2 * AN_EPOCH["memory"]
    assert more["tensors"] <= EPOCHS // 2 * AN_EPOCH["tensors"]
    assert (more["files"], more["threads"], more["children"]) == (0, 0, 0)
    assert sizes["dead"] == FITS
    for what in ("tensors", "files", "threads", "children"):
        assert sizes["after"][what] == sizes["before"][what], what


@pytest.mark.slow
def test_what_grows_would_be_seen(ran):
    sizes = ran(40, 4, "keep")
    assert grown(sizes)["tensors"] > 40 // 2 * AN_EPOCH["tensors"]
    assert grown(sizes)["memory"] > MOST + 40 // 2 * AN_EPOCH["memory"]
    assert sizes["dead"] == 0
