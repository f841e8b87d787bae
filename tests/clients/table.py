"""Puts all cases through the exam and makes docs/works-with.md from what came out.

    python -m tests.clients.table            # runs the tests, writes results.json, then the page
    python -m tests.clients.table --page     # makes the page anew from results.json

What cannot be imported is skipped, and the page says so.
"""

import json
import platform
import sys
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch

from .client import PARTS, Client, clients, versions

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

RESULTS, PAGE = HERE / "results.json", ROOT / "docs" / "works-with.md"
HEAD = """# Works with

Each row is a short program in `tests/clients/cases`, with a small model and data made on the spot.
It trains, validates, predicts, is summarised and audited, looks for a learning rate, and is stopped
and resumed at every kind of place. After everything but the training it must be as it was before.
`make test-clients` runs them all and writes this page; those that need PyTorch alone run at every
change.

*Lines* are those that a user writes beyond the model and the data: making the Learner, and the
callbacks that the case needs. *Plain loop* says whether the weights have the same bits as after the
loop that one would write by hand. What is refused ends in an error that says why.

Our own techniques are compared with those of timm, kornia, pytorch_optimizer and ema_pytorch, given
the same draws: `tests/clients/test_references.py`.
"""


class Collector:
    """Notes how each part of each case ended."""

    def __init__(self) -> None:
        self.ended: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called for each phase of each test, in this process, whoever ran it."""
        noted = dict(report.user_properties)
        if "client" in noted and (report.when == "call" or report.skipped or report.failed):
            parts = self.ended.setdefault(str(noted["client"]), {})
            parts[str(noted["part"])] = report.outcome


def run(arguments: Iterable[str]) -> int:
    """Run the tests and write what came out."""
    collector = Collector()
    options = ["-p", "no:cacheprovider", "-n", "2", str(HERE), *arguments]
    code = pytest.main(options, plugins=[collector])
    packages = sorted({p for client in clients() for p in client.packages if not client.missing})
    result = {
        "date": str(date.today()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "packages": {package: versions([package]) for package in packages},
        "cases": {name: _in_order(ended) for name, ended in sorted(collector.ended.items())},
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(code)


def _in_order(ended: dict[str, str]) -> dict[str, str]:
    """The parts of a case in one order, whichever process was done first."""
    return {part: ended[part] for part in PARTS if part in ended}


def row(client: Client, variants: list[Client], results: dict[str, Any]) -> str:
    """One line of the table: a case with all its variants."""
    ended = [results["cases"].get(variant.id, {}) for variant in variants]
    packages = [results["packages"].get(package) for package in client.packages]
    needs = ", ".join(p or "not installed" for p in packages) or "–"
    if None in packages:
        return f"| {client.title} | {needs} | {client.lines} | – | not run |"
    if client.not_plain:
        plain = client.not_plain
    else:
        plain = "same bits" if all(e.get("plain") == "passed" for e in ended) else "**differs**"
    notes = [f"{part} is refused" for part in client.refused]
    for part in PARTS:
        failed = [
            v.variant or "" for v, e in zip(variants, ended, strict=True) if not _good(e, part)
        ]
        if failed and part != "plain":
            notes.append(f"**{part} fails {' '.join(failed)}**".replace(" **", "**"))
    count = f" ({len(variants)})" if len(variants) > 1 else ""
    everything = "; ".join(notes) or "all"
    return f"| {client.title}{count} | {needs} | {client.lines} | {plain} | {everything} |"


def _good(ended: dict[str, str], part: str) -> bool:
    return ended.get(part) == "passed" or (part == "plain" and ended.get(part) == "skipped")


def render() -> str:
    """The page."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    by_name: dict[str, list[Client]] = {}
    for client in clients():
        by_name.setdefault(client.name, []).append(client)
    cases = sorted(by_name.values(), key=lambda variants: (variants[0].packages, variants[0].name))
    lines = [
        HEAD,
        f"Last run: {results['date']}, Python {results['python']}, torch {results['torch']}.\n",
        "| case | needs, beside torch | lines | plain loop | what it does |",
        "| --- | --- | --: | --- | --- |",
        *(row(variants[0], variants, results) for variants in cases),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    status = 0 if "--page" in sys.argv else run(sys.argv[1:])
    PAGE.write_text(render(), encoding="utf-8")
    sys.exit(status)
