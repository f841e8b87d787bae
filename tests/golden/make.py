"""Runs every configuration and writes what it leaves.

    python tests/golden/make.py [FILE]

Without FILE it writes the stored losses anew: only after a change that is meant to move numbers,
with a line in CHANGELOG.md that says so.
"""

import json
import sys
from pathlib import Path

import torch
from configurations import draws, run_all

import lehr


def text(result: dict) -> str:
    """JSON with one line for each column, so that a difference in git is easy to read."""
    lines = []
    for name, trace in result.pop("traces").items():
        columns = [f"   {json.dumps(field)}: {json.dumps(trace[field])}" for field in trace]
        lines.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(columns) + "\n  }")
    head = json.dumps(result)[1:-1]
    return f'{{{head},\n "traces": {{\n' + ",\n".join(lines) + "\n }}\n"


def main() -> None:
    """Write them all."""
    torch.set_num_threads(1)
    stored = Path(__file__).with_name("losses.json")
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else stored
    result = {"torch": torch.__version__, "draws": draws(), "traces": run_all()}
    failed = [name for name, trace in result["traces"].items() if "error" in trace]
    if path == stored and failed:
        sys.exit(f"these cannot run, so nothing was written: {', '.join(failed)}")
    if path != stored:
        result = {"source": str(Path(lehr.__file__).parent), **result}
    path.write_text(text(result), encoding="utf-8")


if __name__ == "__main__":
    main()
