"""The Makefile runs each test once, whichever of its targets are asked for together."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
ALL = "-n auto --dist worksteal"
FAST = f'{ALL} -m "not slow"'


def pytest_calls(*targets):
    """The arguments of every call of pytest that these targets would make, in one call of make."""
    command = ["make", "--dry-run", "--always-make", *targets]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    return re.findall(r"^\.venv/bin/pytest (.*)$", done.stdout, re.M)


@needs_make
@pytest.mark.parametrize(
    ("targets", "calls"),
    [
        (["check"], [FAST]),
        (["test"], [ALL]),
        (["check", "test"], [ALL]),
        (["test", "check"], [ALL]),
        (["lint", "test"], [ALL]),
        (["lint"], []),  # the control: a target without tests
    ],
)
def test_each_test_runs_once(targets, calls):
    assert pytest_calls(*targets) == calls


@needs_make
def test_ci_runs_each_test_once():
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    words = " ".join(re.findall(r"^make ([^\"#\n]+)", text, re.M)).split()
    targets = [word for word in words if not word.startswith("--")]
    assert targets == ["test", "lint", "test-hostile"]
    assert pytest_calls(*targets) == [ALL]


@needs_make
def test_the_large_tier_runs_every_file_that_has_more_to_do_there():
    command = ["make", "--dry-run", "test-reliability"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    (line,) = re.findall(r"^LEHR_NIGHTLY=1 .* --timeout 0 (.+)$", done.stdout, re.M)
    echoed = subprocess.run(
        ["bash", "-c", f"echo {line}"], cwd=ROOT, capture_output=True, text=True
    )
    files = set(echoed.stdout.split())
    more = ("init/test_papers", "test_notebooks", "faults/test_deaths", "distributed/test_failures")
    assert {f"tests/{name}.py" for name in more} < files
    assert "tests/test_learner.py" not in files
