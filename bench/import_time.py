"""What lehr, with every name of it, adds to `import torch`: seconds and modules.

    python bench/import_time.py [--repeats 10]

Each repeat is a fresh interpreter that imports torch, then lehr and all that is imported when one
of its names is first used; reported are the medians. Bytecode is cached first, as it is after an
ordinary installation.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

import results

SCRIPT = """
import json, sys, time
start = time.perf_counter()
import torch
middle, before = time.perf_counter(), len(sys.modules)
import lehr
for name in lehr.__all__:
    getattr(lehr, name)
print(json.dumps([time.perf_counter() - middle, middle - start, len(sys.modules) - before]))
"""


def once() -> list[float]:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True, env=env)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    once()
    ours, torchs, modules = zip(*(once() for _ in range(options.repeats)), strict=True)
    rows = {
        "import torch, seconds": round(statistics.median(torchs), 3),
        "lehr on top, seconds": round(statistics.median(ours), 3),
        "modules on top": int(modules[0]),
    }
    for name, value in rows.items():
        print(f"{name}: {value}")
    results.write("import", rows, vars(options))


if __name__ == "__main__":
    main()
