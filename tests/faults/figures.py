"""What the large tier found, written where the benchmarks write theirs."""

import importlib.util
import os
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "bench" / "results.py"
NIGHTLY = os.environ.get("LEHR_NIGHTLY") == "1"


def write(what: str, rows: dict[str, Any]) -> None:
    """Write a file of figures, if this is the large tier and there is something to say."""
    if NIGHTLY and rows:
        spec = importlib.util.spec_from_file_location("results", RESULTS)
        assert spec is not None
        assert spec.loader is not None
        results = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(results)
        results.write(what, rows, {"tier": "large"})
