"""Makes docs/promises.md from docs/promises.toml and the newest figures in bench/results.

python docs/promises.py
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE, DATA = ROOT / "docs" / "promises.md", ROOT / "docs" / "promises.toml"
HEAD = """# Promises

What lehr promises, and the tests that hold it. A promise without a test is open, and said to be.
Figures are the newest of the large tier (`make test-reliability`) or of a benchmark; the tests
themselves run at every change, on a sample.
"""


def groups() -> list[dict[str, Any]]:
    """What is promised."""
    return tomllib.loads(DATA.read_text(encoding="utf-8"))["group"]


def newest(what: str) -> dict[str, Any] | None:
    """The newest file of results of this name."""
    dated = re.compile(rf"{re.escape(what)}_[^_]*(_64)?-\d+threads_\d{{4}}-\d\d-\d\d\.json")
    paths = [p for p in (ROOT / "bench" / "results").iterdir() if dated.fullmatch(p.name)]
    if not paths:
        return None
    return json.loads(max(paths, key=lambda p: p.name[-15:]).read_text(encoding="utf-8"))


def figure(what: str, counted: str) -> str | None:
    """One number of a file of results: the row of that name, or the sum over the rows."""
    found = newest(what)
    if found is None:
        return None
    rows = found["rows"]
    value = rows[counted] if counted in rows else sum(row[counted] for row in rows.values())
    return f"{value:,} {counted}" if counted not in rows else f"{value} ({counted})"


def figures(promise: dict[str, Any]) -> str:
    """The last figures of a promise, with their dates; empty if there are none."""
    pairs = promise.get("figures", [])
    texts = [text for pair in pairs if (text := figure(*pair))]
    days = sorted({day for what, _ in pairs for day in dates(what)})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else ""
    return f"{', '.join(texts)}; {when}" if texts else ""


def dates(what: str) -> list[str]:
    """The date of each row of a file of results."""
    found = newest(what) or {"rows": {}}
    rows = [row if isinstance(row, dict) else {} for row in found["rows"].values()]
    return [row.get("date", found["date"]) for row in rows]


def missing(promise: dict[str, Any]) -> list[str]:
    """The rows that files of results should have, and have not: what was not tried."""
    names = dict.fromkeys(what for what, _ in promise.get("figures", []))
    found = [result for what in names if (result := newest(what)) is not None]
    return [
        name
        for result in found
        for name in result.get("options", {}).get("rows", [])
        if name not in result["rows"]
    ]


def entry(promise: dict[str, Any]) -> str:
    """One promise as an entry of a list."""
    lines = [f"- **{promise['code']}.** {promise['text']}"]
    lines += [f"  - `{test}`" for test in promise["tests"]]
    if not promise["tests"]:
        reason = promise.get("open")
        lines.append(f"  - **Open: no test holds it{f' ({reason})' if reason else ''}.**")
    elif "open" in promise:
        lines.append(f"  - Still open: {promise['open']}.")
    if untried := missing(promise):
        lines.append(f"  - Still open: not tried in the large tier: {'; '.join(untried)}.")
    if text := figures(promise):
        lines.append(f"  - Last figure: {text}.")
    elif "figures" in promise:
        lines.append("  - No figure of the large tier is there yet.")
    return "\n".join(lines)


def render() -> str:
    """The page."""
    parts = [HEAD]
    for group in groups():
        parts.append(f"## {group['title']}\n")
        parts += [*map(entry, group["promise"]), ""]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
