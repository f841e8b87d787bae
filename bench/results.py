"""Writes what a benchmark measured to bench/results/what_hardware_date.json."""

import json
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

import torch


def write(what: str, rows: dict[str, Any], options: dict[str, Any]) -> None:
    hardware = f"{platform.machine()}-{torch.get_num_threads()}threads"
    result = {
        "what": what,
        "date": str(date.today()),
        "hardware": hardware,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "options": options,
        "rows": rows,
    }
    path = Path(__file__).parent / "results" / f"{what}_{hardware}_{date.today()}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    sys.stderr.write(f"written to {path.name}\n")
