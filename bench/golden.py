"""Whether the code as it stands and the code of another commit train alike, to the last bit.

    python bench/golden.py [COMMIT]   # HEAD, if none is given; or: make golden-against REV=...
    python bench/golden.py COMMIT --unless-declared     # as continuous integration does

The trainings are those of tests/golden, as they are now. Each side runs in a process of its own,
with one thread. What is compared: loss, learning rate and momentum of every step, every row of the
history, and the final weights. The exit status is 1 if anything differs; with --unless-declared,
only if CHANGELOG.md says nothing new of numbers that change. A training that the other commit
cannot run is of something new.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from other_commit import ROOT, git, source_at

GOLDEN = ROOT / "tests" / "golden"
sys.path.insert(0, str(GOLDEN))

from compare import first_difference  # noqa: E402


def traces(source: Path, scratch: Path) -> dict[str, Any]:
    """What every configuration leaves with the package in ``source``."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **one_thread, "PYTHONPATH": str(source)}
    result = scratch / "result.json"
    subprocess.run(
        [sys.executable, "-P", "-B", "-c", RUN, str(GOLDEN), str(result)],
        check=True,
        env=environment,
        cwd=scratch,
    )
    found = json.loads(result.read_text(encoding="utf-8"))
    if Path(found["source"]) != source / "lehr":
        sys.exit(f"{found['source']} was imported instead of {source / 'lehr'}.")
    return found["traces"]


RUN = """
import runpy, sys
folder, result = sys.argv[1:]
sys.path.insert(0, folder)
sys.argv = ["make.py", result]
runpy.run_path(folder + "/make.py", run_name="__main__")
"""


def declared(changelog: str) -> list[str]:
    """The entries of a changelog that say that numbers change."""
    entries = re.split(r"^- ", changelog, flags=re.MULTILINE)
    return sorted(entry for entry in entries if "numbers change" in entry.lower())


def declared_since(commit: str) -> bool:
    """Whether the changelog has other such entries than at a commit."""
    then = git("show", f"{commit}:CHANGELOG.md").decode()
    return declared(then) != declared((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("commit", nargs="?", default="HEAD")
    parser.add_argument("--unless-declared", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        commit, source = source_at(options.commit, scratch)
        theirs, ours = traces(source, scratch), traces(ROOT / "src", scratch)
    differ = []
    for name in ours:
        found = first_difference(theirs[name], ours[name])
        if options.unless_declared and "error" in theirs[name] and "error" not in ours[name]:
            continue
        if found:
            differ.append(f"{name}, {found}")
        elif "error" in ours[name]:
            differ.append(f"{name} runs on neither side: {ours[name]['error']}")
    print(f"{len(ours) - len(differ)} of {len(ours)} trainings have the same bits as at {commit}.")
    if differ:
        print(f"First value: {commit}; second: the code as it stands.", *differ, sep="\n")
    sys.exit(bool(differ) and not (options.unless_declared and declared_since(commit)))


if __name__ == "__main__":
    main()
