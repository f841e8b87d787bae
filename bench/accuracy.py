"""The final accuracies that README quotes: `lehr train digits` over seeds, and `lehr train mnist`.

    python bench/accuracy.py [--seeds 20]

MNIST is trained once, with seed 0, if LEHR_DATA names a folder that has it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import results


def trained(name: str, seed: int) -> tuple[float, float]:
    """Final accuracy, and the seconds of training and validation."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-c", "from lehr.cli import main; main()", "train", name]
        command += ["--seed", str(seed), "--out", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        lines = map(json.loads, (out / "history.jsonl").read_text().splitlines())
        rows = [line for line in lines if line["kind"] == "row"]
    return rows[-1]["accuracy"], sum(row["seconds"] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    runs = [trained("digits", seed) for seed in range(options.seeds)]
    accuracies = [accuracy for accuracy, _ in runs]
    rows = {
        "digits, worst": round(min(accuracies), 4),
        "digits, median": round(statistics.median(accuracies), 4),
        "digits, seconds of training": round(statistics.median(s for _, s in runs), 1),
    }
    if os.environ.get("LEHR_DATA"):
        accuracy, seconds = trained("mnist", 0)
        rows |= {"mnist, seed 0": round(accuracy, 4), "mnist, seconds": round(seconds, 1)}
    for name, value in rows.items():
        print(f"{name}: {value}")
    results.write("accuracy", rows, vars(options))


if __name__ == "__main__":
    main()
