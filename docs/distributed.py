"""Writes the figures of docs/distributed.md from the newest ones in bench/results.

python docs/distributed.py
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from promises import newest

PAGE = Path(__file__).with_name("distributed.md")
BEGIN, END = "<!-- {}, by docs/distributed.py -->", "<!-- end of {} -->"
DEVICES = (8, 64, 10_000)


def shown(value: Any) -> str:
    """A number, as short as it says something."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
    return f"{value:,}"


def promises() -> str:
    """A row for each promise."""
    rows = rows_of("D")
    lines = ["| | promise | figures | size |", "|---|---|---|---|"]
    for name in sorted(rows, key=lambda name: int(name[1:])):
        row = rows[name]
        figures = ", ".join(f"{what} {shown(x)}" for what, x in row["figures"].items())
        lines.append(f"| {name} | {row['promise']} | {figures} | {row['size']}, {row['date']} |")
    return "\n".join(lines)


def rows_of(begin: str) -> dict[str, Any]:
    """The rows of the newest results whose names begin so, with their dates."""
    found = newest("distributed") or {"rows": {}, "date": ""}
    rows = found["rows"].items()
    return {name: {"date": found["date"], **row} for name, row in rows if name.startswith(begin)}


def constants() -> str:
    """A row for each constant."""
    named = measured()
    if not named:
        return (
            "They are not measured yet: `python bench/distributed.py --only constants` does that, "
            "on a machine\nwhere nothing else is at work."
        )
    lines = ["| measured | |", "|---|---|"]
    for what, value in named.items():
        lines += [f"| {what} | {shown(x)} {unit} |" for unit, x in value.items()]
    return "\n".join(lines)


def measured() -> dict[str, dict[str, Any]]:
    """The constants by name, in units by name."""
    return {n: x for row in rows_of("constants").values() for n, x in row["figures"].items()}


def scaling() -> str:
    """What grows with the number of devices; in seconds, where the constants are there."""
    rows = {
        "hops of the control message, one after the other, by gloo": [ring(n) for n in DEVICES],
        "the same by NCCL, which takes a tree": [tree(n) for n in DEVICES],
        "places of the data order that each computes for a step, 32 items a device": [
            32 * n for n in DEVICES
        ],
        "GB that each writes of 84 (7 billion parameters with Adam, in float32)": [
            84 / n for n in DEVICES
        ],
        "kB of the manifest, 95 bytes a file": [2 * 95 * n / 1e3 for n in DEVICES],
        "GB that each reads at the start: its part, and its share of the checksums": [
            2 * 84 / n for n in DEVICES
        ],
        "kB that each gets in a meeting, 200 bytes from each": [200 * n / 1e3 for n in DEVICES],
        "connections of each process, two gloo groups": [2 * (n - 1) for n in DEVICES],
    }
    if named := measured():
        hop = named["control message, 2 processes"]["microseconds"] / ring(2)
        # A gathered value is a control message, and then two rounds of the ring.
        meeting = named["gathered value, 2 processes"]["microseconds"] / (2 * ring(2))
        index = named["data order, one index of 10^10"]["nanoseconds"]
        entry = named["one more process in the manifest"]["microseconds"]
        speed = named["a part on its way to the disk, checksum included"]["MB per second"]
        rows |= {
            "milliseconds of the control message, by gloo": [hop * ring(n) / 1e3 for n in DEVICES],
            "seconds of a meeting, by gloo": [2 * meeting * ring(n) / 1e6 for n in DEVICES],
            "milliseconds of the data order": [index * 32 * n / 1e6 for n in DEVICES],
            "seconds to write the 84 GB, each to a disk of its own": [
                84e3 / n / speed for n in DEVICES
            ],
            "seconds to write them all to one disk": [84e3 / speed for n in DEVICES],
            "milliseconds of the manifest": [entry * n / 1e3 for n in DEVICES],
        }
    lines = [
        f"| | {' | '.join(f'{n:,} devices' for n in DEVICES)} |",
        f"|---|{'---|' * len(DEVICES)}",
    ]
    lines += [f"| {what} | {' | '.join(map(shown, each))} |" for what, each in rows.items()]
    return "\n".join(lines)


def ring(devices: int) -> int:
    """Hops of gloo's all-reduce: once round to add up, and once more to tell."""
    return 2 * (devices - 1)


def tree(devices: int) -> int:
    """Hops of an all-reduce in a binary tree: up to the root, and down again."""
    return 2 * (devices - 1).bit_length()


WAYS = (
    "one process",
    "two processes",
    "two, with a shard in each (FSDP2)",
    "two, one of them killed at step 30, and both started anew",
    "two workers of Ray Train",
)


def curves() -> str:
    """A row for each way to run the script of the page."""
    rows = rows_of("curve of ")
    lines = ["| | `valid_loss` of both epochs | weights away by | |", "|---|---|---|---|"]
    for way in WAYS:
        row = rows.get(f"curve of {way}")
        if row is None:
            lines.append(f"| {way} | not measured | | |")
            continue
        losses = ", ".join(f"{loss:.6f}" for loss in row["figures"]["losses"])
        away = shown(row["figures"]["weights away by"])
        lines.append(f"| {way} | {losses} | {away} | {row['date']} |")
    return "\n".join(lines)


PARTS = {"promises": promises, "curves": curves, "constants": constants, "scaling": scaling}


def render(page: str) -> str:
    """The page, with the figures that are there now."""
    for name, text in PARTS.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n{text()}\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
