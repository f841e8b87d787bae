"""Writes what a benchmark measured to bench/results/what_hardware_date.json."""

import json
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent / "results"


def hardware(device: str = "cpu") -> str:
    """The machine, its GPU if that is the device, and the threads."""
    name = [torch.cuda.get_device_name().replace(" ", "_")] if device == "cuda" else []
    return "-".join([platform.machine(), *name, f"{torch.get_num_threads()}threads"])


def newest_rows(what: str, of: str | None = None) -> dict[str, Any]:
    """The rows of the newest file of this name, each with its date.

    Args:
        what: was measured.
        of: the hardware, ``"*"`` for any; by default this.
    """
    paths = FOLDER.glob(f"{what}_{of or hardware()}_????-??-??.json")
    newest = max(paths, key=lambda path: path.stem[-len("2026-01-01") :], default=None)
    if newest is None:
        return {}
    found = json.loads(newest.read_text())
    return {name: {"date": found["date"], **row} for name, row in found["rows"].items()}


def made(
    what: str, rows: dict[str, Any], options: dict[str, Any], device: str = "cpu"
) -> dict[str, Any]:
    """What is written of a benchmark."""
    return {
        "what": what,
        "date": str(date.today()),
        "hardware": hardware(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "options": options,
        "rows": rows,
    }


def write(
    what: str,
    rows: dict[str, Any],
    options: dict[str, Any],
    *,
    device: str = "cpu",
    folder: Path | None = None,
) -> None:
    """To bench/results, or to another folder."""
    result, folder = made(what, rows, options, device), folder or FOLDER
    path = folder / f"{what}_{result['hardware']}_{result['date']}.json"
    folder.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".part")  # so that one who is stopped leaves no half of a file
    written.write_text(json.dumps(result, indent=1) + "\n")
    written.replace(path)
    sys.stderr.write(f"written to {path.name}\n")
