"""Our step as it stands and as it was at another commit, each beside the hand-written one.

    python bench/overhead_against.py COMMIT [--rounds 4] [--repeats 6] [--threads 2]

bench/overhead.py runs with either package in processes of its own, which take turns. Reported is,
for each of its variants, the median over rounds of the ratio to the hand-written loop in the same
process. The result is also written to bench/results/overhead_against_<hardware>_<date>.json.
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
import torch
from other_commit import ROOT, source_at


def ratios(source: Path, repeats: int, threads: int) -> dict[str, float]:
    """What bench/overhead.py measures with the package in ``source``."""
    arguments = ["--repeats", str(repeats), "--threads", str(threads), "--json"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "overhead.py"), *arguments],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(source)},
    )
    found = json.loads(done.stdout)
    if Path(found["source"]) != source / "lehr":
        sys.exit(f"{found['source']} was imported instead of {source / 'lehr'}.")
    return {name: row["ratio"] for name, row in found["rows"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        commit, theirs = source_at(options.commit, Path(folder).resolve())
        sources = {f"at {commit}": theirs, "as it stands": ROOT / "src"}
        found: dict[str, list[dict[str, float]]] = {name: [] for name in sources}
        for number in range(options.rounds):
            turn = list(sources) if number % 2 else list(sources)[::-1]
            for name in turn:
                found[name].append(ratios(sources[name], options.repeats, options.threads))
    rows = {}
    for variant in found["as it stands"][0]:
        both = {name: [one[variant] for one in runs] for name, runs in found.items()}
        rows[variant] = {name: round(statistics.median(ones), 4) for name, ones in both.items()}
        print(f"{variant:<44}", "   ".join(f"{n}: {r:.3f} ×" for n, r in rows[variant].items()))
    results.write("overhead_against", rows, {**vars(options), "commit": commit})


if __name__ == "__main__":
    main()
